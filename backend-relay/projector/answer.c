#include "backend-relay/projector/answer.h"

#include <string.h>

#include "proto/base/utf8.h"
#include "proto/limits.h"

static bool read_verdict(enum answer_verdict *verdict, const msgpack_object *field)
{
	static const char *const words[] = {
		[ANSWER_PASS] = "pass",
		[ANSWER_REWRITE] = "rewrite",
		[ANSWER_DENY] = "deny",
		[ANSWER_REFUSED] = "refused",
	};
	const char *text;
	size_t len;
	if (!field_text(field, &text, &len, NAME_BYTES_MAX))
		return false;
	for (unsigned int i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (len == strlen(words[i]) && memcmp(text, words[i], len) == 0) {
			*verdict = (enum answer_verdict)i;
			return true;
		}
	}
	return false;
}

bool answer_read(struct answer *answer, const msgpack_object *row, bool warm)
{
	const msgpack_object *field;
	uint32_t count;
	*answer = (struct answer){0};
	if (!field_array(row, &field, &count) || count != 4 ||
		!field_u64(&field[0], &answer->ticket) ||
		!read_verdict(&answer->verdict, &field[1]))
		return false;
	if (warm || answer->verdict != ANSWER_REWRITE) {
		if (!field_is_nil(&field[2]))
			return false;
	} else if (!field_bytes(&field[2], &answer->payload, &answer->len) ||
		   !utf8_is_valid(answer->payload, answer->len)) {
		return false;
	}
	answer->has_open_since = !field_is_nil(&field[3]);
	return !answer->has_open_since ||
	       (field_u64(&field[3], &answer->open_since) && answer->open_since <= answer->ticket);
}
