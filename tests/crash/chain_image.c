#include "tests/crash/chain_image.h"

#include <string.h>

#include "eventlogd/log/event_log_private.h"
#include "eventlogd/log/reader.h"
#include "eventlogd/log/verify.h"
#include "tests/lib/random.h"

static void on_finding(void *owner, const struct finding *finding)
{
	struct chain *chain = owner;
	if (finding_severity(finding->kind) == FINDING_DAMAGE)
		chain_fail(chain, "damage is found: %s in %s, %llu-%llu, %s",
			finding_name(finding->kind), finding->file == NULL ? "" : finding->file,
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
		chain_fail(chain, "can't be opened: %s", strerror(-r));
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
		chain_fail(chain, "%llu was durable and is lost", (unsigned long long)sequence);
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
			chain_fail(chain, "reading %s: %s %s", worker, strerror(-r), dump.problem);
		for (size_t j = 0; j < dump.count; j++)
			if (!chain_has_published(chain, &dump.records[j]))
				chain_fail(chain, "%llu of %s is not what was published",
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
		chain_fail(chain, "the reader gives %s", dump->problem);
	if (dump->gap_count != 0)
		chain_fail(chain, "%llu-%llu are a gap", (unsigned long long)dump->gaps[0].first,
			(unsigned long long)dump->gaps[0].last);
	check_nothing_lost(chain, dump, WORKERS, before, after);
	/* What was durable may have been pruned since, to the last record. */
	if (newest < before->durable && before->durable > pruned_of(after, WORKERS))
		chain_fail(chain, "%llu was durable, the log ends at %llu",
			(unsigned long long)before->durable, (unsigned long long)newest);
	for (size_t i = 0; i < dump->count; i++) {
		if (chain_has_published(chain, &dump->records[i]))
			continue;
		chain_fail(chain, "%llu of epoch %u is not what was published",
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
			chain_fail(chain, "producer of %s: %llu are known, %llu are there", worker,
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
		chain_fail(chain, "the cursor of %llu, epoch %u, which is %s, answers %d",
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
		chain_fail(chain, "can't be viewed: %s", strerror(-r));
		return;
	}
	struct verify_result result;
	const struct finding_sink findings = {on_finding, chain};
	r = log_verify(view, &findings, NULL, NULL, &result);
	if (r != 0)
		chain_fail(chain, "verify answers %s", strerror(-r));
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
			chain_fail(chain,
				"recovery after %zu of %zu calls of a recovery: %zu records and "
				"%zu gaps, "
				"then %zu and %zu; %s %s",
				at, calls, dump->count, dump->gap_count, again.count,
				again.gap_count, strerror(-r), again.problem);
		log_dump_free(&again);
		chain_end_log(second, log);
	}
	disk_model_free(second);
}

void chain_check_image(struct chain *chain, struct disk_model *image, size_t calls)
{
	const struct promise *before = chain_promise_at(chain, calls, false);
	const struct promise *after = chain_promise_at(chain, calls, true);
	struct event_log *log = open_image(chain, image);
	chain->images++;
	if (log == NULL)
		return;
	size_t recovery_calls = disk_model_calls(image);
	struct log_dump dump;
	int r = log_dump_read(&dump, event_log_view(log));
	if (r != 0)
		chain_fail(chain, "reading answers %s", strerror(-r));
	check_records(chain, &dump, before, after);
	check_workers(chain, log, before, after);
	check_producers(chain, log, &dump, after);
	check_cursors(chain, log, &dump);
	if (random_below(&chain->random, 4) == 0)
		check_verify(chain, image);
	chain_end_log(image, log);
	if (random_below(&chain->random, 2) == 0)
		check_second_loss(chain, image, recovery_calls, &dump);
	log_dump_free(&dump);
}
