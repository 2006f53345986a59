/* eventlogctl forget: gives back what the keyframe reserve holds of a finished worker. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "eventlogd/ctl/map_view.h"
#include "eventlogd/ctl/query.h"
#include "eventlogd/ctl/verb.h"
#include "proto/ids.h"

struct options {
	const char *socket;
	bool json;
};

static const struct option_row rows[] = {
	{"socket", 's', OPTION_TEXT, offsetof(struct options, socket), "PATH",
		"eventlogd's tail socket (default: $" ENVIRONMENT_TAIL_SOCKET
		",\nelse " DEFAULT_TAIL_SOCKET ").",
		NULL},
	{"json", 'j', OPTION_FLAG, offsetof(struct options, json), NULL,
		"One JSON object on one line.", NULL},
	{0},
};

struct asked {
	const struct options *options;
	const char *worker;
	bool is_done;
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
	if (asked->options->json) {
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

static int run(const struct verb *verb, int argc, char **argv)
{
	struct options options = {0};
	int count;
	int result = verb_parse(verb, &options, argc, argv, 1, &count);
	if (result >= 0)
		return result;
	if (count == 0 || !id_is_valid(argv[0], strlen(argv[0]))) {
		fputs("eventlogctl forget: WORKER is missing or no worker id (try --help)\n",
			stderr);
		return EXIT_USAGE;
	}
	struct asked asked = {.options = &options, .worker = argv[0]};
	const struct query query = {.who = "eventlogctl forget",
		.socket = verb_socket(options.socket, ENVIRONMENT_TAIL_SOCKET, DEFAULT_TAIL_SOCKET),
		.owner = &asked,
		.write_request = write_request,
		.on_reply = on_reply,
		.reply_type = MESSAGE_FORGET_REPLY};
	result = query_run(&query);
	return fflush(stdout) == 0 ? result : EXIT_FAILED;
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
