/* eventlogctl verify: every record, footer and index of a log directory. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "eventlogd/ctl/finding_view.h"
#include "eventlogd/ctl/progress.h"
#include "eventlogd/ctl/verb.h"
#include "eventlogd/log/verify.h"
#include "proto/base/clock.h"

struct options {
	bool json, no_progress;
};

static const struct option_row rows[] = {
	{"json", 'j', OPTION_FLAG, offsetof(struct options, json), NULL,
		"Findings and the result as one JSON object a line.", NULL},
	{"no-progress", 0, OPTION_FLAG, offsetof(struct options, no_progress), NULL,
		"No progress bar, also on a terminal.", NULL},
	{0},
};

static bool on_progress(void *owner, uint64_t done_bytes, uint64_t total_bytes)
{
	struct progress *progress = owner;
	progress->total_bytes = total_bytes;
	progress_update(progress, done_bytes, done_bytes >> 20, clock_monotonic_ns());
	return true;
}

/* What else opening finds is found again by verifying, with more to say. */
static void report_left_alone(void *owner, const struct finding *finding)
{
	if (finding->kind == FINDING_FOREIGN_FILE || finding->kind == FINDING_OTHER_LOG ||
		finding->kind == FINDING_NEWER_FORMAT)
		finding_view_report(owner, finding);
}

/* 0 or -errno; a file that is to blame has been named. */
static int open_view(struct log_view **out, const char *directory, struct finding_view *findings)
{
	const struct finding_sink left_alone = {report_left_alone, findings};
	int r = log_view_open(out, directory, NULL, &left_alone);
	if (r == 0 || r == -ENOENT)
		return r;
	const struct finding_sink all = {finding_view_report, findings};
	return log_view_open(out, directory, NULL, &all);
}

static void print_result(const struct verify_result *result, bool json)
{
	if (json)
		printf("{\"segments\":%" PRIu64 ",\"records\":%" PRIu64 ",\"bytes\":%" PRIu64
		       ",\"oldest_seq\":%" PRIu64 ",\"newest_seq\":%" PRIu64 ",\"damaged\":%" PRIu64
		       "}\n",
			result->segments, result->records, result->bytes, result->oldest_seq,
			result->newest_seq, result->damage_count);
	else
		printf("%" PRIu64 " segments, %" PRIu64 " records, %" PRIu64
		       " bytes, sequences %" PRIu64 " to %" PRIu64 ", %" PRIu64 " damaged\n",
			result->segments, result->records, result->bytes, result->oldest_seq,
			result->newest_seq, result->damage_count);
}

static int run(const struct verb *verb, int argc, char **argv)
{
	struct options options = {0};
	int count;
	int exit_code = verb_parse(verb, &options, argc, argv, 1, &count);
	if (exit_code >= 0)
		return exit_code;
	if (count == 0) {
		fputs("eventlogctl verify: DIRECTORY is missing (try --help)\n", stderr);
		return EXIT_USAGE;
	}
	struct progress progress;
	progress_init(&progress, "MiB", 1, !options.no_progress, clock_monotonic_ns());
	struct finding_view findings = {.who = "eventlogctl verify",
		.least = FINDING_ATTENTION,
		.json = options.json,
		.progress = &progress};
	struct log_view *view;
	int r = open_view(&view, argv[0], &findings);
	if (r < 0) {
		fprintf(stderr, "eventlogctl verify: %s: %s\n", argv[0],
			r == -ENOENT ? "no log there" : strerror(-r));
		return EXIT_FAILED;
	}
	const struct finding_sink sink = {finding_view_report, &findings};
	struct verify_result result;
	r = log_verify(view, &sink, on_progress, &progress, &result);
	progress_clear(&progress);
	log_view_close(view);
	if (r < 0) {
		fprintf(stderr, "eventlogctl verify: %s: %s\n", argv[0], strerror(-r));
		return EXIT_FAILED;
	}
	print_result(&result, options.json);
	return result.damage_count > 0 ? EXIT_DAMAGED : EXIT_DONE;
}

const struct verb verb_verify = {
	.name = "verify",
	.arguments = "DIRECTORY",
	.summary = "Check every record, footer and index of a log directory.",
	.description = "Names each damage with its segment, offset and sequences. Exits with 3 "
		       "when there\n"
		       "is any.",
	.options = rows,
	.run = run,
};
