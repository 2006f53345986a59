/* eventlogctl forget: gives back what the keyframe reserve holds of a finished worker. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "eventlogd/ctl/map_view.h"
#include "eventlogd/ctl/query.h"
#include "proto/ids.h"

struct asked {
	struct query_options options;
	const char *worker;
	bool is_done;
};

static const struct option_row rows[] = {
	QUERY_OPTION_ROWS(struct asked, options, "One JSON object on one line."),
	{0},
};

static int write_request(void *owner, struct buf *out)
{
	const struct asked *asked = owner;
	if (asked->is_done)
		return QUERY_DONE;
	struct message_writer w;
	message_begin(&w, out, MESSAGE_FORGET);
	write_u64(&w, 1);
	write_text(&w, asked->worker);
	return message_end(&w);
}

static bool on_reply(void *owner, const msgpack_object *map)
{
	struct asked *asked = owner;
	asked->is_done = true;
	if (asked->options.json) {
		_cleanup_buf_ struct buf text = {0};
		if (map_view_json(&text, map) != 0 || buf_append_str(&text, "\n") != 0)
			return false;
		fwrite(text.data, 1, text.len, stdout);
		return true;
	}
	const msgpack_object *records = field_map_get(map, "reserve_records"),
			     *bytes = field_map_get(map, "reserve_bytes");
	uint64_t record_count, byte_count;
	if (records == NULL || bytes == NULL || !field_u64(records, &record_count) ||
		!field_u64(bytes, &byte_count))
		return false;
	printf("%s gives back %" PRIu64 " records, %" PRIu64 " bytes\n", asked->worker,
		record_count, byte_count);
	return true;
}

static const struct query query = {write_request, on_reply, MESSAGE_FORGET_REPLY};

static int run(const struct verb *verb, int argc, char **argv)
{
	struct asked asked = {0};
	int count;
	int result = verb_parse(verb, &asked, argc, argv, 1, &count);
	if (result >= 0)
		return result;
	if (count == 0 || !id_is_valid(argv[0], strlen(argv[0]))) {
		fputs("eventlogctl forget: WORKER is missing or no worker id (try --help)\n",
			stderr);
		return EXIT_USAGE;
	}
	asked.worker = argv[0];
	return query_run(verb, &asked.options, &query, &asked);
}

const struct verb verb_forget = {
	.name = "forget",
	.arguments = "WORKER",
	.summary = "Give back what is kept of a finished worker.",
	.description =
		"What the keyframe reserve holds of it goes, and its newest keyframe is not\n"
		"kept when its segment goes. Other segments with its events stay as long as\n"
		"retention says. A worker that publishes again is kept again. Needs root or\n"
		"eventlogd's own user.",
	.options = rows,
	.run = run,
};
