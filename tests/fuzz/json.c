/* proto/json: check and tape agree; the tape's tokens lie in order within the document. */
#include <stdlib.h>

#include "proto/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void expect(bool claim)
{
	if (!claim)
		abort();
}

static void look_at_tape(const struct json_tape *tape, const uint8_t *bytes, size_t len)
{
	uint8_t *text = malloc(len);
	expect(text != NULL && tape->count > 0 && tape->token[0].next == tape->count);
	for (uint32_t i = 0; i < tape->count; i++) {
		const struct json_token *t = &tape->token[i];
		expect(t->start < t->end && t->end <= len);
		expect(t->next > i && t->next <= tape->count);
		expect(i == 0 || t->start >= tape->token[i - 1].start);
		if (t->type == JSON_KEY || t->type == JSON_STRING) {
			size_t n = json_unescape(bytes + t->start, t->end - t->start, text);
			expect(t->escaped ? n < t->end - t->start - 2 : n == t->end - t->start - 2);
		}
		expect(t->type != JSON_KEY || tape->token[i + 1].type != JSON_KEY);
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct json_event_info info;
	struct json_tape tape = {0};
	struct json_error error;
	int checked = json_check_event(bytes, len, &info);
	int built = json_tape_build(&tape, bytes, len, &error);
	expect(built != JSON_INVALID || error.offset <= len);
	expect((checked == JSON_INVALID) == (built == JSON_INVALID));
	if (built == JSON_OK) {
		expect((tape.token[0].type == JSON_OBJECT) == (checked == JSON_OK));
		look_at_tape(&tape, bytes, len);
	}
	json_tape_free(&tape);
	return 0;
}
