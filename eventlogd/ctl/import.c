/* eventlogctl import: what `export` wrote of another log becomes events of this one. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "eventlogd/ctl/export_line.h"
#include "eventlogd/ctl/input.h"
#include "eventlogd/ctl/publish_marker.h"
#include "eventlogd/ctl/publish_stream.h"
#include "eventlogd/ctl/verb.h"
#include "proto/base/fd.h"

enum { HEAD_BYTES_MAX = 4096 };

static const char who[] = "eventlogctl import";

struct options {
	const char *socket;
	struct option_list workers;
	bool time_as_source, again, skip_invalid, no_progress;
};

static const struct option_row rows[] = {
	{"socket", 's', OPTION_TEXT, offsetof(struct options, socket), "PATH",
		"eventlogd's publish socket (default: $" ENVIRONMENT_PUBLISH_SOCKET
		",\nelse " DEFAULT_PUBLISH_SOCKET ").",
		NULL},
	{"worker", 'w', OPTION_LIST, offsetof(struct options, workers), "ID",
		"Only this worker; may be given more than once.", NULL},
	{"time-as-source", 't', OPTION_FLAG, offsetof(struct options, time_as_source), NULL,
		"Events without a source time get the one at which the first log\n"
		"stored them.",
		NULL},
	{"again", 0, OPTION_FLAG, offsetof(struct options, again), NULL,
		"Import also where another export of the same log has been imported:\n"
		"what both have comes twice.",
		NULL},
	{"skip-invalid", 'k', OPTION_FLAG, offsetof(struct options, skip_invalid), NULL,
		"Name lines that are refused and go on behind them.", NULL},
	{"no-progress", 0, OPTION_FLAG, offsetof(struct options, no_progress), NULL,
		"No progress bar, also on a terminal.", NULL},
	{0},
};

struct importing {
	const struct options *options;
	struct export_header header;
	struct export_line_reader reader;
	struct export_line line;
	uint64_t events, gaps;
	bool has_end;
	uint64_t events_at_end; /* that should have come */
};

static int refuse(struct publish_line *out, const char *code, const char *reason)
{
	out->code = code;
	snprintf(out->reason, sizeof(out->reason), "%s", reason);
	return PUBLISH_LINE_REFUSED;
}

static int read_event(
	struct importing *importing, uint64_t max_event_bytes, struct publish_line *out)
{
	const struct export_line *line = &importing->line;
	struct json_event_info info;
	importing->events++;
	if (!option_list_admits(&importing->options->workers, line->worker.text))
		return PUBLISH_LINE_NOTHING;
	*out = (struct publish_line){.worker_id = line->worker.text,
		.number = line->number,
		.payload = line->payload,
		.payload_len = line->payload_len,
		.has_source_time = line->has_source_time,
		.source_time_ns = line->source_time_ns};
	if (!line->has_source_time && importing->options->time_as_source) {
		out->has_source_time = true;
		out->source_time_ns = (int64_t)line->ts_ns;
	}
	if (line->payload_len > max_event_bytes)
		return refuse(out, "event_too_large", "more than eventlogd takes");
	int r = json_check_event(line->payload, line->payload_len, &info);
	if (r == JSON_OK)
		return PUBLISH_LINE_EVENT;
	return refuse(
		out, r == JSON_NOT_OBJECT ? "not_an_object" : "invalid_json", info.error.reason);
}

static int read_line(
	void *owner, const struct line *line, uint64_t max_event_bytes, struct publish_line *out)
{
	struct importing *importing = owner;
	*out = (struct publish_line){0};
	if (line->too_long)
		return refuse(out, "invalid_line", "longer than any line of an export");
	int r = export_line_read(&importing->reader, line->bytes, line->len, &importing->line);
	if (r < 0)
		return r;
	switch (importing->line.type) {
	case EXPORT_LINE_EVENT:
		return read_event(importing, max_event_bytes, out);
	case EXPORT_LINE_HEADER:
		/* Two exports in one file would count in one another's numbers. */
		if (strcmp(importing->line.header.stream, importing->header.stream) != 0)
			return refuse(out, "invalid_line", "another export begins here");
		return PUBLISH_LINE_NOTHING;
	case EXPORT_LINE_GAP:
		importing->gaps++;
		return PUBLISH_LINE_NOTHING;
	case EXPORT_LINE_END:
		importing->has_end = true;
		importing->events_at_end = importing->line.records;
		return PUBLISH_LINE_NOTHING;
	case EXPORT_LINE_INVALID:
		break;
	}
	return refuse(out, "invalid_line", importing->line.reason);
}

/* Byte by byte, so that a pipe keeps the rest. 0, or an exit code told already. */
static int read_head(struct importing *importing, int fd, const char *name)
{
	uint8_t head[HEAD_BYTES_MAX];
	size_t len = 0;
	ssize_t n = 1;
	while (len < sizeof(head) && (n = read(fd, &head[len], 1)) == 1 && head[len] != '\n')
		len++;
	int r = n < 0 ? -errno : export_line_read(&importing->reader, head, len, &importing->line);
	if (r < 0) {
		fprintf(stderr, "eventlogctl import: %s: %s\n", name, strerror(-r));
		return EXIT_FAILED;
	}
	if (importing->line.type != EXPORT_LINE_HEADER) {
		fprintf(stderr,
			"eventlogctl import: %s:1: this is not the first line of an export%s%s\n",
			name, importing->line.type == EXPORT_LINE_INVALID ? ": " : "",
			importing->line.reason);
		return EXIT_FAILED;
	}
	importing->header = importing->line.header;
	return 0;
}

static int open_source(struct importing *importing, const char *path, struct publish_source *source)
{
	bool is_stdin = strcmp(path, "-") == 0;
	struct stat st;
	*source = (struct publish_source){
		.type = PUBLISH_PIPE,
		.name = is_stdin ? "standard input" : path,
		.read_line = read_line,
		.line_owner = importing,
		.line_bytes_max = EXPORT_LINE_BYTES_MAX,
	};
	int r = source->fd = input_open_path(path);
	if (r >= 0)
		r = fstat(source->fd, &st) < 0 ? -errno : 0;
	if (r == 0 && S_ISDIR(st.st_mode))
		r = -EISDIR;
	if (r < 0) {
		fprintf(stderr, "eventlogctl import: %s: %s\n", source->name, strerror(-r));
		return EXIT_FAILED;
	}
	int result = read_head(importing, source->fd, source->name);
	if (result != 0)
		return result;
	source->lines_before = 1;
	if (S_ISREG(st.st_mode)) {
		source->type = PUBLISH_FILE;
		source->total_bytes = (uint64_t)st.st_size;
	}
	snprintf(source->producer_id, sizeof(source->producer_id), "import-%s",
		importing->header.stream);
	return 0;
}

/* Behind the first line again: after the log has lost what was acknowledged. */
static bool rewind_source(
	struct importing *importing, const struct publish_source *source, off_t behind_head)
{
	importing->events = importing->gaps = 0;
	importing->has_end = false;
	return source->type == PUBLISH_PIPE || lseek(source->fd, behind_head, SEEK_SET) >= 0;
}

/*
 * Another export of the same log counts otherwise, so that nobody could tell what both have. Two
 * markers of this user's say what has been imported: any export of that log, and this one. 0, or an
 * exit code told already.
 */
static int check_imported(
	const struct importing *importing, const struct publish_source *source, const char *socket)
{
	char worker_id[ID_BYTES_MAX + 1], log_producer[NAME_BYTES_MAX + 1];
	snprintf(worker_id, sizeof(worker_id), "import:%s:%u", importing->header.log_id,
		(unsigned int)geteuid());
	snprintf(log_producer, sizeof(log_producer), "import-of-%s", importing->header.log_id);
	const struct publish_marker any = {
		who, socket, log_producer, worker_id, importing->header.log_id};
	const struct publish_marker this = {
		who, socket, source->producer_id, worker_id, importing->header.log_id};
	bool has_any, has_this;
	int result = publish_marker_get(&this, &has_this);
	if (result == 0)
		result = publish_marker_get(&any, &has_any);
	if (result != 0)
		return result;
	if (has_any && !has_this && !importing->header.is_continuation &&
		!importing->options->again) {
		fprintf(stderr,
			"eventlogctl import: %s: another export of the same log has been imported; "
			"export what is behind it (--after-cursor), or import --again\n",
			source->name);
		return EXIT_FAILED;
	}
	/* In this order: stopped in between, this import may go on. */
	result = has_this ? 0 : publish_marker_set(&this);
	return result == 0 && !has_any ? publish_marker_set(&any) : result;
}

static int run_source(struct importing *importing, const struct publish_source *source)
{
	const struct options *options = importing->options;
	const char *socket = verb_socket(
		options->socket, ENVIRONMENT_PUBLISH_SOCKET, DEFAULT_PUBLISH_SOCKET);
	const struct publish_options stream_options = {
		who, socket, options->skip_invalid, options->no_progress};
	int checked = check_imported(importing, source, socket);
	if (checked != 0)
		return checked;
	struct publish_totals totals = {0};
	enum publish_result result;
	off_t behind_head = lseek(source->fd, 0, SEEK_CUR);
	do {
		if (!rewind_source(importing, source, behind_head)) {
			fprintf(stderr, "eventlogctl import: %s: %s\n", source->name,
				strerror(errno));
			return EXIT_FAILED;
		}
		result = publish_stream_run(&stream_options, source, &totals);
	} while (result == PUBLISH_RESTART);
	fprintf(stderr,
		"eventlogctl import: %" PRIu64 " events imported, %" PRIu64
		" already there, %" PRIu64 " refused; the export has %" PRIu64 " gaps\n",
		totals.published, totals.already_there, totals.refused, importing->gaps);
	return result == PUBLISH_DONE ? EXIT_DONE : EXIT_FAILED;
}

/* Whether what was read was all of it. */
static int judge_end(const struct importing *importing, const char *name)
{
	if (!importing->has_end)
		fprintf(stderr,
			"eventlogctl import: %s: ends without its last line: the export was cut "
			"short\n",
			name);
	else if (importing->events != importing->events_at_end)
		fprintf(stderr,
			"eventlogctl import: %s: %" PRIu64 " events where its last line says "
			"%" PRIu64 "\n",
			name, importing->events, importing->events_at_end);
	else
		return EXIT_DONE;
	return importing->options->skip_invalid ? EXIT_DONE : EXIT_FAILED;
}

static int run(const struct verb *verb, int argc, char **argv)
{
	struct options options = {0};
	int count;
	int result = verb_parse(verb, &options, argc, argv, 1, &count);
	if (result >= 0)
		return result;
	struct importing importing = {.options = &options};
	struct publish_source source;
	result = open_source(&importing, count > 0 ? argv[0] : "-", &source);
	if (result == 0)
		result = run_source(&importing, &source);
	if (result == 0)
		result = judge_end(&importing, source.name);
	fd_close(source.fd);
	export_line_reader_free(&importing.reader);
	return result;
}

const struct verb verb_import = {
	.name = "import",
	.arguments = "[FILE]",
	.summary = "Publish what export wrote of another log.",
	.description =
		"Reads a file, or standard input (no FILE, or -). Goes on where it stopped: what\n"
		"the log has of this export is not published again. Waits while the log has no\n"
		"room and while eventlogd is restarted.",
	.options = rows,
	.run = run,
};
