/* eventlogctl cat: events straight from a log directory, without eventlogd. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventlogd/ctl/event_view.h"
#include "eventlogd/ctl/finding_view.h"
#include "eventlogd/ctl/losses.h"
#include "eventlogd/ctl/second_look.h"
#include "eventlogd/ctl/verb.h"
#include "eventlogd/log/reader.h"
#include "proto/cursor.h"

enum { PIECE_BYTES = 1024 * 1024 };

struct options {
	const char *after_cursor, *from;
	struct option_list workers, kinds;
	bool json;
};

static const char *const from_choices[] = {"keyframe", "oldest", NULL};

static const struct option_row rows[] = {
	{"worker", 'w', OPTION_LIST, offsetof(struct options, workers), "ID",
		"Only this worker; may be given more than once.", NULL},
	{"kind", 'k', OPTION_LIST, offsetof(struct options, kinds), "GLOB",
		"Only kinds that match; may be given more than once.", NULL},
	{"from", 0, OPTION_CHOICE, offsetof(struct options, from), "WHERE",
		"Start at keyframe (of one worker) or oldest (default).", from_choices},
	{"after-cursor", 0, OPTION_TEXT, offsetof(struct options, after_cursor), "CURSOR",
		"Start behind this cursor.", NULL},
	{"json", 'j', OPTION_FLAG, offsetof(struct options, json), NULL, "One JSON object a line.",
		NULL},
	{0},
};

struct catting {
	const struct options *options;
	const char *directory;
	struct log_view *view;
	struct reader *reader;
	struct event_view shown;
	struct losses losses;
};

/* False: told already. */
static bool show_records(struct event_view *view, const struct reader_piece *piece)
{
	const uint8_t *bytes = piece->bytes;
	size_t len = piece->len;
	while (len > 0 && !view->is_broken) {
		struct record record;
		size_t size;
		if (record_decode(bytes, len, &record, &size) != RECORD_OK) {
			fputs("eventlogctl cat: a record changed while it was read\n", stderr);
			return false;
		}
		bytes += size;
		len -= size;
		if (!event_view_selects(view, &record))
			continue;
		buf_reset(&view->line, PIECE_BYTES);
		if (event_view_format(view, &record, &view->line) < 0) {
			fputs("eventlogctl cat: out of memory\n", stderr);
			return false;
		}
		event_view_write(view, view->line.data, view->line.len);
	}
	return true;
}

static bool show_gap(struct event_view *view, uint64_t first, uint64_t last, const char *reason)
{
	buf_reset(&view->line, PIECE_BYTES);
	if (event_view_format_gap(view, first, last, reason, &view->line) < 0) {
		fputs("eventlogctl cat: out of memory\n", stderr);
		return false;
	}
	event_view_write(view, view->line.data, view->line.len);
	return true;
}

/* 0, or an exit code told already. */
static int open_reader(struct catting *cat, const struct reader_start *start)
{
	static const char *const refusals[] = {
		[READER_CURSOR_UNKNOWN] = "cursor_unknown: this log has no such position",
		[READER_CURSOR_EXPIRED] = "cursor_expired: events after it are not retained",
		[READER_WORKER_NOT_FOUND] = "worker_not_found: no such worker",
	};
	const struct option_list *workers = &cat->options->workers;
	size_t lens[OPTION_LIST_MAX];
	for (size_t i = 0; i < workers->count; i++)
		lens[i] = strlen(workers->item[i]);
	struct reader_selection selection = {workers->item, lens, workers->count};
	int r = reader_open(&cat->reader, cat->view, workers->count > 0 ? &selection : NULL, start,
		false, NULL);
	if (r == READER_OPENED)
		return 0;
	fprintf(stderr, "eventlogctl cat: %s\n", r < 0 ? strerror(-r) : refusals[r]);
	return EXIT_FAILED;
}

/* A segment that was to be read has gone, or been replaced, since the directory was looked at. */
static int look_again(struct catting *cat)
{
	struct losses before = cat->losses;
	const struct reader_start start = {
		.from = READER_FROM_RETAINED, .sequence = reader_position(cat->reader)};
	reader_close(cat->reader);
	cat->reader = NULL;
	int r = second_look_take(cat->view, start.sequence);
	if (r != SECOND_LOOK_SAME) {
		fprintf(stderr, "eventlogctl cat: %s: behind sequence %" PRIu64 ": %s\n",
			cat->directory, start.sequence, second_look_text(r));
		return EXIT_FAILED;
	}
	losses_take(&cat->losses, cat->view, &cat->options->workers);
	if (cat->losses.sum != before.sum && cat->losses.highest_pruned > start.sequence &&
		!show_gap(&cat->shown, start.sequence + 1, cat->losses.highest_pruned, "pruned"))
		return EXIT_FAILED;
	return open_reader(cat, &start);
}

static int show_all(struct catting *cat)
{
	while (!cat->shown.is_broken) {
		struct reader_piece piece;
		bool shown = true;
		int r = reader_next(cat->reader, PIECE_BYTES, &piece), result;
		switch (r) {
		case READER_RECORDS:
			shown = show_records(&cat->shown, &piece);
			break;
		case READER_END:
			return EXIT_DONE;
		case READER_GAP:
			shown = show_gap(&cat->shown, piece.first, piece.last,
				reader_gap_reason_name(piece.reason));
			break;
		case READER_CORRUPT:
			shown = show_gap(&cat->shown, piece.first, piece.last, "damaged");
			break;
		case -ENOENT:
			result = look_again(cat);
			if (result != 0)
				return result;
			break;
		default:
			fprintf(stderr, "eventlogctl cat: %s\n", strerror(-r));
			return EXIT_FAILED;
		}
		if (!shown)
			return EXIT_FAILED;
	}
	return EXIT_FAILED;
}

/* 0, or an exit code told already. */
static int choose_start(const struct options *options, struct reader_start *start)
{
	*start = (struct reader_start){.from = READER_FROM_RETAINED};
	if (options->after_cursor != NULL) {
		start->from = READER_FROM_CURSOR;
		if (options->from != NULL) {
			fputs("eventlogctl cat: --from and --after-cursor exclude each other\n",
				stderr);
			return EXIT_USAGE;
		}
		if (!cursor_parse(
			    options->after_cursor, strlen(options->after_cursor), &start->cursor)) {
			fputs("eventlogctl cat: cursor_malformed: this is not a cursor\n", stderr);
			return EXIT_FAILED;
		}
	}
	if (options->from != NULL && strcmp(options->from, "keyframe") == 0) {
		start->from = READER_FROM_KEYFRAME;
		if (options->workers.count != 1) {
			fputs("eventlogctl cat: --from keyframe needs exactly one --worker\n",
				stderr);
			return EXIT_USAGE;
		}
	}
	return 0;
}

static int cat_view(struct catting *cat, const struct reader_start *start)
{
	int result = open_reader(cat, start);
	if (result != 0)
		return result;
	struct cursor cursor;
	log_view_cursor(cat->view, 0, &cursor);
	losses_take(&cat->losses, cat->view, &cat->options->workers);
	event_view_init(&cat->shown, cat->options->json, &cat->options->kinds);
	cat->shown.log = cursor.log;
	result = show_all(cat);
	event_view_flush(&cat->shown);
	if (cat->shown.is_broken)
		result = EXIT_FAILED;
	event_view_free(&cat->shown);
	reader_close(cat->reader);
	return result;
}

static int run(const struct verb *verb, int argc, char **argv)
{
	struct options options = {0};
	int count;
	int result = verb_parse(verb, &options, argc, argv, 1, &count);
	if (result >= 0)
		return result;
	if (count == 0) {
		fputs("eventlogctl cat: DIRECTORY is missing (try --help)\n", stderr);
		return EXIT_USAGE;
	}
	struct reader_start start;
	result = choose_start(&options, &start);
	if (result != 0)
		return result;
	struct finding_view findings = {.who = "eventlogctl cat", .least = FINDING_ATTENTION};
	const struct finding_sink sink = {finding_view_report, &findings};
	struct catting cat = {.options = &options, .directory = argv[0]};
	int r = log_view_open(&cat.view, argv[0], NULL, &sink);
	if (r < 0) {
		fprintf(stderr, "eventlogctl cat: %s: %s\n", argv[0],
			r == -ENOENT ? "no log there" : strerror(-r));
		return EXIT_FAILED;
	}
	result = cat_view(&cat, &start);
	log_view_close(cat.view);
	return result;
}

const struct verb verb_cat = {
	.name = "cat",
	.arguments = "DIRECTORY",
	.summary = "Show events straight from a log directory.",
	.description =
		"Works without eventlogd, and beside one: what was whole at the start is shown.",
	.options = rows,
	.run = run,
};
