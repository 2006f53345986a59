#include "tests/crash/chain_live.h"

#include <stdio.h>
#include <string.h>

#include "eventlogd/log/event_log_private.h"
#include "proto/base/clock.h"
#include "tests/lib/random.h"

enum {
	STEPS_MIN = 20,
	STEPS_MAX = 120,
	QUIET_ONE_IN = 40,
	EVENTS_PER_BATCH = 6,
	PAYLOAD_MAX = 9000,
};

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
		chain_fail(chain, "staging answers %d", r);
		return;
	}
	struct log_ends ends;
	log_view_ends(event_log_view(chain->log), &ends);
	for (size_t i = 0; i < count; i++)
		chain_publish(chain, staged.first_seq + i, ends.epoch,
			dump_hash(worker, 2, payloads[i], events[i].payload_len), number);
}

static void commit(struct chain *chain)
{
	enum event_log_result r = event_log_commit(chain->log, chain->wall_ns);
	if (r != EVENT_LOG_OK)
		chain_fail(chain, "commit answers %d", (int)r);
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

/* An operator says that a worker is finished; it may publish again. */
static void finish_worker(struct chain *chain)
{
	char worker[3] = {'w', (char)('0' + random_below(&chain->random, WORKERS)), '\0'};
	struct log_forgotten forgotten;
	(void)event_log_forget(chain->log, worker, 2, &forgotten);
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
		if (choice == 55)
			finish_worker(chain);
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
	chain_promise(chain);
}

static bool open_log(struct chain *chain)
{
	chain->config.ops = disk_model_ops(chain->disk);
	int r = event_log_open(&chain->log, &chain->config, chain->wall_ns);
	if (r != 0) {
		chain_fail(chain, "can't be opened: %s", strerror(-r));
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
		chain_fail(chain, "closing answers %s", strerror(-r));
}

/* kill -9: nothing that was written is lost, and from the recovery on it is durable. */
static bool is_killed_and_recovers(struct chain *chain)
{
	struct event_log_status before, after;
	event_log_status(chain->log, &before);
	chain_end_log(chain->disk, chain->log);
	disk_model_revive(chain->disk);
	chain->log = NULL;
	if (!open_log(chain))
		return false;
	event_log_status(chain->log, &after);
	if (after.durable_seq < before.written_seq)
		chain_fail(chain, "%llu of %llu are left after kill -9",
			(unsigned long long)after.durable_seq,
			(unsigned long long)before.written_seq);
	chain_forget_unwritten(chain, before.written_seq);
	chain_promise(chain);
	return true;
}

static bool closes_and_opens(struct chain *chain)
{
	close_cleanly(chain);
	if (!open_log(chain))
		return false;
	chain_promise(chain);
	return true;
}

void chain_live(struct chain *chain)
{
	set_config(chain);
	if (!open_log(chain))
		return;
	chain_forget_unwritten(chain, UINT64_MAX);
	chain_promise(chain);
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
	chain_end_log(chain->disk, chain->log);
	chain->log = NULL;
}
