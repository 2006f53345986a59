/*
 * power_loss [--count N] [--seed S] [--replay SEED] [--reserve 0|1]
 *
 * The log's promises after a power loss. Each chain of lives, chosen by a seed, writes to a disk in
 * memory (tests/lib/disk_model.h), with a schedule of the two threads chosen too. From each life
 * many images are built: a moment in it, and one of the states in which the disk may be found then.
 * Every image is recovered and held against what had been promised at that moment; the power goes
 * once more inside the recovery of many of them; the next life goes on from one.
 *
 * In every second chain retention compacts segments into the keyframe reserve; --reserve has it in
 * all or none.
 *
 * Prints the seed of each chain that fails; --replay runs that chain alone, again and again (at a
 * start the order of the sync thread's first calls is the system's). The last line says how
 * many images were judged and how many failed.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "eventlogd/log/event_log_inside.h"
#include "eventlogd/log/reader.h"
#include "eventlogd/log/verify.h"
#include "proto/base/attributes.h"
#include "proto/base/clock.h"
#include "tests/crash/log_dump.h"
#include "tests/lib/disk_model.h"

enum {
	LIVES = 3,
	IMAGES_PER_LIFE = 40,
	STEPS_MIN = 20,
	STEPS_MAX = 120,
	WORKERS = 5,
	QUIET_ONE_IN = 40,
	EVENTS_PER_BATCH = 6,
	PAYLOAD_MAX = 9000,
	SEQUENCES_MAX = 1 << 15,
	EPOCHS_PER_SEQUENCE = 8,
	PRODUCER = 77,
	DEFAULT_COUNT = 20000,
	REPLAY_COUNT = 2000,
	FAILURES_MAX = 20,
};

/* What was published under a sequence, by epoch. */
struct published {
	struct {
		uint64_t hash;
		size_t calls; /* of this life's disk, when it was staged; 0: of an earlier life */
		uint16_t epoch;
		uint8_t worker;
		bool is_doubtful; /* staged before the loss, never seen by a reader */
	} by_epoch[EPOCHS_PER_SEQUENCE];
	unsigned int count;
};

/* What may be relied on from a moment on. */
struct promise {
	size_t calls;                   /* when it was given */
	uint64_t durable;               /* up to here everything is there after a power loss */
	uint64_t visible;               /* readers have seen up to here */
	uint64_t pruned[WORKERS];       /* up to here its records may be gone */
	uint64_t producer_seq[WORKERS]; /* staged: no more than this was published */
};

struct chain {
	uint64_t seed, random;
	bool has_reserve;                   /* retention keeps newest keyframes */
	uint64_t images, failed, compacted; /* compacted: moments with something in the reserve */
	bool is_verbose;
	struct published *published; /* by sequence */
	uint64_t published_max;
	struct promise *promises; /* of this life, by ascending calls */
	size_t promise_count, promises_allocated;
	struct disk_model *disk; /* of this life */
	struct event_log *log;
	struct event_log_config config;
	uint64_t wall_ns, monotonic_ns;
};

_printf_(2, 3) static void fail(struct chain *chain, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	chain->failed++;
	printf("FAILED: chain %llu, image %llu: ", (unsigned long long)chain->seed,
		(unsigned long long)chain->images);
	vprintf(format, arguments);
	printf("\n");
	va_end(arguments);
}

static void on_wake(void *owner)
{
	struct chain *chain = owner;
	disk_model_poke(chain->disk);
}

/* Whether the sync thread has nothing to do, so that none of its calls will come. */
static bool is_idle(void *owner)
{
	struct syncer *syncer = owner;
	pthread_mutex_lock(&syncer->mutex);
	uint64_t dirty = syncer->written.bytes - syncer->synced.bytes;
	bool sync_is_due = syncer->fd >= 0 && dirty != 0 &&
			   (syncer->config.durability == DURABILITY_DURABLE ||
				   (syncer->config.durability == DURABILITY_INTERVAL &&
					   dirty >= syncer->config.sync_bytes));
	bool idle = !sync_is_due && syncer->removal_count == 0 && !syncer->is_removing;
	const enum syncer_job jobs[] = {
		syncer->roll_job, syncer->spare_job, syncer->heal_job, syncer->compact_job};
	for (size_t i = 0; i < ARRAY_SIZE(jobs); i++)
		idle = idle && jobs[i] != SYNCER_ASKED && jobs[i] != SYNCER_RUNNING;
	idle = idle || syncer->error != 0;
	pthread_mutex_unlock(&syncer->mutex);
	return idle;
}

static void await_quiet(struct chain *chain)
{
	(void)disk_model_await(chain->disk, is_idle, &chain->log->syncer);
}

static void set_config(struct chain *chain)
{
	event_log_config_init(&chain->config);
	chain->config.directory = "/";
	chain->config.segment_bytes = SEGMENT_BYTES_MIN;
	chain->config.max_event_bytes = 16 * 1024;
	chain->config.max_workers = 16;
	chain->config.durability = (enum durability)random_below(&chain->random, 3);
	chain->config.sync_interval_ns = UINT64_C(3600) * NS_PER_S; /* syncs come by bytes */
	chain->config.sync_bytes = 1024u << random_below(&chain->random, 6);
	if (random_below(&chain->random, 2) == 0)
		chain->config.retention.bytes = SEGMENT_BYTES_MIN *
						(3 + random_below(&chain->random, 4));
	chain->config.retention.keyframe_reserve = chain->has_reserve
							   ? chain->config.retention.bytes / 2
							   : 0;
	chain->config.wake = on_wake;
	chain->config.wake_owner = chain;
}

/* Without another write, sync or name. */
static void end_without_a_trace(struct disk_model *disk, struct event_log *log)
{
	disk_model_kill(disk);
	log->is_read_only = true;
	log->sync_error = -EIO;
	(void)event_log_close(log, 0);
}

static void promise(struct chain *chain)
{
	struct event_log_status status;
	event_log_status(chain->log, &status);
	if (chain->promise_count == chain->promises_allocated) {
		chain->promises_allocated = chain->promises_allocated * 2 + 64;
		chain->promises = realloc(
			chain->promises, chain->promises_allocated * sizeof(*chain->promises));
		if (chain->promises == NULL)
			abort();
	}
	struct promise *next = &chain->promises[chain->promise_count++];
	chain->compacted += status.reserve_segments != 0;
	*next = (struct promise){.durable = status.durable_seq};
	for (size_t i = 0; i < WORKERS; i++) {
		char worker[3] = {'w', (char)('0' + i), '\0'};
		(void)event_log_producer_seq(
			chain->log, worker, 2, PRODUCER, &next->producer_seq[i]);
		struct log_worker known;
		if (event_log_worker(chain->log, worker, 2, &known))
			next->pruned[i] = known.highest_pruned;
	}
	struct event_log_progress progress;
	event_log_progress(chain->log, &progress);
	next->visible = progress.visible_seq;
	if (chain->config.durability == DURABILITY_DURABLE &&
		progress.visible_seq > status.durable_seq)
		fail(chain, "%llu is visible, %llu durable",
			(unsigned long long)progress.visible_seq,
			(unsigned long long)status.durable_seq);
	next->calls = disk_model_calls(chain->disk); /* last: all of it holds from here on */
}

static void publish(
	struct chain *chain, uint64_t sequence, uint16_t epoch, uint64_t hash, size_t worker)
{
	if (sequence >= SEQUENCES_MAX)
		return;
	struct published *published = &chain->published[sequence];
	for (unsigned int i = 0; i < published->count; i++)
		if (published->by_epoch[i].epoch == epoch)
			fail(chain, "sequence %llu of epoch %u was given twice",
				(unsigned long long)sequence, epoch);
	if (published->count == EPOCHS_PER_SEQUENCE)
		return;
	published->by_epoch[published->count].epoch = epoch;
	published->by_epoch[published->count].hash = hash;
	published->by_epoch[published->count].is_doubtful = false;
	published->by_epoch[published->count].worker = (uint8_t)worker;
	published->by_epoch[published->count].calls = disk_model_calls(chain->disk) + 1;
	published->count++;
	if (sequence > chain->published_max)
		chain->published_max = sequence;
}

static bool was_published(const struct chain *chain, const struct dumped_record *record)
{
	if (record->sequence >= SEQUENCES_MAX)
		return false;
	const struct published *published = &chain->published[record->sequence];
	for (unsigned int i = 0; i < published->count; i++)
		if (published->by_epoch[i].epoch == record->epoch)
			return published->by_epoch[i].hash == record->hash;
	return false;
}

/* Chooses what an event holds; from now on the bytes count as published. */
static size_t make_payload(struct chain *chain, char *out)
{
	uint64_t kind = random_below(&chain->random, 20);
	size_t len = 20 + random_below(&chain->random, kind == 0  ? PAYLOAD_MAX - 20
						       : kind < 8 ? 4000
								  : 120);
	int n = snprintf(out, PAYLOAD_MAX, "{\"n\":%llu,\"x\":\"",
		(unsigned long long)random_next(&chain->random));
	for (size_t at = (size_t)n; at < len; at++)
		out[at] = (char)('a' + at % 26);
	if ((size_t)n > len)
		len = (size_t)n;
	return len;
}

static void stage_batch(struct chain *chain)
{
	static char payloads[EVENTS_PER_BATCH][PAYLOAD_MAX];
	struct event_log_event events[EVENTS_PER_BATCH];
	size_t count = 1 + random_below(&chain->random, EVENTS_PER_BATCH);
	/* The last one is quiet, and what the keyframe reserve is there for. */
	size_t number = random_below(&chain->random, QUIET_ONE_IN) == 0
				? WORKERS - 1
				: random_below(&chain->random, WORKERS - 1);
	char worker[3] = {'w', (char)('0' + number), '\0'};
	uint64_t before = 0;
	(void)event_log_producer_seq(chain->log, worker, 2, PRODUCER, &before);
	for (size_t i = 0; i < count; i++)
		events[i] = (struct event_log_event){
			.payload = (const uint8_t *)payloads[i],
			.payload_len = make_payload(chain, payloads[i]),
			.is_keyframe = number == WORKERS - 1 ||
				       random_below(&chain->random, 10) == 0,
		};
	struct event_log_batch batch = {
		.worker = worker,
		.worker_len = 2,
		.owner_uid = 1000,
		.has_producer_seq = true,
		.producer = PRODUCER,
		.producer_seq = before + 1,
		.events = events,
		.event_count = count,
	};
	struct event_log_staged staged;
	int r = event_log_stage(chain->log, &batch, chain->wall_ns, &staged);
	if (r == EVENT_LOG_BUSY || r == EVENT_LOG_BATCH_TOO_LARGE)
		return;
	if (r != EVENT_LOG_OK) {
		fail(chain, "staging answers %d", r);
		return;
	}
	struct log_ends ends;
	log_view_ends(event_log_view(chain->log), &ends);
	for (size_t i = 0; i < count; i++)
		publish(chain, staged.first_seq + i, ends.epoch,
			dump_hash(worker, 2, payloads[i], events[i].payload_len), number);
}

static void commit(struct chain *chain)
{
	enum event_log_result r = event_log_commit(chain->log, chain->wall_ns);
	if (r != EVENT_LOG_OK)
		fail(chain, "commit answers %d", (int)r);
}

/* Lets the sync thread make some of its calls, and takes its news. */
static void let_pass(struct chain *chain, uint64_t calls)
{
	for (; calls-- > 0;) {
		await_quiet(chain);
		disk_model_pass(chain->disk);
	}
	await_quiet(chain);
	commit(chain);
}

static void step(struct chain *chain)
{
	uint64_t choice = random_below(&chain->random, 100);
	if (choice < 55) {
		for (uint64_t i = random_below(&chain->random, 3); i-- > 0;)
			stage_batch(chain);
		stage_batch(chain);
		commit(chain);
	} else {
		/* Retention and compaction take several ticks and jobs. */
		for (uint64_t i = choice < 70 ? 1 + random_below(&chain->random, 8) : 0; i-- > 0;) {
			chain->monotonic_ns += NS_PER_S;
			chain->wall_ns += NS_PER_S;
			event_log_tick(chain->log, chain->wall_ns, chain->monotonic_ns);
			let_pass(chain, random_below(&chain->random, 12));
		}
		let_pass(chain, 1 + random_below(&chain->random, 12));
	}
	await_quiet(chain);
	promise(chain);
}

static bool open_log(struct chain *chain)
{
	chain->config.ops = disk_model_ops(chain->disk);
	int r = event_log_open(&chain->log, &chain->config, chain->wall_ns);
	if (r != 0) {
		fail(chain, "can't be opened: %s", strerror(-r));
		return false;
	}
	await_quiet(chain);
	return true;
}

static void close_cleanly(struct chain *chain)
{
	disk_model_open_gate(chain->disk);
	int r = event_log_close(chain->log, chain->wall_ns);
	chain->log = NULL;
	if (r != 0)
		fail(chain, "closing answers %s", strerror(-r));
}

/* Sequences that were only staged when the power went may be given again. */
static void forget_unwritten(struct chain *chain, uint64_t written)
{
	struct log_dump dump;
	if (log_dump_read(&dump, event_log_view(chain->log)) != 0)
		fail(chain, "the next life can't read");
	for (uint64_t sequence = 1; sequence <= chain->published_max; sequence++) {
		struct published *published = &chain->published[sequence];
		const struct dumped_record *record = log_dump_find(&dump, sequence);
		unsigned int kept = 0;
		for (unsigned int i = 0; i < published->count; i++) {
			bool is_there = record != NULL &&
					record->epoch == published->by_epoch[i].epoch;
			bool is_doubtful = published->by_epoch[i].is_doubtful ||
					   (published->by_epoch[i].calls != 0 &&
						   sequence > written);
			if (is_doubtful && !is_there)
				continue;
			published->by_epoch[kept] = published->by_epoch[i];
			published->by_epoch[kept++].is_doubtful = false;
		}
		published->count = kept;
	}
	log_dump_free(&dump);
}

/* kill -9: nothing that was written is lost, and from the recovery on it is durable. */
static bool is_killed_and_recovers(struct chain *chain)
{
	struct event_log_status before, after;
	event_log_status(chain->log, &before);
	end_without_a_trace(chain->disk, chain->log);
	disk_model_revive(chain->disk);
	chain->log = NULL;
	if (!open_log(chain))
		return false;
	event_log_status(chain->log, &after);
	if (after.durable_seq < before.written_seq)
		fail(chain, "%llu of %llu are left after kill -9",
			(unsigned long long)after.durable_seq,
			(unsigned long long)before.written_seq);
	forget_unwritten(chain, before.written_seq);
	promise(chain);
	return true;
}

static bool closes_and_opens(struct chain *chain)
{
	close_cleanly(chain);
	if (!open_log(chain))
		return false;
	promise(chain);
	return true;
}

/* One life of the log on chain->disk, to the moment when the power goes. */
static void live(struct chain *chain)
{
	if (!open_log(chain))
		return;
	forget_unwritten(chain, UINT64_MAX);
	promise(chain);
	uint64_t steps = STEPS_MIN + random_below(&chain->random, STEPS_MAX - STEPS_MIN);
	disk_model_close_gate(chain->disk);
	for (uint64_t i = 0; i < steps; i++) {
		step(chain);
		uint64_t choice = random_below(&chain->random, 40);
		if (choice > 1)
			continue;
		if (choice == 0 ? !closes_and_opens(chain) : !is_killed_and_recovers(chain))
			return;
		disk_model_close_gate(chain->disk);
	}
	end_without_a_trace(chain->disk, chain->log);
	chain->log = NULL;
}

static const struct promise *promise_at(const struct chain *chain, size_t calls, bool next)
{
	const struct promise *found = &chain->promises[0];
	for (size_t i = 0; i < chain->promise_count; i++) {
		found = &chain->promises[i];
		if (next && found->calls > calls)
			break;
		if (!next && i + 1 < chain->promise_count && chain->promises[i + 1].calls > calls)
			break;
	}
	return found;
}

static void on_finding(void *owner, const struct finding *finding)
{
	struct chain *chain = owner;
	if (finding_severity(finding->kind) == FINDING_DAMAGE)
		fail(chain, "damage is found: %s in %s, %llu-%llu, %s", finding_name(finding->kind),
			finding->file == NULL ? "" : finding->file,
			(unsigned long long)finding->first, (unsigned long long)finding->last,
			strerror(-finding->error));
}

/* Opens an image; NULL, and said so, when that can't be done. */
static struct event_log *open_image(struct chain *chain, struct disk_model *image)
{
	struct event_log_config config = chain->config;
	struct event_log *log;
	config.ops = disk_model_ops(image);
	config.wake = NULL;
	config.findings = (struct finding_sink){on_finding, chain};
	int r = event_log_open(&log, &config, chain->wall_ns);
	if (r != 0) {
		fail(chain, "can't be opened: %s", strerror(-r));
		return NULL;
	}
	return log;
}

/* Up to here records of one worker may be gone; of any of them with its number WORKERS. */
static uint64_t pruned_of(const struct promise *promise, size_t worker)
{
	uint64_t pruned = 0;
	for (size_t i = 0; i < WORKERS; i++)
		if ((worker == WORKERS || i == worker) && promise->pruned[i] > pruned)
			pruned = promise->pruned[i];
	return pruned;
}

/* What was durable and is not there has been pruned. */
static void check_nothing_lost(struct chain *chain, const struct log_dump *dump, size_t worker,
	const struct promise *before, const struct promise *after)
{
	uint64_t pruned = pruned_of(after, worker);
	for (uint64_t sequence = pruned + 1;
		sequence <= before->durable && sequence < SEQUENCES_MAX; sequence++) {
		const struct published *published = &chain->published[sequence];
		if (published->count == 0 || log_dump_find(dump, sequence) != NULL)
			continue;
		if (worker != WORKERS && published->by_epoch[published->count - 1].worker != worker)
			continue;
		fail(chain, "%llu was durable and is lost", (unsigned long long)sequence);
		return;
	}
}

/* What the keyframe reserve keeps of a worker is read worker by worker. */
static void check_workers(struct chain *chain, struct event_log *log, const struct promise *before,
	const struct promise *after)
{
	for (size_t i = 0; i < WORKERS; i++) {
		char worker[3] = {'w', (char)('0' + i), '\0'};
		struct log_dump dump;
		int r = log_dump_read_worker(&dump, event_log_view(log), worker);
		if (r != 0 || dump.problem[0] != '\0')
			fail(chain, "reading %s: %s %s", worker, strerror(-r), dump.problem);
		for (size_t j = 0; j < dump.count; j++)
			if (!was_published(chain, &dump.records[j]))
				fail(chain, "%llu of %s is not what was published",
					(unsigned long long)dump.records[j].sequence, worker);
		check_nothing_lost(chain, &dump, i, before, after);
		log_dump_free(&dump);
	}
}

static void check_records(struct chain *chain, const struct log_dump *dump,
	const struct promise *before, const struct promise *after)
{
	uint64_t newest = dump->count == 0 ? 0 : dump->records[dump->count - 1].sequence;
	if (dump->problem[0] != '\0')
		fail(chain, "the reader gives %s", dump->problem);
	if (dump->gap_count != 0)
		fail(chain, "%llu-%llu are a gap", (unsigned long long)dump->gaps[0].first,
			(unsigned long long)dump->gaps[0].last);
	check_nothing_lost(chain, dump, WORKERS, before, after);
	/* What was durable may have been pruned since, to the last record. */
	if (newest < before->durable && before->durable > pruned_of(after, WORKERS))
		fail(chain, "%llu was durable, the log ends at %llu",
			(unsigned long long)before->durable, (unsigned long long)newest);
	for (size_t i = 0; i < dump->count; i++) {
		if (was_published(chain, &dump->records[i]))
			continue;
		fail(chain, "%llu of epoch %u is not what was published",
			(unsigned long long)dump->records[i].sequence, dump->records[i].epoch);
		return;
	}
}

static void check_producers(struct chain *chain, struct event_log *log, const struct log_dump *dump,
	const struct promise *after)
{
	uint64_t newest[WORKERS] = {0};
	for (size_t i = 0; i < dump->count; i++)
		newest[dump->records[i].worker] = dump->records[i].producer_seq;
	for (size_t i = 0; i < WORKERS; i++) {
		char worker[3] = {'w', (char)('0' + i), '\0'};
		uint64_t known = 0;
		(void)event_log_producer_seq(log, worker, 2, PRODUCER, &known);
		bool is_wrong = newest[i] != 0 ? known != newest[i]
					       : known > after->producer_seq[i];
		if (is_wrong)
			fail(chain, "producer of %s: %llu are known, %llu are there", worker,
				(unsigned long long)known, (unsigned long long)newest[i]);
	}
}

/* A cursor of a record that is there leads behind it; of one that is not, nowhere. */
static void check_cursor(struct chain *chain, struct event_log *log, const struct log_dump *dump,
	uint64_t sequence, uint16_t epoch)
{
	const struct dumped_record *record = log_dump_find(dump, sequence);
	struct reader_start start = {.from = READER_FROM_CURSOR};
	log_view_cursor(event_log_view(log), sequence, &start.cursor);
	start.cursor.epoch = epoch;
	struct reader *reader;
	struct reader_opened opened;
	if (dump->count == 0 || sequence < dump->records[0].sequence)
		return;
	int r = reader_open(&reader, event_log_view(log), NULL, &start, false, &opened);
	bool is_there = record != NULL && record->epoch == epoch;
	if (r == READER_OPENED)
		reader_close(reader);
	if (is_there ? r != READER_OPENED || opened.start_seq != sequence + 1
		     : r != READER_CURSOR_UNKNOWN)
		fail(chain, "the cursor of %llu, epoch %u, which is %s, answers %d",
			(unsigned long long)sequence, epoch, is_there ? "there" : "lost", r);
}

static void check_cursors(struct chain *chain, struct event_log *log, const struct log_dump *dump)
{
	for (int i = 0; i < 6 && chain->published_max != 0; i++) {
		uint64_t sequence = 1 + random_below(&chain->random, chain->published_max);
		/* The newest are the ones that may be lost. */
		if (i % 2 == 0 && chain->published_max > 16)
			sequence = chain->published_max - random_below(&chain->random, 16);
		const struct published *published = &chain->published[sequence];
		for (unsigned int j = 0; j < published->count; j++)
			check_cursor(chain, log, dump, sequence, published->by_epoch[j].epoch);
	}
}

static void check_verify(struct chain *chain, struct disk_model *image)
{
	struct log_view *view;
	int r = log_view_open(&view, "/", disk_model_ops(image), NULL);
	if (r != 0) {
		fail(chain, "can't be viewed: %s", strerror(-r));
		return;
	}
	struct verify_result result;
	const struct finding_sink findings = {on_finding, chain};
	r = log_verify(view, &findings, NULL, NULL, &result);
	if (r != 0)
		fail(chain, "verify answers %s", strerror(-r));
	log_view_close(view);
}

/* The power goes again inside the recovery that has just run on `image`. */
static void check_second_loss(
	struct chain *chain, struct disk_model *image, size_t calls, const struct log_dump *dump)
{
	size_t at = random_below(&chain->random, calls + 1);
	struct disk_model *second = disk_model_crash(image, at, &chain->random);
	struct event_log *log = open_image(chain, second);
	chain->images++;
	if (log != NULL) {
		struct log_dump again;
		int r = log_dump_read(&again, event_log_view(log));
		if (r != 0 || !log_dumps_are_equal(dump, &again))
			fail(chain,
				"recovery after %zu of %zu calls of a recovery: %zu records and "
				"%zu gaps, "
				"then %zu and %zu; %s %s",
				at, calls, dump->count, dump->gap_count, again.count,
				again.gap_count, strerror(-r), again.problem);
		log_dump_free(&again);
		end_without_a_trace(second, log);
	}
	disk_model_free(second);
}

static void check_image(struct chain *chain, struct disk_model *image, size_t calls)
{
	const struct promise *before = promise_at(chain, calls, false);
	const struct promise *after = promise_at(chain, calls, true);
	struct event_log *log = open_image(chain, image);
	chain->images++;
	if (log == NULL)
		return;
	size_t recovery_calls = disk_model_calls(image);
	struct log_dump dump;
	int r = log_dump_read(&dump, event_log_view(log));
	if (r != 0)
		fail(chain, "reading answers %s", strerror(-r));
	check_records(chain, &dump, before, after);
	check_workers(chain, log, before, after);
	check_producers(chain, log, &dump, after);
	check_cursors(chain, log, &dump);
	if (random_below(&chain->random, 4) == 0)
		check_verify(chain, image);
	end_without_a_trace(image, log);
	if (random_below(&chain->random, 2) == 0)
		check_second_loss(chain, image, recovery_calls, &dump);
	log_dump_free(&dump);
}

/* Moments are chosen anywhere; more of them near the ends of rolls would not find more. */
static void check_images(struct chain *chain, uint64_t count)
{
	size_t calls = disk_model_calls(chain->disk);
	for (uint64_t i = 0; i < count && chain->failed == 0; i++) {
		size_t at = random_below(&chain->random, calls + 1);
		uint64_t state = random_next(&chain->random);
		struct disk_model *image = disk_model_crash(chain->disk, at, &state);
		check_image(chain, image, at);
		disk_model_free(image);
	}
}

/*
 * The disk of the next life. What was staged after that moment was never published; what was staged
 * before and not visible may have been in memory only.
 */
static void go_on_from(struct chain *chain, size_t calls)
{
	struct disk_model *next = disk_model_crash(chain->disk, calls, &chain->random);
	struct promise inherited = *promise_at(chain, calls, false);
	inherited.calls = 0;
	disk_model_free(chain->disk);
	chain->disk = next;
	chain->promises[0] = inherited;
	chain->promise_count = 1;
	for (uint64_t sequence = 1; sequence <= chain->published_max; sequence++) {
		struct published *published = &chain->published[sequence];
		unsigned int kept = 0;
		for (unsigned int i = 0; i < published->count; i++) {
			if (published->by_epoch[i].calls > calls)
				continue;
			published->by_epoch[kept] = published->by_epoch[i];
			published->by_epoch[kept].is_doubtful = published->by_epoch[kept].calls !=
									0 &&
								sequence > inherited.visible;
			published->by_epoch[kept++].calls = 0;
		}
		published->count = kept;
	}
}

static void run_chain(struct chain *chain)
{
	chain->random = chain->seed;
	chain->published = calloc(SEQUENCES_MAX, sizeof(*chain->published));
	chain->promises_allocated = 64;
	chain->promises = calloc(chain->promises_allocated, sizeof(*chain->promises));
	if (chain->published == NULL || chain->promises == NULL)
		abort();
	chain->promise_count = 1;
	chain->disk = disk_model_new();
	chain->wall_ns = UINT64_C(1700000000) * NS_PER_S;
	chain->monotonic_ns = clock_monotonic_ns();
	for (int life = 0; life < LIVES && chain->failed == 0; life++) {
		set_config(chain);
		live(chain);
		if (chain->failed == 0)
			check_images(chain, IMAGES_PER_LIFE);
		if (life + 1 < LIVES)
			go_on_from(chain,
				random_below(&chain->random, disk_model_calls(chain->disk) + 1));
	}
	if (chain->log == NULL)
		disk_model_free(chain->disk);
	free(chain->promises);
	free(chain->published);
}

struct options {
	uint64_t count, seed;
	bool is_replay;
	enum { RESERVE_IN_HALF, RESERVE_NEVER, RESERVE_ALWAYS } reserve;
};

static bool parse_options(int argc, char **argv, struct options *out)
{
	for (int i = 1; i < argc; i += 2) {
		if (i + 1 == argc)
			return false;
		char *end;
		uint64_t value = strtoull(argv[i + 1], &end, 10);
		if (*end != '\0')
			return false;
		if (strcmp(argv[i], "--count") == 0) {
			out->count = value;
		} else if (strcmp(argv[i], "--seed") == 0) {
			out->seed = value;
		} else if (strcmp(argv[i], "--reserve") == 0) {
			out->reserve = value == 0 ? RESERVE_NEVER : RESERVE_ALWAYS;
		} else if (strcmp(argv[i], "--replay") == 0) {
			out->seed = value;
			out->is_replay = true;
			out->count = REPLAY_COUNT;
		} else {
			return false;
		}
	}
	return true;
}

int main(int argc, char **argv)
{
	struct options options = {.count = DEFAULT_COUNT, .seed = (uint64_t)time(NULL) << 16};
	if (!parse_options(argc, argv, &options)) {
		fprintf(stderr, "usage: power_loss [--count N] [--seed S] [--replay SEED] "
				"[--reserve 0|1]\n");
		return 2;
	}
	printf("seed %llu\n", (unsigned long long)options.seed);
	uint64_t images = 0, failed = 0, chains = 0, compacted = 0;
	for (uint64_t seed = options.seed; images < options.count && failed < FAILURES_MAX;
		seed += options.is_replay ? 0 : 1) {
		struct chain chain = {.seed = seed,
			.has_reserve = options.reserve == RESERVE_IN_HALF
					       ? seed % 2 == 1
					       : options.reserve == RESERVE_ALWAYS};
		run_chain(&chain);
		chains++;
		images += chain.images;
		failed += chain.failed;
		compacted += chain.compacted;
		if (chain.failed != 0)
			printf("repeat with: power_loss --replay %llu --reserve %d\n",
				(unsigned long long)seed, chain.has_reserve);
	}
	printf("%llu moments with a keyframe reserve\n", (unsigned long long)compacted);
	printf("power_loss: %llu images of %llu chains, %llu failed\n", (unsigned long long)images,
		(unsigned long long)chains, (unsigned long long)failed);
	return failed == 0 ? 0 : 1;
}
