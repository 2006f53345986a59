#include "eventlogd/subscribe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/ids.h"

static int fail(int result, const char *code, const char *text, const char **out_code,
	const char **out_text)
{
	*out_code = code;
	*out_text = text;
	return result;
}

static bool text_is(const char *text, size_t len, const char *word)
{
	return len == strlen(word) && memcmp(text, word, len) == 0;
}

static int read_workers(struct subscribe *subscribe, const msgpack_object *field, const char **code,
	const char **text)
{
	if (field_is_nil(field))
		return SUBSCRIBE_OK;
	const msgpack_object *items;
	uint32_t count;
	if (!field_array(field, &items, &count) || count == 0)
		return fail(SUBSCRIBE_MALFORMED, "protocol_error",
			"worker_ids is neither nil nor an array of ids", code, text);
	if (count > READER_WORKERS_MAX)
		return fail(
			SUBSCRIBE_MALFORMED, "protocol_error", "too many worker ids", code, text);
	const char **workers = calloc(count, sizeof(*workers));
	size_t *lens = calloc(count, sizeof(*lens));
	subscribe->selection = (struct reader_selection){workers, lens, count};
	if (workers == NULL || lens == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *id;
		if (!field_bytes(&items[i], &id, &lens[i]))
			return fail(SUBSCRIBE_MALFORMED, "protocol_error",
				"a worker id is not a text", code, text);
		workers[i] = (const char *)id;
		if (!id_is_valid(workers[i], lens[i]))
			return fail(SUBSCRIBE_REFUSED, "worker_not_found",
				"no worker can have such an id", code, text);
	}
	return SUBSCRIBE_OK;
}

static int read_from(struct subscribe *subscribe, const msgpack_object *field, const char **code,
	const char **text)
{
	static const struct {
		const char *word;
		enum reader_from from;
	} words[] = {
		{"cursor", READER_FROM_CURSOR},
		{"keyframe", READER_FROM_KEYFRAME},
		{"oldest", READER_FROM_OLDEST},
		{"newest", READER_FROM_NEWEST},
	};
	const msgpack_object *items;
	uint32_t count;
	const char *word = NULL;
	size_t len = 0, i = 0;
	if (field_array(field, &items, &count) && count > 0 &&
		field_text(&items[0], &word, &len, ID_BYTES_MAX)) {
		while (i < ARRAY_SIZE(words) && !text_is(word, len, words[i].word))
			i++;
	} else {
		i = ARRAY_SIZE(words);
	}
	if (i == ARRAY_SIZE(words) || count != (words[i].from == READER_FROM_CURSOR ? 2u : 1u))
		return fail(SUBSCRIBE_MALFORMED, "protocol_error",
			"from is not [\"cursor\", text], [\"keyframe\"], [\"oldest\"] or "
			"[\"newest\"]",
			code, text);
	subscribe->start.from = words[i].from;
	if (words[i].from == READER_FROM_KEYFRAME && subscribe->selection.worker_count != 1)
		return fail(SUBSCRIBE_MALFORMED, "protocol_error",
			"keyframe needs exactly one worker", code, text);
	if (words[i].from != READER_FROM_CURSOR)
		return SUBSCRIBE_OK;
	const uint8_t *cursor;
	if (!field_bytes(&items[1], &cursor, &len) ||
		!cursor_parse((const char *)cursor, len, &subscribe->start.cursor))
		return fail(
			SUBSCRIBE_REFUSED, "cursor_malformed", "this is not a cursor", code, text);
	return SUBSCRIBE_OK;
}

int subscribe_read(struct subscribe *subscribe, const struct message *message, const char **code,
	const char **text)
{
	if (!field_u64(&message->field[0], &subscribe->request_id) ||
		subscribe->request_id == UINT64_MAX ||
		!field_bool(&message->field[3], &subscribe->follow))
		return fail(SUBSCRIBE_MALFORMED, "protocol_error",
			"SUBSCRIBE needs a request id and follow", code, text);
	int r = read_workers(subscribe, &message->field[1], code, text);
	return r == SUBSCRIBE_OK ? read_from(subscribe, &message->field[2], code, text) : r;
}

void subscribe_free(struct subscribe *subscribe)
{
	free((void *)subscribe->selection.workers);
	free((void *)subscribe->selection.worker_lens);
	*subscribe = (struct subscribe){0};
}
