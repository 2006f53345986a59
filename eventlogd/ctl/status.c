/* eventlogctl status: ends, sizes, durability and counters of a running eventlogd. */
#include <stdio.h>

#include "eventlogd/ctl/map_view.h"
#include "eventlogd/ctl/query.h"
#include "eventlogd/ctl/verb.h"

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
	bool is_done;
};

static int write_request(void *owner, struct buf *out)
{
	struct asked *asked = owner;
	if (asked->is_done)
		return QUERY_DONE;
	struct message_writer w;
	message_begin(&w, out, MESSAGE_STATUS);
	write_u64(&w, 1);
	return message_end(&w);
}

static bool on_reply(void *owner, const msgpack_object *map)
{
	struct asked *asked = owner;
	_cleanup_buf_ struct buf text = {0};
	int r = asked->options->json ? map_view_json(&text, map) : map_view_lines(&text, map);
	if (r == 0 && asked->options->json)
		r = buf_append_str(&text, "\n");
	if (r < 0)
		return false;
	fwrite(text.data, 1, text.len, stdout);
	asked->is_done = true;
	return true;
}

static int run(const struct verb *verb, int argc, char **argv)
{
	struct options options = {0};
	int count;
	int result = verb_parse(verb, &options, argc, argv, 0, &count);
	if (result >= 0)
		return result;
	struct asked asked = {.options = &options};
	const struct query query = {.who = "eventlogctl status",
		.socket = verb_socket(options.socket, ENVIRONMENT_TAIL_SOCKET, DEFAULT_TAIL_SOCKET),
		.owner = &asked,
		.write_request = write_request,
		.on_reply = on_reply,
		.reply_type = MESSAGE_STATUS_REPLY};
	result = query_run(&query);
	return fflush(stdout) == 0 ? result : EXIT_FAILED;
}

const struct verb verb_status = {
	.name = "status",
	.arguments = "",
	.summary = "Show the state of a running eventlogd.",
	.description = "Ends and size of the log, durability, connections, and what was counted.",
	.options = rows,
	.run = run,
};
