/* eventlogctl workers: who publishes, page by page. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "eventlogd/ctl/gist.h"
#include "eventlogd/ctl/map_view.h"
#include "eventlogd/ctl/query.h"
#include "proto/ids.h"

enum { PAGE_ROWS = 500, WORKER_COLUMNS = 40 };

struct listing {
	struct query_options options;
	bool has_header, is_done;
	struct id last; /* of the page before */
};

static const struct option_row rows[] = {
	QUERY_OPTION_ROWS(struct listing, options, "One JSON object a line, one line a worker."),
	{0},
};

static int write_request(void *owner, struct buf *out)
{
	struct listing *listing = owner;
	if (listing->is_done)
		return QUERY_DONE;
	struct message_writer w;
	message_begin(&w, out, MESSAGE_WORKERS);
	write_u64(&w, 1);
	write_text(&w, listing->last.text[0] != '\0' ? listing->last.text : NULL);
	write_u64(&w, PAGE_ROWS);
	return message_end(&w);
}

static int append_text_row(struct buf *out, const struct id *id, const msgpack_object *row)
{
	static const char *const keys[] = {
		"owner_uid", "newest_seq", "newest_keyframe", "records", "bytes"};
	size_t columns = 0;
	int r = terminal_append(out, id->text, strlen(id->text), WORKER_COLUMNS, &columns);
	if (r == 0)
		r = buf_printf(out, "%*s", (int)(WORKER_COLUMNS - columns), "");
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(keys); i++) {
		uint64_t value = 0;
		const msgpack_object *field = field_map_get(row, keys[i]);
		if (field != NULL && field_u64(field, &value))
			r = buf_printf(out, " %12" PRIu64, value);
		else
			r = buf_printf(out, " %12s", "-");
	}
	return r == 0 ? buf_append_str(out, "\n") : r;
}

static bool print_row(struct listing *listing, const msgpack_object *row)
{
	const msgpack_object *id = field_map_get(row, "worker_id");
	const char *text;
	size_t len;
	if (id == NULL || !field_text(id, &text, &len, ID_BYTES_MAX) ||
		!id_set(&listing->last, text, len))
		return false;
	_cleanup_buf_ struct buf out = {0};
	int r;
	if (listing->options.json) {
		r = map_view_json(&out, row);
		if (r == 0)
			r = buf_append_str(&out, "\n");
	} else {
		r = append_text_row(&out, &listing->last, row);
	}
	if (r == 0)
		fwrite(out.data, 1, out.len, stdout);
	return r == 0;
}

static bool on_reply(void *owner, enum message_type type, const msgpack_object *map)
{
	struct listing *listing = owner;
	const msgpack_object *workers = field_map_get(map, "workers"),
			     *more = field_map_get(map, "more"), *items;
	uint32_t count;
	bool has_more;
	if (type != MESSAGE_WORKERS_REPLY || workers == NULL || more == NULL ||
		!field_array(workers, &items, &count) || !field_bool(more, &has_more) ||
		(has_more && count == 0))
		return false;
	if (!listing->options.json && !listing->has_header)
		printf("%-*s %12s %12s %12s %12s %12s\n", WORKER_COLUMNS, "WORKER", "OWNER UID",
			"NEWEST SEQ", "KEYFRAME", "RECORDS", "BYTES");
	listing->has_header = true;
	for (uint32_t i = 0; i < count; i++) {
		if (!print_row(listing, &items[i]))
			return false;
	}
	listing->is_done = !has_more;
	return true;
}

static const struct query query = {write_request, on_reply};

static int run(const struct verb *verb, int argc, char **argv)
{
	struct listing listing = {0};
	int count;
	int result = verb_parse(verb, &listing, argc, argv, 0, &count);
	return result >= 0 ? result : query_run(verb, &listing.options, &query, &listing);
}

const struct verb verb_workers = {
	.name = "workers",
	.arguments = "",
	.summary = "List the workers that the log knows.",
	.description = "Each with its owner, newest sequence and keyframe, and what is retained.",
	.options = rows,
	.run = run,
};
