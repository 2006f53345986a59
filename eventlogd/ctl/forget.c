/* eventlogctl forget: gives back what the keyframe reserve holds of finished workers. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventlogd/ctl/map_view.h"
#include "eventlogd/ctl/query.h"
#include "proto/ids.h"

enum { PAGE_ROWS = 500 };

struct asked {
	struct query_options options;
	char **words; /* of the command line: ids and globs */
	size_t word_count;
	/* What they select; a glob only after all pages of workers have been read. */
	struct id *workers;
	size_t worker_count, workers_allocated;
	bool is_listing;
	struct id last_listed;
	size_t next;
};

static const struct option_row rows[] = {
	QUERY_OPTION_ROWS(struct asked, options, "One JSON object a line, one line a worker."),
	{0},
};

static bool select_worker(struct asked *asked, const char *id, size_t len)
{
	if (asked->worker_count == asked->workers_allocated) {
		size_t wanted = asked->workers_allocated * 2 + 64;
		void *grown = realloc(asked->workers, wanted * sizeof(*asked->workers));
		if (grown == NULL)
			return false;
		asked->workers = grown;
		asked->workers_allocated = wanted;
	}
	return id_set(&asked->workers[asked->worker_count++], id, len);
}

static bool is_selected(const struct asked *asked, const char *id, size_t len)
{
	for (size_t i = 0; i < asked->word_count; i++) {
		if (glob_matches(asked->words[i], strlen(asked->words[i]), id, len))
			return true;
	}
	return false;
}

static int write_request(void *owner, struct buf *out)
{
	struct asked *asked = owner;
	struct message_writer w;
	if (asked->is_listing) {
		message_begin(&w, out, MESSAGE_WORKERS);
		write_u64(&w, 1);
		write_text(&w, asked->last_listed.text[0] != '\0' ? asked->last_listed.text : NULL);
		write_u64(&w, PAGE_ROWS);
		return message_end(&w);
	}
	if (asked->next == asked->worker_count)
		return QUERY_DONE;
	message_begin(&w, out, MESSAGE_FORGET);
	write_u64(&w, 1);
	write_text(&w, asked->workers[asked->next].text);
	return message_end(&w);
}

static bool on_workers(struct asked *asked, const msgpack_object *map)
{
	const msgpack_object *workers = field_map_get(map, "workers"),
			     *more = field_map_get(map, "more"), *items;
	uint32_t count;
	if (workers == NULL || more == NULL || !field_array(workers, &items, &count) ||
		!field_bool(more, &asked->is_listing) || (asked->is_listing && count == 0))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		const msgpack_object *id = field_map_get(&items[i], "worker_id");
		const char *text;
		size_t len;
		if (id == NULL || !field_text(id, &text, &len, ID_BYTES_MAX) ||
			!id_set(&asked->last_listed, text, len))
			return false;
		if (is_selected(asked, text, len) && !select_worker(asked, text, len))
			return false;
	}
	return true;
}

static bool on_forgotten(struct asked *asked, const msgpack_object *map)
{
	const struct id *worker = &asked->workers[asked->next++];
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
	printf("%s gives back %" PRIu64 " records, %" PRIu64 " bytes\n", worker->text, record_count,
		byte_count);
	return true;
}

static bool on_reply(void *owner, enum message_type type, const msgpack_object *map)
{
	struct asked *asked = owner;
	if (asked->is_listing)
		return type == MESSAGE_WORKERS_REPLY && on_workers(asked, map);
	return type == MESSAGE_FORGET_REPLY && on_forgotten(asked, map);
}

static const struct query query = {write_request, on_reply};

/* 0, or an exit code told already. */
static int take_words(struct asked *asked, char **words, size_t count)
{
	asked->words = words;
	asked->word_count = count;
	for (size_t i = 0; i < count; i++)
		asked->is_listing |= strpbrk(words[i], "*?") != NULL;
	bool is_right = count > 0;
	for (size_t i = 0; is_right && i < count; i++) {
		size_t len = strlen(words[i]);
		if (strpbrk(words[i], "*?") == NULL && !id_is_valid(words[i], len))
			is_right = false;
		else if (!asked->is_listing && !select_worker(asked, words[i], len))
			return EXIT_FAILED;
	}
	if (is_right)
		return 0;
	fputs("eventlogctl forget: WORKER is missing or no worker id (try --help)\n", stderr);
	return EXIT_USAGE;
}

static int run(const struct verb *verb, int argc, char **argv)
{
	struct asked asked = {0};
	int count;
	int result = verb_parse(verb, &asked, argc, argv, argc, &count);
	if (result >= 0)
		return result;
	result = take_words(&asked, argv, (size_t)count);
	if (result == 0)
		result = query_run(verb, &asked.options, &query, &asked);
	if (result == 0 && asked.worker_count == 0) {
		fputs("eventlogctl forget: the log knows no such worker\n", stderr);
		result = EXIT_FAILED;
	}
	free(asked.workers);
	return result;
}

const struct verb verb_forget = {
	.name = "forget",
	.arguments = "WORKER...",
	.summary = "Give back what is kept of finished workers.",
	.description =
		"WORKER is an id, or a glob (* any run of characters, ? one) of ids.\n"
		"What the keyframe reserve holds of it goes, and its newest keyframe is not\n"
		"kept when its segment goes. Other segments with its events stay as long as\n"
		"retention says. A worker that publishes again is kept again. Needs root or\n"
		"eventlogd's own user.",
	.options = rows,
	.run = run,
};
