#include "tests/lib/log_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "eventlogd/log/event_log_private.h"
#include "eventlogd/log/segment_format.h"
#include "proto/base/clock.h"
#include "proto/record.h"

enum { WAIT_S = 30, NAMES_MAX = 4096 };

static void on_wake(void *owner)
{
	struct log_fixture *fixture = owner;
	pthread_mutex_lock(&fixture->mutex);
	fixture->wakes++;
	pthread_cond_signal(&fixture->woken);
	pthread_mutex_unlock(&fixture->mutex);
}

static void on_finding(void *owner, const struct finding *finding)
{
	struct log_fixture *fixture = owner;
	fixture->findings[finding->kind]++;
	fixture->last[finding->kind] = *finding;
	fixture->last[finding->kind].file = NULL;
}

int log_fixture_setup(void **state)
{
	struct log_fixture *fixture = calloc(1, sizeof(*fixture));
	assert_non_null(fixture);
	log_fixture_init(fixture);
	log_fixture_open(fixture);
	*state = fixture;
	return 0;
}

int log_fixture_teardown(void **state)
{
	log_fixture_free(*state);
	free(*state);
	return 0;
}

void log_fixture_init(struct log_fixture *fixture)
{
	memset(fixture, 0, sizeof(*fixture));
	/* In memory where that can be had: the tests sync all the time. */
	bool has_memory = access("/dev/shm", W_OK) == 0;
	snprintf(fixture->directory, sizeof(fixture->directory), "%s/sightline-log-XXXXXX",
		has_memory ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(fixture->directory));
	pthread_mutex_init(&fixture->mutex, NULL);
	pthread_cond_init(&fixture->woken, NULL);
	event_log_config_init(&fixture->config);
	fixture->config.directory = fixture->directory;
	fixture->config.segment_bytes = SEGMENT_BYTES_MIN;
	fixture->config.max_event_bytes = 16 * 1024;
	fixture->config.max_workers = 64;
	fixture->config.sync_interval_ns = NS_PER_MS;
	fixture->config.findings = (struct finding_sink){on_finding, fixture};
	fixture->config.wake = on_wake;
	fixture->config.wake_owner = fixture;
	fixture->wall_ns = UINT64_C(1700000000) * NS_PER_S;
	fixture->monotonic_ns = clock_monotonic_ns();
}

void log_fixture_free(struct log_fixture *fixture)
{
	(void)log_fixture_close(fixture);
	DIR *directory = opendir(fixture->directory);
	struct dirent *entry;
	while (directory != NULL && (entry = readdir(directory)) != NULL)
		if (unlinkat(dirfd(directory), entry->d_name, 0) < 0)
			(void)unlinkat(dirfd(directory), entry->d_name, AT_REMOVEDIR);
	if (directory != NULL)
		closedir(directory);
	assert_int_equal(rmdir(fixture->directory), 0);
	pthread_mutex_destroy(&fixture->mutex);
	pthread_cond_destroy(&fixture->woken);
}

int log_fixture_try_open(struct log_fixture *fixture)
{
	memset(fixture->findings, 0, sizeof(fixture->findings));
	return event_log_open(&fixture->log, &fixture->config, fixture->wall_ns);
}

void log_fixture_open(struct log_fixture *fixture)
{
	assert_int_equal(log_fixture_try_open(fixture), 0);
}

int log_fixture_close(struct log_fixture *fixture)
{
	struct event_log *log = fixture->log;
	fixture->log = NULL;
	return event_log_close(log, fixture->wall_ns);
}

void log_fixture_kill(struct log_fixture *fixture)
{
	struct syncer *syncer = &fixture->log->syncer;
	while (!fixture->log->is_read_only && syncer_has_removals(syncer)) {
		syncer_wait(syncer);
		log_take_news(fixture->log);
	}
	pthread_mutex_lock(&syncer->mutex);
	fixture->unsynced_bytes = syncer->written.bytes - syncer->synced.bytes;
	pthread_mutex_unlock(&syncer->mutex);
	/* A poisoned log is closed without another write. */
	fixture->log->is_read_only = true;
	fixture->log->sync_error = -EIO;
	assert_int_equal(log_fixture_close(fixture), -EIO);
}

void log_fixture_wait(struct log_fixture *fixture)
{
	struct timespec deadline;
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += WAIT_S;
	pthread_mutex_lock(&fixture->mutex);
	int r = 0;
	while (fixture->wakes == 0 && r == 0)
		r = pthread_cond_timedwait(&fixture->woken, &fixture->mutex, &deadline);
	fixture->wakes = 0;
	pthread_mutex_unlock(&fixture->mutex);
	assert_int_equal(r, 0);
}

int log_fixture_settle(struct log_fixture *fixture)
{
	for (;;) {
		int r = (int)event_log_commit(fixture->log, fixture->wall_ns);
		if (r != EVENT_LOG_OK)
			return r;
		struct event_log_progress progress;
		event_log_progress(fixture->log, &progress);
		if (progress.acked >= fixture->staged.ticket)
			return EVENT_LOG_OK;
		log_fixture_wait(fixture);
	}
}

void log_fixture_sync(struct log_fixture *fixture)
{
	struct event_log_status status;
	for (;;) {
		assert_int_equal(event_log_commit(fixture->log, fixture->wall_ns), EVENT_LOG_OK);
		event_log_status(fixture->log, &status);
		if (status.durable_seq == status.written_seq)
			return;
		log_fixture_wait(fixture);
	}
}

int log_fixture_append_batch(struct log_fixture *fixture, const struct event_log_batch *batch)
{
	for (;;) {
		int r = event_log_stage(fixture->log, batch, fixture->wall_ns, &fixture->staged);
		if (r != EVENT_LOG_BUSY)
			return r != EVENT_LOG_OK ? r : log_fixture_settle(fixture);
		log_fixture_wait(fixture);
		(void)event_log_commit(fixture->log, fixture->wall_ns);
	}
}

int log_fixture_append_event(
	struct log_fixture *fixture, const char *worker, const struct event_log_event *event)
{
	struct event_log_batch batch = {
		.worker = worker,
		.worker_len = strlen(worker),
		.owner_uid = 1000,
		.events = event,
		.event_count = 1,
	};
	return log_fixture_append_batch(fixture, &batch);
}

int log_fixture_append(struct log_fixture *fixture, const char *worker, const char *payload)
{
	struct event_log_event event = {
		.payload = (const uint8_t *)payload, .payload_len = strlen(payload)};
	return log_fixture_append_event(fixture, worker, &event);
}

void log_fixture_tick(struct log_fixture *fixture, uint64_t ns)
{
	fixture->wall_ns += ns;
	fixture->monotonic_ns += ns;
	event_log_tick(fixture->log, fixture->wall_ns, fixture->monotonic_ns);
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(a, b);
}

static unsigned int list_segments(
	const struct log_fixture *fixture, char (*names)[SEGMENT_NAME_BYTES + 1])
{
	unsigned int count = 0;
	DIR *directory = opendir(fixture->directory);
	assert_non_null(directory);
	struct dirent *entry;
	while ((entry = readdir(directory)) != NULL) {
		uint64_t base;
		uint16_t epoch;
		if (!segment_name_parse(entry->d_name, &base, &epoch))
			continue;
		assert_true(count < NAMES_MAX);
		memcpy(names[count++], entry->d_name, SEGMENT_NAME_BYTES + 1);
	}
	closedir(directory);
	qsort(names, count, sizeof(*names), compare_texts);
	return count;
}

unsigned int log_fixture_segments(const struct log_fixture *fixture)
{
	static char names[NAMES_MAX][SEGMENT_NAME_BYTES + 1];
	return list_segments(fixture, names);
}

void log_fixture_segment_path(
	const struct log_fixture *fixture, unsigned int number, char out[LOG_FIXTURE_PATH_BYTES])
{
	static char names[NAMES_MAX][SEGMENT_NAME_BYTES + 1];
	unsigned int count = list_segments(fixture, names);
	assert_true(number < count);
	snprintf(out, LOG_FIXTURE_PATH_BYTES, "%s/%s", fixture->directory, names[number]);
}

static int open_segment(const struct log_fixture *fixture, unsigned int number, int flags)
{
	char path[LOG_FIXTURE_PATH_BYTES];
	log_fixture_segment_path(fixture, number, path);
	int fd = open(path, flags | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

uint8_t *log_fixture_load_segment(
	const struct log_fixture *fixture, unsigned int number, size_t *len)
{
	int fd = open_segment(fixture, number, O_RDONLY);
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	uint8_t *bytes = malloc((size_t)st.st_size);
	assert_non_null(bytes);
	assert_int_equal(pread(fd, bytes, (size_t)st.st_size, 0), st.st_size);
	close(fd);
	*len = (size_t)st.st_size;
	return bytes;
}

void log_fixture_patch_segment(const struct log_fixture *fixture, unsigned int number,
	size_t offset, const void *bytes, size_t len)
{
	int fd = open_segment(fixture, number, O_WRONLY);
	assert_int_equal(pwrite(fd, bytes, len, (off_t)offset), len);
	close(fd);
}

/* Collects sequences into ranges as they come. */
struct ranges {
	char *out;
	size_t len, used;
	uint64_t first, last;
};

static void ranges_put(struct ranges *ranges, const char *mark, uint64_t first, uint64_t last)
{
	int n = snprintf(ranges->out + ranges->used, ranges->len - ranges->used,
		first == last ? "%s%s%llu" : "%s%s%llu-%llu", ranges->used == 0 ? "" : " ", mark,
		(unsigned long long)first, (unsigned long long)last);
	assert_true(n > 0 && (size_t)n < ranges->len - ranges->used);
	ranges->used += (size_t)n;
}

static void ranges_flush(struct ranges *ranges)
{
	if (ranges->first != 0)
		ranges_put(ranges, "", ranges->first, ranges->last);
	ranges->first = 0;
}

static void ranges_add(struct ranges *ranges, uint64_t sequence)
{
	if (ranges->first != 0 && sequence == ranges->last + 1) {
		ranges->last = sequence;
		return;
	}
	ranges_flush(ranges);
	ranges->first = ranges->last = sequence;
}

static void ranges_add_piece(struct ranges *ranges, const struct reader_piece *piece)
{
	uint64_t count = 0;
	for (size_t at = 0; at < piece->len; count++) {
		struct record record;
		size_t size;
		assert_int_equal(record_decode(piece->bytes + at, piece->len - at, &record, &size),
			RECORD_OK);
		assert_false(record_is_internal(&record));
		if (count == 0)
			assert_int_equal(record.sequence, piece->first);
		ranges_add(ranges, record.sequence);
		at += size;
		if (at == piece->len)
			assert_int_equal(record.sequence, piece->last);
	}
	assert_int_equal(count, piece->count);
}

void log_fixture_read(struct log_view *view, const struct reader_selection *selection,
	const struct reader_start *start, char *out, size_t len)
{
	struct ranges ranges = {.out = out, .len = len};
	struct reader *reader;
	struct reader_piece piece;
	out[0] = '\0';
	assert_int_equal(reader_open(&reader, view, selection, start, false, NULL), READER_OPENED);
	int r;
	while ((r = reader_next(reader, 4096, &piece)) != READER_END) {
		assert_true(r >= 0);
		if (r == READER_RECORDS) {
			ranges_add_piece(&ranges, &piece);
			continue;
		}
		ranges_flush(&ranges);
		if (r == READER_OVERRUN) {
			assert_true(ranges.used + sizeof(" overrun") <= len);
			strcpy(out + ranges.used, ranges.used == 0 ? "overrun" : " overrun");
			reader_close(reader);
			return;
		}
		ranges_put(&ranges, r == READER_CORRUPT ? "!" : "?", piece.first, piece.last);
	}
	ranges_flush(&ranges);
	reader_close(reader);
}

void log_fixture_read_all(struct log_view *view, const char *worker, char *out, size_t len)
{
	struct reader_start start = {.from = READER_FROM_OLDEST};
	size_t worker_len = worker == NULL ? 0 : strlen(worker);
	struct reader_selection selection = {&worker, &worker_len, 1};
	log_fixture_read(view, worker == NULL ? NULL : &selection, &start, out, len);
}
