/*
 * corruption [--count N] [--seed S] [--stride BYTES]
 *
 * A log of three segments of 64 KiB, in memory, is damaged and read: every byte of the newest and
 * every sixteenth of a sealed segment inverted and zeroed (with --stride every STRIDE-th of those),
 * every sector zeroed, swapped with and copied over another, every set of segments missing, foreign
 * files beside them, and N random combinations. Each time it is opened and read, every third
 * time verified, and every eighth random one is also opened for writing and read again.
 *
 * Never: a crash, a record that was not published, a hole without a gap, damage that verify does
 * not find, or a record lost that is whole and in an older segment or at or below the durable mark.
 * The last line says how many cases ran and how many failed.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventlogd/log/event_log_private.h"
#include "eventlogd/log/segment_format.h"
#include "eventlogd/log/verify.h"
#include "proto/base/attributes.h"
#include "proto/base/bytes.h"
#include "proto/base/clock.h"
#include "proto/record.h"
#include "tests/crash/log_dump.h"
#include "tests/lib/disk_model.h"
#include "tests/lib/random.h"

enum {
	SEGMENTS = 3,
	SECTOR_BYTES = 512,
	SEALED_STRIDE = 16,
	VERIFY_EVERY = 3,
	CHANGES_MAX = 8,
	FAILURES_MAX = 20,
	DEFAULT_COUNT = 10000,
	NAME_BYTES = 32,
};

struct place {
	uint64_t sequence, durable;
	size_t segment, offset, bytes;
	bool is_internal;
};

struct segment_file {
	char name[NAME_BYTES];
	uint8_t *bytes; /* in `disk`; damaged and repaired in place */
	uint8_t *whole; /* a copy as it was written */
	size_t len, data_end;
	bool is_sealed, is_missing;
	struct {
		size_t from, to;
	} changes[CHANGES_MAX];
	unsigned int change_count;
};

struct bench {
	uint64_t random, cases, failed, refused;
	struct disk_model *disk; /* damaged in place: a view changes nothing */
	struct segment_file segments[SEGMENTS];
	struct place *places;
	size_t place_count;
	struct log_dump published;
	char what[256]; /* was done to it */
};

_printf_(2, 3) static void fail(struct bench *bench, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	bench->failed++;
	printf("FAILED: %s: ", bench->what);
	vprintf(format, arguments);
	printf("\n");
	va_end(arguments);
}

_printf_(2, 3) static void note(struct bench *bench, const char *format, ...)
{
	size_t used = strlen(bench->what);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(bench->what + used, sizeof(bench->what) - used, format, arguments);
	va_end(arguments);
}

/* Making the log. */

static void append(struct event_log *log, uint64_t *random, uint64_t wall_ns)
{
	static char payload[2048];
	size_t len = 20 + random_below(random, 600);
	int n = snprintf(payload, sizeof(payload), "{\"n\":%llu,\"x\":\"",
		(unsigned long long)random_next(random));
	for (size_t i = (size_t)n; i < len; i++)
		payload[i] = (char)('a' + i % 26);
	struct event_log_event event = {.payload = (const uint8_t *)payload,
		.payload_len = len > (size_t)n ? len : (size_t)n};
	char worker[3] = {'w', (char)('0' + random_below(random, 5)), '\0'};
	struct event_log_batch batch = {
		.worker = worker, .worker_len = 2, .events = &event, .event_count = 1};
	struct event_log_staged staged;
	struct event_log_status before, after;
	event_log_status(log, &before);
	if (event_log_stage(log, &batch, wall_ns, &staged) != EVENT_LOG_OK)
		abort();
	do {
		if (event_log_commit(log, wall_ns) != EVENT_LOG_OK)
			abort();
		event_log_status(log, &after);
		if (after.durable_seq < staged.last_seq)
			syncer_wait(&log->syncer);
	} while (after.durable_seq < staged.last_seq);
}

static void end_without_a_trace(struct disk_model *disk, struct event_log *log)
{
	disk_model_kill(disk);
	log->is_read_only = true;
	log->sync_error = -EIO;
	(void)event_log_close(log, 0);
}

static struct event_log_config log_config(const struct disk_model *disk)
{
	struct event_log_config config;
	event_log_config_init(&config);
	config.directory = "/";
	config.segment_bytes = SEGMENT_BYTES_MIN;
	config.max_event_bytes = 16 * 1024;
	config.max_workers = 16;
	config.durability = DURABILITY_DURABLE;
	config.ops = disk_model_ops(disk);
	return config;
}

static struct disk_model *make_log(uint64_t *random)
{
	struct disk_model *disk = disk_model_new();
	struct event_log_config config = log_config(disk);
	struct event_log *log;
	uint64_t wall_ns = UINT64_C(1700000000) * NS_PER_S;
	struct event_log_status status = {0};
	if (event_log_open(&log, &config, wall_ns) != 0)
		abort();
	while (status.rolls < SEGMENTS) {
		append(log, random, wall_ns);
		event_log_status(log, &status);
	}
	for (int i = 0; i < 100; i++)
		append(log, random, wall_ns);
	end_without_a_trace(disk, log);
	struct disk_model *copy = disk_model_copy(disk);
	disk_model_remove(copy, "next.tmp");
	disk_model_free(disk);
	return copy;
}

/* Where each record stands. */
static void find_places(struct bench *bench, size_t segment)
{
	struct segment_file *file = &bench->segments[segment];
	size_t at = SEGMENT_HEADER_BYTES, size;
	struct record record;
	while (record_decode(file->bytes + at, file->len - at, &record, &size) == RECORD_OK) {
		bench->places = realloc(
			bench->places, (bench->place_count + 1) * sizeof(*bench->places));
		if (bench->places == NULL)
			abort();
		bench->places[bench->place_count++] = (struct place){
			.sequence = record.sequence,
			.durable = record.sequence - record.durable_lag,
			.segment = segment,
			.offset = at,
			.bytes = size,
			.is_internal = record_is_internal(&record),
		};
		at += size;
	}
	file->data_end = at;
	struct segment_trailer trailer;
	file->is_sealed = segment_trailer_decode(file->bytes + file->len - SEGMENT_TRAILER_BYTES,
				  file->len, &trailer) == SEGMENT_FORMAT_OK;
}

static int compare_segments(const void *a, const void *b)
{
	const struct segment_file *x = a, *y = b;
	return strcmp(x->name, y->name);
}

static void take_segments(struct bench *bench)
{
	const char *name;
	size_t count = 0, len;
	uint8_t *bytes;
	for (size_t i = 0; (bytes = disk_model_file(bench->disk, i, &name, &len)) != NULL; i++) {
		if (count == SEGMENTS)
			abort();
		struct segment_file *file = &bench->segments[count++];
		snprintf(file->name, sizeof(file->name), "%s", name);
		file->bytes = bytes;
		file->len = len;
		file->whole = malloc(len);
		if (file->whole == NULL)
			abort();
		memcpy(file->whole, bytes, len);
	}
	if (count != SEGMENTS)
		abort();
	qsort(bench->segments, SEGMENTS, sizeof(bench->segments[0]), compare_segments);
	for (size_t i = 0; i < SEGMENTS; i++)
		find_places(bench, i);
}

/* Judging. */

static bool is_untouched(const struct segment_file *file, size_t from, size_t to)
{
	for (unsigned int i = 0; i < file->change_count; i++)
		if (file->changes[i].from < to && from < file->changes[i].to)
			return false;
	return !file->is_missing;
}

static bool place_is_whole(const struct bench *bench, const struct place *place)
{
	const struct segment_file *file = &bench->segments[place->segment];
	return is_untouched(file, place->offset, place->offset + place->bytes) ||
	       (!file->is_missing && memcmp(file->bytes + place->offset,
					     file->whole + place->offset, place->bytes) == 0);
}

static bool trailer_is_whole(const struct segment_file *file)
{
	size_t at = file->len - SEGMENT_TRAILER_BYTES;
	return !file->is_missing && file->is_sealed &&
	       memcmp(file->bytes + at, file->whole + at, SEGMENT_TRAILER_BYTES) == 0;
}

static bool header_is_whole(const struct segment_file *file)
{
	return !file->is_missing && memcmp(file->bytes, file->whole, SEGMENT_HEADER_BYTES) == 0;
}

static size_t newest_present(const struct bench *bench)
{
	size_t newest = SEGMENTS;
	for (size_t i = 0; i < SEGMENTS; i++)
		if (!bench->segments[i].is_missing)
			newest = i;
	return newest;
}

/* The durable mark that what is left tells about the newest segment. */
static uint64_t durable_in(const struct bench *bench, size_t segment)
{
	uint64_t durable = 0;
	for (size_t i = 0; i < bench->place_count; i++) {
		const struct place *place = &bench->places[i];
		if (place->segment == segment && place->durable > durable &&
			place_is_whole(bench, place))
			durable = place->durable;
	}
	return durable;
}

static void check_records(struct bench *bench, const struct log_dump *dump)
{
	if (dump->problem[0] != '\0')
		fail(bench, "the reader gives %s", dump->problem);
	for (size_t i = 0; i < dump->count; i++) {
		const struct dumped_record *got = &dump->records[i];
		const struct dumped_record *was = log_dump_find(&bench->published, got->sequence);
		if (was != NULL && was->hash == got->hash && was->epoch == got->epoch)
			continue;
		fail(bench, "%llu was not published so", (unsigned long long)got->sequence);
		return;
	}
	size_t newest = newest_present(bench);
	uint64_t durable = newest < SEGMENTS ? durable_in(bench, newest) : 0;
	for (size_t i = 0; i < bench->place_count; i++) {
		const struct place *place = &bench->places[i];
		bool counts = place->segment != newest ||
			      trailer_is_whole(&bench->segments[newest]) ||
			      place->sequence <= durable;
		if (place->is_internal || !counts || !place_is_whole(bench, place) ||
			log_dump_find(dump, place->sequence) != NULL)
			continue;
		fail(bench, "%llu is whole and not given", (unsigned long long)place->sequence);
		return;
	}
}

static unsigned int damaged_records(const struct bench *bench)
{
	unsigned int count = 0;
	for (size_t i = 0; i < bench->place_count; i++) {
		const struct place *place = &bench->places[i];
		const struct segment_file *file = &bench->segments[place->segment];
		if (!place->is_internal && trailer_is_whole(file) && !place_is_whole(bench, place))
			count++;
	}
	return count;
}

static void check_verify(struct bench *bench, struct log_view *view)
{
	struct verify_result result;
	int r = log_verify(view, NULL, NULL, NULL, &result);
	if (r != 0)
		fail(bench, "verify answers %s", strerror(-r));
	else if (damaged_records(bench) != 0 && result.damage_count == 0)
		fail(bench, "verify finds nothing");
}

/* Nobody could tell whose a log is of which no header and no trailer is left. */
static bool may_be_refused(const struct bench *bench)
{
	for (size_t i = 0; i < SEGMENTS; i++)
		if (header_is_whole(&bench->segments[i]) || trailer_is_whole(&bench->segments[i]))
			return false;
	return true;
}

static void check_view(struct bench *bench, struct disk_model *disk)
{
	struct log_view *view;
	struct log_dump dump;
	int r = log_view_open(&view, "/", disk_model_ops(disk), NULL);
	if (r != 0) {
		bench->refused++;
		if (!may_be_refused(bench))
			fail(bench, "refused: %s", strerror(-r));
		return;
	}
	r = log_dump_read(&dump, view);
	if (r != 0)
		fail(bench, "reading answers %s", strerror(-r));
	else
		check_records(bench, &dump);
	log_dump_free(&dump);
	if (bench->cases % VERIFY_EVERY == 0)
		check_verify(bench, view);
	log_view_close(view);
}

/* The daemon starts on it, ends, and the same can be read afterwards. */
static void check_writer(struct bench *bench)
{
	struct disk_model *copy = disk_model_copy(bench->disk);
	struct event_log_config config = log_config(copy);
	struct event_log *log;
	int r = event_log_open(&log, &config, UINT64_C(1700000001) * NS_PER_S);
	if (r != 0) {
		if (!may_be_refused(bench))
			fail(bench, "the daemon is refused: %s", strerror(-r));
	} else {
		append(log, &bench->random, UINT64_C(1700000001) * NS_PER_S);
		struct log_dump dump, again;
		r = log_dump_read(&dump, event_log_view(log));
		if (r != 0 || dump.problem[0] != '\0')
			fail(bench, "the daemon reads %s %s", strerror(-r), dump.problem);
		end_without_a_trace(copy, log);
		struct disk_model *next = disk_model_copy(copy);
		struct log_view *view = NULL;
		r = log_view_open(&view, "/", disk_model_ops(next), NULL);
		if (r == 0)
			r = log_dump_read(&again, view);
		if (r != 0 || !log_dumps_are_equal(&dump, &again))
			fail(bench, "after the daemon another log is read");
		if (view != NULL)
			log_dump_free(&again);
		log_view_close(view);
		disk_model_free(next);
		log_dump_free(&dump);
	}
	disk_model_free(copy);
}

/* Damaging. */

static uint8_t *touch(struct bench *bench, size_t segment, size_t at, size_t len)
{
	struct segment_file *file = &bench->segments[segment];
	file->changes[file->change_count].from = at;
	file->changes[file->change_count++].to = at + len;
	return file->bytes + at;
}

static void repair(struct bench *bench)
{
	for (size_t i = 0; i < SEGMENTS; i++) {
		struct segment_file *file = &bench->segments[i];
		for (unsigned int j = 0; j < file->change_count; j++)
			memcpy(file->bytes + file->changes[j].from,
				file->whole + file->changes[j].from,
				file->changes[j].to - file->changes[j].from);
		file->change_count = 0;
	}
	bench->what[0] = '\0';
	bench->cases++;
}

static void every_byte(struct bench *bench, size_t segment, size_t stride)
{
	struct segment_file *file = &bench->segments[segment];
	for (size_t at = 0; at < file->len && bench->failed < FAILURES_MAX; at += stride) {
		note(bench, "byte %zu of %s inverted", at, file->name);
		*touch(bench, segment, at, 1) ^= 0xff;
		check_view(bench, bench->disk);
		repair(bench);
		if (file->bytes[at] == 0)
			continue;
		note(bench, "byte %zu of %s zeroed", at, file->name);
		*touch(bench, segment, at, 1) = 0;
		check_view(bench, bench->disk);
		repair(bench);
	}
}

enum sector_change { SECTOR_ZEROED, SECTOR_SWAPPED, SECTOR_COPIED, SECTOR_CHANGES };

static void change_sector(
	struct bench *bench, size_t segment, size_t at, size_t other, enum sector_change change)
{
	static const char *const names[] = {"zeroed", "swapped with", "copied from"};
	uint8_t kept[SECTOR_BYTES];
	note(bench, "sector at %zu of %s %s %zu; ", at, bench->segments[segment].name,
		names[change], other);
	uint8_t *here = touch(bench, segment, at, SECTOR_BYTES);
	if (change == SECTOR_ZEROED) {
		memset(here, 0, SECTOR_BYTES);
		return;
	}
	memcpy(kept, here, SECTOR_BYTES);
	memmove(here, bench->segments[segment].bytes + other, SECTOR_BYTES);
	if (change == SECTOR_SWAPPED)
		memcpy(touch(bench, segment, other, SECTOR_BYTES), kept, SECTOR_BYTES);
}

static size_t any_sector(struct bench *bench, size_t segment)
{
	return random_below(&bench->random, bench->segments[segment].len / SECTOR_BYTES) *
	       SECTOR_BYTES;
}

static void every_sector(struct bench *bench)
{
	for (size_t segment = 0; segment < SEGMENTS; segment++) {
		for (size_t at = 0; at < bench->segments[segment].len; at += SECTOR_BYTES) {
			for (int change = 0; change < SECTOR_CHANGES; change++) {
				change_sector(bench, segment, at, any_sector(bench, segment),
					(enum sector_change)change);
				check_view(bench, bench->disk);
				repair(bench);
			}
		}
	}
}

static void set_missing(struct bench *bench, size_t segment, bool is_missing)
{
	struct segment_file *file = &bench->segments[segment];
	if (file->is_missing == is_missing)
		return;
	file->is_missing = is_missing;
	if (is_missing) {
		note(bench, "%s missing; ", file->name);
		disk_model_remove(bench->disk, file->name);
	} else {
		disk_model_put(bench->disk, file->name, file->whole, file->len);
		const char *name;
		size_t len;
		uint8_t *bytes;
		for (size_t i = 0; (bytes = disk_model_file(bench->disk, i, &name, &len)) != NULL;
			i++)
			if (strcmp(name, file->name) == 0)
				file->bytes = bytes;
	}
}

static void missing_segments(struct bench *bench)
{
	for (unsigned int set = 1; set < 1u << SEGMENTS; set++) {
		for (size_t i = 0; i < SEGMENTS; i++)
			set_missing(bench, i, (set >> i & 1) != 0);
		check_view(bench, bench->disk);
		if (set != (1u << SEGMENTS) - 1)
			check_writer(bench);
		for (size_t i = 0; i < SEGMENTS; i++)
			set_missing(bench, i, false);
		repair(bench);
	}
}

/* Beside the log: what must be left alone, and must not change what is read. */
static void foreign_files(struct bench *bench)
{
	uint64_t random = 7;
	struct disk_model *other = make_log(&random);
	static uint8_t garbage[SEGMENT_BYTES_MIN];
	const char *name;
	size_t len;
	for (size_t i = 0; i < sizeof(garbage); i++)
		garbage[i] = (uint8_t)random_next(&random);
	const uint8_t *others = disk_model_file(other, 0, &name, &len);
	const struct segment_file *ours = &bench->segments[1];
	static const struct {
		const char *name, *what;
		int kind;
	} cases[] = {
		{"0000000000000025-0001.seg", "another log's", 0},
		{"0000000000000000-0000.seg", "garbage below all", 1},
		{"0000000000000010-0001.seg", "garbage in between", 1},
		{"ffffffffffffffff-ffff.seg", "a short file above all", 2},
		{"0000000000000020-0001.seg", "an empty one", 3},
		{"0000000000000010-0001.seg", "our own under another name", 4},
		{"README", "text", 2},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const uint8_t *const bytes[] = {others, garbage, garbage, garbage, ours->whole};
		const size_t lens[] = {len, sizeof(garbage), 100, 0, ours->len};
		note(bench, "%s as %s", cases[i].what, cases[i].name);
		disk_model_put(
			bench->disk, cases[i].name, bytes[cases[i].kind], lens[cases[i].kind]);
		check_view(bench, bench->disk);
		check_writer(bench);
		disk_model_remove(bench->disk, cases[i].name);
		repair(bench);
	}
	disk_model_free(other);
}

static void random_damage(struct bench *bench)
{
	size_t count = 1 + random_below(&bench->random, 3);
	for (size_t i = 0; i < count; i++) {
		size_t segment = random_below(&bench->random, SEGMENTS);
		size_t at = random_below(&bench->random, bench->segments[segment].len);
		uint64_t kind = random_below(&bench->random, 8);
		if (kind < SECTOR_CHANGES) {
			change_sector(bench, segment, at / SECTOR_BYTES * SECTOR_BYTES,
				any_sector(bench, segment), (enum sector_change)kind);
		} else if (kind < 6) {
			note(bench, "bit at %zu of %s; ", at, bench->segments[segment].name);
			*touch(bench, segment, at,
				1) ^= (uint8_t)(1u << random_below(&bench->random, 8));
		} else {
			size_t len = 1 + random_below(&bench->random, 5000);
			if (len > bench->segments[segment].len - at)
				len = bench->segments[segment].len - at;
			note(bench, "%zu bytes at %zu of %s; ", len, at,
				bench->segments[segment].name);
			uint8_t *bytes = touch(bench, segment, at, len);
			for (size_t j = 0; j < len; j++)
				bytes[j] = (uint8_t)random_next(&bench->random);
		}
	}
}

static void random_cases(struct bench *bench, uint64_t count)
{
	for (uint64_t i = 0; i < count && bench->failed < FAILURES_MAX; i++) {
		random_damage(bench);
		check_view(bench, bench->disk);
		if (i % 8 == 0)
			check_writer(bench);
		repair(bench);
	}
}

static bool parse_options(int argc, char **argv, uint64_t *count, uint64_t *seed, size_t *stride)
{
	for (int i = 1; i < argc; i += 2) {
		char *end = NULL;
		uint64_t value = i + 1 < argc ? strtoull(argv[i + 1], &end, 10) : 0;
		if (end == NULL || *end != '\0')
			return false;
		if (strcmp(argv[i], "--count") == 0)
			*count = value;
		else if (strcmp(argv[i], "--seed") == 0)
			*seed = value;
		else if (strcmp(argv[i], "--stride") == 0 && value > 0)
			*stride = (size_t)value;
		else
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	uint64_t count = DEFAULT_COUNT, seed = clock_monotonic_ns();
	size_t stride = 1;
	if (!parse_options(argc, argv, &count, &seed, &stride)) {
		fprintf(stderr, "usage: corruption [--count N] [--seed S] [--stride BYTES]\n");
		return 2;
	}
	printf("seed %llu\n", (unsigned long long)seed);
	struct bench bench = {.random = seed};
	bench.disk = make_log(&bench.random);
	take_segments(&bench);
	struct log_view *view;
	if (log_view_open(&view, "/", disk_model_ops(bench.disk), NULL) != 0 ||
		log_dump_read(&bench.published, view) != 0)
		abort();
	log_view_close(view);

	every_byte(&bench, SEGMENTS - 1, stride);
	every_byte(&bench, 1, stride * SEALED_STRIDE);
	every_sector(&bench);
	missing_segments(&bench);
	foreign_files(&bench);
	random_cases(&bench, count);

	printf("corruption: %llu cases (%llu refused), %llu failed\n",
		(unsigned long long)bench.cases, (unsigned long long)bench.refused,
		(unsigned long long)bench.failed);
	log_dump_free(&bench.published);
	for (size_t i = 0; i < SEGMENTS; i++)
		free(bench.segments[i].whole);
	free(bench.places);
	disk_model_free(bench.disk);
	return bench.failed == 0 ? 0 : 1;
}
