/* eventlogctl prune --dry-run: what retention would take away of a log directory now. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "eventlogd/ctl/verb.h"
#include "eventlogd/log/prune_preview.h"
#include "proto/base/clock.h"
#include "proto/base/yaml_config.h"

struct options {
	bool is_dry, json;
	const char *bytes, *age;
};

static const struct option_row rows[] = {
	{"dry-run", 'n', OPTION_FLAG, offsetof(struct options, is_dry), NULL,
		"Only show; has to be given: eventlogd alone prunes.", NULL},
	{"bytes", 0, OPTION_TEXT, offsetof(struct options, bytes), "SIZE",
		"As retention.bytes of eventlogd.yaml, for example 16GiB.", NULL},
	{"age", 0, OPTION_TEXT, offsetof(struct options, age), "DURATION",
		"As retention.age, for example 30d.", NULL},
	{"json", 'j', OPTION_FLAG, offsetof(struct options, json), NULL,
		"One JSON object a line, one line a segment.", NULL},
	{0},
};

struct listing {
	bool json;
	uint64_t segments, records, bytes;
};

static void on_segment(void *owner, const struct prune_preview *preview)
{
	struct listing *listing = owner;
	static const char text[] = "%s: sequences %" PRIu64 " to %" PRIu64 ", %" PRIu64
				   " records, %" PRIu64 " bytes; of %" PRIu64
				   " workers up to %" PRIu64 " bytes stay\n";
	static const char json[] = "{\"file\":\"%s\",\"first_seq\":%" PRIu64
				   ",\"last_seq\":%" PRIu64 ",\"records\":%" PRIu64
				   ",\"bytes\":%" PRIu64 ",\"kept_workers\":%" PRIu64
				   ",\"kept_bytes\":%" PRIu64 "}\n";
	printf(listing->json ? json : text, preview->file, preview->first_seq, preview->last_seq,
		preview->count, preview->allocated_bytes, preview->kept_workers,
		preview->kept_bytes);
	listing->segments++;
	listing->records += preview->count;
	listing->bytes += preview->allocated_bytes;
}

/* False: told already. */
static bool read_limits(const struct options *options, struct retention_limits *limits)
{
	uint64_t age_ms = 0;
	*limits = (struct retention_limits){0};
	if (!options->is_dry) {
		fputs("eventlogctl prune: eventlogd prunes by itself; only --dry-run is done "
		      "here\n",
			stderr);
		return false;
	}
	if (options->bytes == NULL && options->age == NULL) {
		fputs("eventlogctl prune: --bytes or --age is missing (try --help)\n", stderr);
		return false;
	}
	if ((options->bytes != NULL && config_parse_bytes(options->bytes, &limits->bytes) != 0) ||
		(options->age != NULL && config_parse_duration_ms(options->age, &age_ms) != 0) ||
		age_ms > UINT64_MAX / NS_PER_MS) {
		fputs("eventlogctl prune: --bytes wants a size as 16GiB, --age a time as 30d\n",
			stderr);
		return false;
	}
	limits->age_ns = age_ms * NS_PER_MS;
	return true;
}

static int run(const struct verb *verb, int argc, char **argv)
{
	struct options options = {0};
	struct retention_limits limits;
	int count;
	int result = verb_parse(verb, &options, argc, argv, 1, &count);
	if (result >= 0)
		return result;
	if (!read_limits(&options, &limits))
		return EXIT_USAGE;
	if (count == 0) {
		fputs("eventlogctl prune: DIRECTORY is missing (try --help)\n", stderr);
		return EXIT_USAGE;
	}
	struct listing listing = {.json = options.json};
	struct log_view *view = NULL;
	int r = log_view_open(&view, argv[0], NULL, NULL);
	if (r == 0)
		r = log_prune_preview(view, &limits, clock_wall_ns(), on_segment, &listing);
	log_view_close(view);
	if (r < 0) {
		fprintf(stderr, "eventlogctl prune: %s: %s\n", argv[0],
			r == -ENOENT ? "no log there" : strerror(-r));
		return EXIT_FAILED;
	}
	if (!options.json)
		printf("%" PRIu64 " segments, %" PRIu64 " records, %" PRIu64 " bytes would go\n",
			listing.segments, listing.records, listing.bytes);
	return EXIT_DONE;
}

const struct verb verb_prune = {
	.name = "prune",
	.arguments = "DIRECTORY",
	.summary = "Show what retention would take away now (--dry-run).",
	.description = "Nothing is changed. Works without eventlogd, and beside one.",
	.options = rows,
	.run = run,
};
