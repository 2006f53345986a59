/* eventlogctl status: ends, sizes, durability and counters of a running eventlogd. */
#include <stdio.h>

#include "eventlogd/ctl/map_view.h"
#include "eventlogd/ctl/query.h"

struct asked {
	struct query_options options;
	bool is_done;
};

static const struct option_row rows[] = {
	QUERY_OPTION_ROWS(struct asked, options, "One JSON object on one line."),
	{0},
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

static bool on_reply(void *owner, enum message_type type, const msgpack_object *map)
{
	struct asked *asked = owner;
	_cleanup_buf_ struct buf text = {0};
	int r = asked->options.json ? map_view_json(&text, map) : map_view_lines(&text, map);
	if (r == 0 && asked->options.json)
		r = buf_append_str(&text, "\n");
	if (r < 0 || type != MESSAGE_STATUS_REPLY)
		return false;
	fwrite(text.data, 1, text.len, stdout);
	asked->is_done = true;
	return true;
}

static const struct query query = {write_request, on_reply};

static int run(const struct verb *verb, int argc, char **argv)
{
	struct asked asked = {0};
	int count;
	int result = verb_parse(verb, &asked, argc, argv, 0, &count);
	return result >= 0 ? result : query_run(verb, &asked.options, &query, &asked);
}

const struct verb verb_status = {
	.name = "status",
	.arguments = "",
	.summary = "Show the state of a running eventlogd.",
	.description = "Ends and size of the log, durability, connections, and what was counted.",
	.options = rows,
	.run = run,
};
