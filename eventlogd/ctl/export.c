/* eventlogctl export: everything that a log directory retains, as JSON lines. */
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eventlogd/ctl/export_line.h"
#include "eventlogd/ctl/finding_view.h"
#include "eventlogd/ctl/losses.h"
#include "eventlogd/ctl/progress.h"
#include "eventlogd/ctl/second_look.h"
#include "eventlogd/ctl/verb.h"
#include "eventlogd/log/reader.h"
#include "proto/base/bytes.h"
#include "proto/base/clock.h"
#include "proto/base/map.h"

enum { PIECE_BYTES = 1024 * 1024, PAGE_WORKERS = 256 };

struct options {
	const char *after_cursor;
	struct option_list workers;
	bool no_progress;
};

static const struct option_row rows[] = {
	{"worker", 'w', OPTION_LIST, offsetof(struct options, workers), "ID",
		"Only this worker; may be given more than once.", NULL},
	{"after-cursor", 0, OPTION_TEXT, offsetof(struct options, after_cursor), "CURSOR",
		"Only what is behind this cursor; \"newest\" in the last line of an\n"
		"earlier export makes this one its continuation.",
		NULL},
	{"no-progress", 0, OPTION_FLAG, offsetof(struct options, no_progress), NULL,
		"No progress bar, also on a terminal.", NULL},
	{0},
};

/* How many events of a worker have been written. */
struct numbered {
	UT_hash_handle hh;
	struct id id;
	uint64_t last;
};

/* What of the worker table matters here. */
struct inventory {
	uint64_t retained_bytes;
	struct losses losses;
	uint8_t stream[EXPORT_ID_BYTES];
};

struct exporter {
	const struct options *options;
	const char *directory;
	struct log_view *view;
	struct reader *reader;
	struct cursor after; /* sequence 0: from the oldest */
	struct log_ends ends;
	uint32_t log; /* for cursors */
	struct inventory inventory;
	struct numbered *workers;
	uint64_t records, gaps, done_bytes;
	bool is_damaged;
	struct progress progress;
	struct buf out;
};

_printf_(2, 3) static int fail(struct exporter *exporter, const char *format, ...)
{
	va_list args;
	progress_clear(&exporter->progress);
	fputs("eventlogctl export: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return EXIT_FAILED;
}

/*
 * The stream is named after all that the numbers depend on: where each worker's events begin, and
 * the epoch, as after a power loss sequences and numbers are given again.
 */
static void begin_stream(const struct exporter *exporter, crypto_generichash_state *state)
{
	uint8_t fixed[EXPORT_ID_BYTES + 8 + 8 + 8];
	memcpy(fixed, exporter->ends.log_id, EXPORT_ID_BYTES);
	put_le64(fixed + EXPORT_ID_BYTES, exporter->ends.epoch);
	put_le64(fixed + EXPORT_ID_BYTES + 8, exporter->ends.forgotten_through);
	put_le64(fixed + EXPORT_ID_BYTES + 16, exporter->after.sequence);
	crypto_generichash_init(state, NULL, 0, EXPORT_ID_BYTES);
	crypto_generichash_update(state, fixed, sizeof(fixed));
}

static void take_inventory(struct exporter *exporter)
{
	struct inventory *inventory = &exporter->inventory;
	struct log_worker page[PAGE_WORKERS];
	crypto_generichash_state state;
	struct id last = {0};
	size_t count;
	struct cursor cursor;
	log_view_ends(exporter->view, &exporter->ends);
	log_view_cursor(exporter->view, 0, &cursor);
	exporter->log = cursor.log;
	*inventory = (struct inventory){0};
	losses_take(&inventory->losses, exporter->view, &exporter->options->workers);
	begin_stream(exporter, &state);
	do {
		count = log_view_workers(exporter->view, last.text[0] != '\0' ? last.text : NULL,
			strlen(last.text), page, PAGE_WORKERS);
		for (size_t i = 0; i < count; i++) {
			const struct log_worker *worker = &page[i];
			uint8_t pruned[8];
			if (option_list_admits(&exporter->options->workers, worker->id))
				inventory->retained_bytes += worker->retained_bytes;
			if (worker->highest_pruned == 0)
				continue;
			put_le64(pruned, worker->highest_pruned);
			crypto_generichash_update(
				&state, (const uint8_t *)worker->id, strlen(worker->id) + 1);
			crypto_generichash_update(&state, pruned, sizeof(pruned));
		}
		if (count > 0)
			id_set(&last, page[count - 1].id, strlen(page[count - 1].id));
	} while (count == PAGE_WORKERS);
	crypto_generichash_final(&state, inventory->stream, sizeof(inventory->stream));
}

/* Sends what has been formatted to stdout. False: told already, but for a pipe that was closed. */
static bool put(struct exporter *exporter)
{
	bool written = fwrite(exporter->out.data, 1, exporter->out.len, stdout) ==
		       exporter->out.len;
	if (!written && errno != EPIPE)
		fail(exporter, "standard output: %s", strerror(errno));
	buf_reset(&exporter->out, PIECE_BYTES);
	return written;
}

static bool put_gap(struct exporter *exporter, uint64_t first, uint64_t last, const char *reason)
{
	exporter->gaps++;
	if (strcmp(reason, "pruned") != 0)
		exporter->is_damaged = true;
	progress_clear(&exporter->progress);
	fprintf(stderr,
		"eventlogctl export: sequences %" PRIu64 " to %" PRIu64 " are missing: %s\n", first,
		last, reason);
	if (export_line_gap(&exporter->out, first, last, reason) == 0)
		return put(exporter);
	fail(exporter, "out of memory");
	return false;
}

static struct numbered *find_worker(struct exporter *exporter, const struct record *record)
{
	struct numbered *worker = NULL;
	HASH_FIND(hh, exporter->workers, record->worker, record->worker_len, worker);
	if (worker != NULL)
		return worker;
	worker = calloc(1, sizeof(*worker));
	if (worker == NULL || !id_set(&worker->id, record->worker, record->worker_len)) {
		free(worker);
		return NULL;
	}
	HASH_ADD_KEYPTR(hh, exporter->workers, worker->id.text, record->worker_len, worker);
	if (map_has_handle(worker))
		return worker;
	free(worker);
	return NULL;
}

static bool put_record(struct exporter *exporter, const struct record *record)
{
	struct numbered *worker = find_worker(exporter, record);
	if (worker == NULL && id_is_valid(record->worker, record->worker_len)) {
		fail(exporter, "out of memory");
		return false;
	}
	int r = worker == NULL ? EXPORT_NOT_AN_EVENT
			       : export_line_record(
					 &exporter->out, exporter->log, record, worker->last + 1);
	if (r == EXPORT_NOT_AN_EVENT)
		return put_gap(exporter, record->sequence, record->sequence, "damaged");
	if (r < 0) {
		fail(exporter, "out of memory");
		return false;
	}
	worker->last++;
	exporter->records++;
	return exporter->out.len < PIECE_BYTES || put(exporter);
}

static bool put_records(struct exporter *exporter, const struct reader_piece *piece)
{
	const uint8_t *bytes = piece->bytes;
	for (size_t left = piece->len, size; left > 0; bytes += size, left -= size) {
		struct record record;
		if (record_decode(bytes, left, &record, &size) != RECORD_OK) {
			fail(exporter, "a record changed while it was read");
			return false;
		}
		if (!put_record(exporter, &record))
			return false;
	}
	exporter->done_bytes += piece->len;
	progress_update(
		&exporter->progress, exporter->done_bytes, exporter->records, clock_monotonic_ns());
	return true;
}

/* 0, or an exit code told already. */
static int open_reader(
	struct exporter *exporter, const struct reader_start *start, struct reader **out)
{
	static const char *const refusals[] = {
		[READER_CURSOR_UNKNOWN] = "cursor_unknown: this log has no such position",
		[READER_CURSOR_EXPIRED] = "cursor_expired: events after it are not retained",
		[READER_WORKER_NOT_FOUND] = "worker_not_found: no such worker",
	};
	const struct option_list *workers = &exporter->options->workers;
	size_t lens[OPTION_LIST_MAX];
	for (size_t i = 0; i < workers->count; i++)
		lens[i] = strlen(workers->item[i]);
	struct reader_selection selection = {workers->item, lens, workers->count};
	int r = reader_open(
		out, exporter->view, workers->count > 0 ? &selection : NULL, start, false, NULL);
	return r == READER_OPENED ? 0 : fail(exporter, "%s", r < 0 ? strerror(-r) : refusals[r]);
}

/* A segment that was to be read has gone, or been replaced, since the directory was looked at. */
static int look_again(struct exporter *exporter)
{
	uint64_t position = reader_position(exporter->reader);
	const struct losses before = exporter->inventory.losses;
	const struct losses *losses = &exporter->inventory.losses;
	reader_close(exporter->reader);
	exporter->reader = NULL;
	int r = second_look_take(exporter->view, position);
	if (r != SECOND_LOOK_SAME)
		return fail(exporter, "%s: behind sequence %" PRIu64 ": %s", exporter->directory,
			position, second_look_text(r));
	take_inventory(exporter);
	if (losses->sum != before.sum && losses->highest_pruned > position &&
		!put_gap(exporter, position + 1, losses->highest_pruned, "pruned"))
		return EXIT_FAILED;
	const struct reader_start start = {.from = READER_FROM_RETAINED, .sequence = position};
	return open_reader(exporter, &start, &exporter->reader);
}

static int export_all(struct exporter *exporter)
{
	for (;;) {
		struct reader_piece piece;
		bool written = true;
		int r = reader_next(exporter->reader, PIECE_BYTES, &piece), result;
		switch (r) {
		case READER_RECORDS:
			written = put_records(exporter, &piece);
			break;
		case READER_END:
			return EXIT_DONE;
		case READER_GAP:
			written = put_gap(exporter, piece.first, piece.last,
				reader_gap_reason_name(piece.reason));
			break;
		case READER_CORRUPT:
			written = put_gap(exporter, piece.first, piece.last, "damaged");
			break;
		case -ENOENT:
			result = look_again(exporter);
			if (result != 0)
				return result;
			break;
		default:
			return fail(exporter, "%s: behind sequence %" PRIu64 ": %s",
				exporter->directory, reader_position(exporter->reader),
				strerror(-r));
		}
		if (!written)
			return EXIT_FAILED;
	}
}

static int put_header(struct exporter *exporter)
{
	struct export_header header = {.is_continuation = exporter->after.sequence > 0};
	sodium_bin2hex(
		header.log_id, sizeof(header.log_id), exporter->ends.log_id, EXPORT_ID_BYTES);
	sodium_bin2hex(
		header.stream, sizeof(header.stream), exporter->inventory.stream, EXPORT_ID_BYTES);
	if (export_line_header(&exporter->out, &header) < 0)
		return fail(exporter, "out of memory");
	return put(exporter) ? 0 : EXIT_FAILED;
}

static int put_end(struct exporter *exporter)
{
	struct cursor newest;
	log_view_cursor(exporter->view, reader_position(exporter->reader), &newest);
	if (export_line_end(&exporter->out, exporter->records, exporter->gaps, &newest) < 0)
		return fail(exporter, "out of memory");
	if (!put(exporter))
		return EXIT_FAILED;
	if (fflush(stdout) != 0)
		return errno == EPIPE ? EXIT_FAILED
				      : fail(exporter, "standard output: %s", strerror(errno));
	progress_clear(&exporter->progress);
	fprintf(stderr, "eventlogctl export: %" PRIu64 " events, %" PRIu64 " gaps\n",
		exporter->records, exporter->gaps);
	return exporter->is_damaged ? EXIT_DAMAGED : EXIT_DONE;
}

/* Judges the cursor, which a reader of what is retained does not. */
static int check_after_cursor(struct exporter *exporter)
{
	const char *text = exporter->options->after_cursor;
	struct reader_start start = {.from = READER_FROM_CURSOR};
	if (text == NULL)
		return 0;
	if (!cursor_parse(text, strlen(text), &start.cursor))
		return fail(exporter, "cursor_malformed: this is not a cursor");
	int result = open_reader(exporter, &start, &exporter->reader);
	reader_close(exporter->reader);
	exporter->reader = NULL;
	exporter->after = start.cursor;
	return result;
}

static int export_view(struct exporter *exporter)
{
	int result = check_after_cursor(exporter);
	if (result != 0)
		return result;
	take_inventory(exporter);
	progress_init(&exporter->progress, "events", exporter->inventory.retained_bytes,
		!exporter->options->no_progress && isatty(STDOUT_FILENO) != 1,
		clock_monotonic_ns());
	const struct reader_start start = {
		.from = READER_FROM_RETAINED, .sequence = exporter->after.sequence};
	result = open_reader(exporter, &start, &exporter->reader);
	if (result == 0)
		result = put_header(exporter);
	if (result == 0)
		result = export_all(exporter);
	if (result == 0)
		result = put_end(exporter);
	progress_clear(&exporter->progress);
	return result;
}

static void export_free(struct exporter *exporter)
{
	struct numbered *worker, *next;
	map_for_each (exporter->workers, worker, next) {
		HASH_DEL(exporter->workers, worker);
		free(worker);
	}
	reader_close(exporter->reader);
	log_view_close(exporter->view);
	buf_free(&exporter->out);
}

static int run(const struct verb *verb, int argc, char **argv)
{
	struct options options = {0};
	int count;
	if (sodium_init() < 0)
		return EXIT_FAILED;
	int result = verb_parse(verb, &options, argc, argv, 1, &count);
	if (result >= 0)
		return result;
	if (count == 0) {
		fputs("eventlogctl export: DIRECTORY is missing (try --help)\n", stderr);
		return EXIT_USAGE;
	}
	struct exporter exporter = {.options = &options, .directory = argv[0]};
	struct finding_view findings = {.who = "eventlogctl export",
		.least = FINDING_ATTENTION,
		.progress = &exporter.progress};
	const struct finding_sink sink = {finding_view_report, &findings};
	int r = log_view_open(&exporter.view, argv[0], NULL, &sink);
	if (r < 0)
		return fail(
			&exporter, "%s: %s", argv[0], r == -ENOENT ? "no log there" : strerror(-r));
	result = export_view(&exporter);
	export_free(&exporter);
	return result;
}

const struct verb verb_export = {
	.name = "export",
	.arguments = "DIRECTORY",
	.summary = "Write everything that a log retains as JSON lines.",
	.description =
		"Works without eventlogd, and beside one. Goes to standard output, for `import`\n"
		"into another log. Exits with 3 when some of it is damaged and could not be\n"
		"written.",
	.options = rows,
	.run = run,
};
