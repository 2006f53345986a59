#include "eventlogd/log/syncer.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/base/clock.h"

/* How long a write is looked out for: a publisher's way from its ACK to the next one is shorter. */
#define EXPECT_WRITE_NS (NS_PER_MS / 10)

static bool is_full(int error)
{
	return error == -ENOSPC || error == -EDQUOT;
}

/* Without the mutex. */
static void call_wake(struct syncer *syncer)
{
	if (syncer->config.wake != NULL)
		syncer->config.wake(syncer->config.wake_owner);
}

static void set_error(struct syncer *syncer, int error)
{
	if (error != 0 && syncer->error == 0)
		syncer->error = error;
}

static bool sync_is_due(const struct syncer *syncer, uint64_t now_ns)
{
	if (syncer->fd < 0 || syncer->written.bytes == syncer->synced.bytes)
		return false;
	switch (syncer->config.durability) {
	case DURABILITY_DURABLE:
		return true;
	case DURABILITY_INTERVAL:
		return syncer->written.bytes - syncer->synced.bytes >= syncer->config.sync_bytes ||
		       now_ns - syncer->dirty_since_ns >= syncer->config.interval_ns;
	case DURABILITY_OS:
		return false;
	}
	return false;
}

/* Tickets that came meanwhile and brought no bytes have nothing to wait for. */
static void set_synced(struct syncer *syncer, const struct sync_mark *mark)
{
	syncer->synced = syncer->written.bytes == mark->bytes ? syncer->written : *mark;
}

/* A paused spare goes on, if there is a reason. */
static void resume_spare(struct syncer *syncer)
{
	if (syncer->spare_job == SYNCER_PAUSED &&
		spare_step_is_due(&syncer->spare, &syncer->spare_config))
		syncer->spare_job = SYNCER_ASKED;
}

/* The jobs. Each is entered and left with the mutex held, and gives it up in between. */

static void run_sync(struct syncer *syncer)
{
	int fd = syncer->fd;
	struct sync_mark mark = syncer->written;
	uint64_t start_ns = clock_monotonic_ns();
	pthread_mutex_unlock(&syncer->mutex);
	int r = syncer->config.ops->fdatasync(syncer->config.ops->owner, fd);
	pthread_mutex_lock(&syncer->mutex);
	if (r != 0) {
		set_error(syncer, r);
		return;
	}
	spare_earn(&syncer->spare, mark.bytes - syncer->synced.bytes);
	resume_spare(syncer);
	set_synced(syncer, &mark);
	syncer->sync_count++;
	/* What was written meanwhile has waited since then at most. */
	syncer->dirty_since_ns = start_ns;
	syncer->clean_since_ns = clock_monotonic_ns();
}

static int finish_old(struct syncer *syncer, struct roll *roll)
{
	const struct file_ops *ops = syncer->config.ops;
	int r = ops->fdatasync(ops->owner, roll->old_fd);
	if (r == 0 && roll->has_seal) {
		r = seal_write(&roll->seal, ops, roll->old_fd);
		roll->is_sealed = r == SEAL_WRITTEN;
	}
	ops->close(ops->owner, roll->old_fd);
	roll->old_fd = -1;
	return r < 0 ? r : 0;
}

/* 0; or -errno, and `roll->error` when that is a full disk before anything was to be synced. */
static int begin_next(struct syncer *syncer, struct roll *roll)
{
	const struct file_ops *ops = syncer->config.ops;
	int directory_fd = syncer->config.directory_fd;
	if (!roll->may_replace && file_exists(ops, directory_fd, roll->name))
		return -EEXIST; /* not ours, and not to be replaced; the next start avoids it */
	int r = file_write(ops, roll->next_fd, roll->header, sizeof(roll->header), 0, NULL);
	if (is_full(r)) {
		roll->error = r;
		return 0;
	}
	if (r == 0)
		r = ops->fsync(ops->owner, roll->next_fd);
	if (r != 0)
		return r;
	r = ops->rename_at(ops->owner, directory_fd, SEGMENT_SPARE_NAME, roll->name);
	if (is_full(r)) {
		roll->error = r;
		return 0;
	}
	/* Only with the directory on the disk does the segment exist after a power loss. */
	return r == 0 ? ops->fsync(ops->owner, directory_fd) : r;
}

static void run_roll(struct syncer *syncer)
{
	struct roll *roll = syncer->roll;
	struct sync_mark mark = syncer->written;
	syncer->roll_job = SYNCER_RUNNING;
	pthread_mutex_unlock(&syncer->mutex);
	int r = roll->old_fd >= 0 ? finish_old(syncer, roll) : 0;
	bool old_is_synced = r == 0;
	roll->error = 0;
	if (r == 0 && roll->next_fd >= 0)
		r = begin_next(syncer, roll);
	pthread_mutex_lock(&syncer->mutex);
	set_error(syncer, r);
	if (old_is_synced) {
		set_synced(syncer, &mark);
		syncer->sync_count++;
	}
	if (r == 0)
		syncer->roll_job = SYNCER_DONE;
}

/* One step, so that syncs come in between. */
static void run_spare(struct syncer *syncer)
{
	struct spare spare = syncer->spare;
	syncer->spare_job = SYNCER_RUNNING;
	pthread_mutex_unlock(&syncer->mutex);
	int r = spare_step(&spare, &syncer->spare_config, clock_monotonic_ns());
	bool is_finished = spare_is_finished(&spare, &syncer->spare_config, clock_monotonic_ns());
	pthread_mutex_lock(&syncer->mutex);
	spare.is_urgent = syncer->spare.is_urgent;
	syncer->spare = spare;
	syncer->spare_error = r;
	syncer->spare_job = r != 0 || is_finished ? SYNCER_DONE : SYNCER_PAUSED;
	resume_spare(syncer);
}

static void run_heal(struct syncer *syncer)
{
	int fd = syncer->fd;
	uint64_t offset = syncer->heal_offset, bytes = syncer->heal_bytes;
	syncer->heal_job = SYNCER_RUNNING;
	pthread_mutex_unlock(&syncer->mutex);
	const struct file_ops *ops = syncer->config.ops;
	int write_error = file_write_zeros(ops, fd, offset, bytes);
	int r = write_error == 0 ? ops->fdatasync(ops->owner, fd) : 0;
	pthread_mutex_lock(&syncer->mutex);
	set_error(syncer, r);
	syncer->heal_error = write_error;
	if (r == 0)
		syncer->heal_job = SYNCER_DONE;
}

static void run_removals(struct syncer *syncer)
{
	const struct file_ops *ops = syncer->config.ops;
	struct syncer_removal removals[SYNCER_REMOVALS_MAX];
	unsigned int count = syncer->removal_count;
	int fd = syncer->fd, directory_fd = syncer->config.directory_fd;
	struct sync_mark mark = syncer->written;
	memcpy(removals, syncer->removals, sizeof(removals));
	syncer->removal_count = 0;
	syncer->is_removing = true;
	pthread_mutex_unlock(&syncer->mutex);
	/* The note that says what is gone has to be on the disk before it is. */
	int r = fd >= 0 ? ops->fdatasync(ops->owner, fd) : 0;
	int sync_error = r;
	bool has_replaced = false;
	for (unsigned int i = 0; r == 0 && i < count; i++) {
		if (removals[i].is_replacement) {
			r = ops->rename_at(
				ops->owner, directory_fd, SEGMENT_COMPACT_NAME, removals[i].name);
			has_replaced = r == 0;
		} else {
			(void)ops->unlink_at(ops->owner, directory_fd, removals[i].name);
		}
	}
	if (r == 0)
		r = ops->fsync(ops->owner, directory_fd);
	pthread_mutex_lock(&syncer->mutex);
	set_error(syncer, r);
	syncer->has_replaced |= has_replaced && r == 0;
	syncer->is_removing = false;
	if (sync_error == 0 && fd >= 0)
		set_synced(syncer, &mark);
}

/* One step; the next one comes when nothing more urgent is to be done. */
static void run_compaction(struct syncer *syncer)
{
	struct compaction *compaction = syncer->compaction;
	syncer->compact_job = SYNCER_RUNNING;
	pthread_mutex_unlock(&syncer->mutex);
	int r = compaction_step(compaction);
	pthread_mutex_lock(&syncer->mutex);
	/* A segment that is not in its place yet is no part of the log: nothing is poisoned. */
	syncer->compact_job = r == COMPACTION_GOES_ON ? SYNCER_ASKED : SYNCER_DONE;
	syncer->compact_error = r < 0 ? r : 0;
}

static void run_scrub(struct syncer *syncer)
{
	struct scrub *scrub = syncer->scrub;
	syncer->scrub_job = SYNCER_RUNNING;
	pthread_mutex_unlock(&syncer->mutex);
	int r = scrub_step(scrub);
	pthread_mutex_lock(&syncer->mutex);
	syncer->scrub_job = SYNCER_DONE;
	syncer->scrub_result = r;
}

/* Runs one job if there is one. */
static bool run_next(struct syncer *syncer)
{
	if (syncer->error != 0)
		return false;
	if (syncer->heal_job == SYNCER_ASKED)
		run_heal(syncer);
	else if (syncer->roll_job == SYNCER_ASKED)
		run_roll(syncer);
	else if (sync_is_due(syncer, clock_monotonic_ns()))
		run_sync(syncer);
	else if (syncer->removal_count != 0)
		run_removals(syncer);
	else if (syncer->spare_job == SYNCER_ASKED)
		run_spare(syncer);
	else if (syncer->compact_job == SYNCER_ASKED)
		run_compaction(syncer);
	else if (syncer->scrub_job == SYNCER_ASKED)
		run_scrub(syncer);
	else
		return false;
	return true;
}

/* Looks out for the next write; whatever else is asked for waits no longer than this takes. */
static void await_write(struct syncer *syncer)
{
	uint64_t end_ns = syncer->clean_since_ns + EXPECT_WRITE_NS;
	syncer->expects_write = false;
	pthread_mutex_unlock(&syncer->mutex);
	while (!atomic_load_explicit(&syncer->is_written, memory_order_relaxed) &&
		clock_monotonic_ns() < end_ns)
		sched_yield();
	pthread_mutex_lock(&syncer->mutex);
}

static void wait_for_work(struct syncer *syncer)
{
	if (syncer->config.durability == DURABILITY_DURABLE && syncer->expects_write) {
		await_write(syncer);
		return;
	}
	bool is_timed = syncer->config.durability == DURABILITY_INTERVAL && syncer->fd >= 0 &&
			syncer->error == 0 && syncer->written.bytes != syncer->synced.bytes;
	if (!is_timed) {
		pthread_cond_wait(&syncer->asked, &syncer->mutex);
		return;
	}
	uint64_t at = syncer->dirty_since_ns + syncer->config.interval_ns;
	struct timespec deadline = {(time_t)(at / NS_PER_S), (long)(at % NS_PER_S)};
	pthread_cond_timedwait(&syncer->asked, &syncer->mutex, &deadline);
}

static void *thread_main(void *argument)
{
	struct syncer *syncer = argument;
	pthread_mutex_lock(&syncer->mutex);
	while (!syncer->stopping) {
		atomic_store_explicit(&syncer->is_written, false, memory_order_relaxed);
		if (!run_next(syncer)) {
			pthread_cond_broadcast(&syncer->done);
			wait_for_work(syncer);
			continue;
		}
		pthread_cond_broadcast(&syncer->done);
		pthread_mutex_unlock(&syncer->mutex);
		call_wake(syncer);
		pthread_mutex_lock(&syncer->mutex);
	}
	pthread_mutex_unlock(&syncer->mutex);
	return NULL;
}

int syncer_start(struct syncer *syncer, const struct syncer_config *config)
{
	*syncer = (struct syncer){.config = *config,
		.fd = -1,
		.spare = {.fd = -1},
		.spare_config = {.ops = config->ops,
			.directory_fd = config->directory_fd,
			.segment_bytes = config->segment_bytes,
			.has_zeros = config->durability == DURABILITY_DURABLE},
		.written = config->start,
		.synced = config->start};
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&syncer->mutex, NULL);
	pthread_cond_init(&syncer->asked, &monotonic);
	pthread_cond_init(&syncer->done, NULL);
	pthread_condattr_destroy(&monotonic);
	/* Signals are the loop's; those that a fault raises in this thread stay with it. */
	sigset_t all, before;
	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGABRT);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	int r = pthread_create(&syncer->thread, NULL, thread_main, syncer);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	syncer->is_started = r == 0;
	return -r;
}

void syncer_stop(struct syncer *syncer)
{
	if (!syncer->is_started)
		return;
	pthread_mutex_lock(&syncer->mutex);
	syncer->stopping = true;
	pthread_cond_signal(&syncer->asked);
	pthread_mutex_unlock(&syncer->mutex);
	pthread_join(syncer->thread, NULL);
	syncer->is_started = false;
	pthread_cond_destroy(&syncer->asked);
	pthread_cond_destroy(&syncer->done);
	pthread_mutex_destroy(&syncer->mutex);
}

void syncer_set_fd(struct syncer *syncer, int fd)
{
	pthread_mutex_lock(&syncer->mutex);
	syncer->fd = fd;
	pthread_mutex_unlock(&syncer->mutex);
}

bool syncer_written(struct syncer *syncer, const struct sync_mark *mark)
{
	pthread_mutex_lock(&syncer->mutex);
	bool was_clean = syncer->written.bytes == syncer->synced.bytes;
	if (was_clean) {
		syncer->dirty_since_ns = clock_monotonic_ns();
		syncer->expects_write = syncer->dirty_since_ns - syncer->clean_since_ns <
					EXPECT_WRITE_NS;
	}
	syncer->written = *mark;
	atomic_store_explicit(&syncer->is_written, true, memory_order_relaxed);
	bool is_synced = syncer->synced.bytes == mark->bytes;
	if (is_synced)
		syncer->synced = *mark;
	uint64_t dirty = mark->bytes - syncer->synced.bytes;
	bool asks = syncer->config.durability == DURABILITY_DURABLE ||
		    (syncer->config.durability == DURABILITY_INTERVAL &&
			    (was_clean || dirty >= syncer->config.sync_bytes));
	pthread_mutex_unlock(&syncer->mutex);
	/* Behind the unlock: the thread would wake only to wait for the mutex. */
	if (asks)
		pthread_cond_signal(&syncer->asked);
	return is_synced;
}

void syncer_request_roll(struct syncer *syncer, struct roll *roll)
{
	pthread_mutex_lock(&syncer->mutex);
	assert(syncer->roll_job == SYNCER_IDLE);
	syncer->roll = roll;
	syncer->roll_job = SYNCER_ASKED;
	/* Its job syncs and closes what has been the active segment. */
	syncer->fd = -1;
	pthread_cond_signal(&syncer->asked);
	pthread_mutex_unlock(&syncer->mutex);
}

void syncer_request_spare(struct syncer *syncer)
{
	pthread_mutex_lock(&syncer->mutex);
	assert(syncer->spare_job == SYNCER_IDLE);
	syncer->spare_job = SYNCER_ASKED;
	spare_begin(&syncer->spare, clock_monotonic_ns());
	pthread_cond_signal(&syncer->asked);
	pthread_mutex_unlock(&syncer->mutex);
}

void syncer_hurry_spare(struct syncer *syncer)
{
	pthread_mutex_lock(&syncer->mutex);
	syncer->spare.is_urgent = true;
	resume_spare(syncer);
	pthread_cond_signal(&syncer->asked);
	pthread_mutex_unlock(&syncer->mutex);
}

void syncer_request_heal(struct syncer *syncer, uint64_t offset, uint64_t bytes)
{
	pthread_mutex_lock(&syncer->mutex);
	assert(syncer->heal_job == SYNCER_IDLE);
	syncer->heal_offset = offset;
	syncer->heal_bytes = bytes;
	syncer->heal_job = SYNCER_ASKED;
	pthread_cond_signal(&syncer->asked);
	pthread_mutex_unlock(&syncer->mutex);
}

static bool request_removal(struct syncer *syncer, const char *name, bool is_replacement)
{
	pthread_mutex_lock(&syncer->mutex);
	bool has_room = syncer->removal_count < SYNCER_REMOVALS_MAX;
	if (has_room) {
		struct syncer_removal *removal = &syncer->removals[syncer->removal_count++];
		memcpy(removal->name, name, SEGMENT_NAME_BYTES + 1);
		removal->is_replacement = is_replacement;
		pthread_cond_signal(&syncer->asked);
	}
	pthread_mutex_unlock(&syncer->mutex);
	return has_room;
}

bool syncer_can_remove(struct syncer *syncer)
{
	pthread_mutex_lock(&syncer->mutex);
	bool has_room = syncer->removal_count < SYNCER_REMOVALS_MAX;
	pthread_mutex_unlock(&syncer->mutex);
	return has_room;
}

bool syncer_request_removal(struct syncer *syncer, const char *name)
{
	return request_removal(syncer, name, false);
}

bool syncer_request_replacement(struct syncer *syncer, const char *name)
{
	return request_removal(syncer, name, true);
}

void syncer_request_compaction(struct syncer *syncer, struct compaction *compaction)
{
	pthread_mutex_lock(&syncer->mutex);
	assert(syncer->compact_job == SYNCER_IDLE);
	syncer->compaction = compaction;
	syncer->compact_job = SYNCER_ASKED;
	pthread_cond_signal(&syncer->asked);
	pthread_mutex_unlock(&syncer->mutex);
}

void syncer_request_scrub(struct syncer *syncer, struct scrub *scrub)
{
	pthread_mutex_lock(&syncer->mutex);
	assert(syncer->scrub_job == SYNCER_IDLE);
	syncer->scrub = scrub;
	syncer->scrub_job = SYNCER_ASKED;
	pthread_cond_signal(&syncer->asked);
	pthread_mutex_unlock(&syncer->mutex);
}

bool syncer_has_removals(struct syncer *syncer)
{
	pthread_mutex_lock(&syncer->mutex);
	bool has = syncer->removal_count != 0 || syncer->is_removing;
	pthread_mutex_unlock(&syncer->mutex);
	return has;
}

static bool take_done(enum syncer_job *job)
{
	if (*job != SYNCER_DONE)
		return false;
	*job = SYNCER_IDLE;
	return true;
}

void syncer_poll(struct syncer *syncer, struct syncer_news *out)
{
	pthread_mutex_lock(&syncer->mutex);
	*out = (struct syncer_news){.error = syncer->error,
		.synced = syncer->synced,
		.sync_count = syncer->sync_count,
		.spare_fd = -1};
	out->roll_done = take_done(&syncer->roll_job);
	out->spare_done = take_done(&syncer->spare_job);
	if (out->spare_done) {
		out->spare_fd = syncer->spare.fd;
		out->spare_error = syncer->spare_error;
		syncer->spare.fd = -1;
	}
	out->heal_done = take_done(&syncer->heal_job);
	out->heal_error = syncer->heal_error;
	out->compact_done = take_done(&syncer->compact_job);
	out->compact_error = syncer->compact_error;
	out->scrub_done = take_done(&syncer->scrub_job);
	out->scrub_result = syncer->scrub_result;
	out->has_replaced = syncer->has_replaced;
	syncer->has_replaced = false;
	pthread_mutex_unlock(&syncer->mutex);
}

static bool has_work(const struct syncer *syncer)
{
	return syncer->heal_job == SYNCER_ASKED || syncer->heal_job == SYNCER_RUNNING ||
	       syncer->roll_job == SYNCER_ASKED || syncer->roll_job == SYNCER_RUNNING ||
	       syncer->spare_job == SYNCER_ASKED || syncer->spare_job == SYNCER_RUNNING ||
	       syncer->removal_count != 0 || syncer->is_removing;
}

void syncer_wait(struct syncer *syncer)
{
	pthread_mutex_lock(&syncer->mutex);
	while (syncer->error == 0 && has_work(syncer) && syncer->roll_job != SYNCER_DONE &&
		syncer->spare_job != SYNCER_DONE && syncer->heal_job != SYNCER_DONE)
		pthread_cond_wait(&syncer->done, &syncer->mutex);
	pthread_mutex_unlock(&syncer->mutex);
}

int syncer_flush(struct syncer *syncer)
{
	pthread_mutex_lock(&syncer->mutex);
	if (syncer->error == 0 && syncer->fd >= 0 && syncer->written.bytes != syncer->synced.bytes)
		run_sync(syncer);
	int r = syncer->error;
	pthread_mutex_unlock(&syncer->mutex);
	return r;
}
