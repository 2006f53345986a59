#include "eventlogd/ctl/refusal.h"

#include <string.h>

#include "eventlogd/ctl/gist.h"

static void copy_text(const msgpack_object *field, char *out, size_t out_size)
{
	const char *text;
	size_t len;
	if (!field_text(field, &text, &len, ERROR_TEXT_BYTES_MAX))
		len = 0;
	terminal_copy(out, out_size, len > 0 ? text : "", len);
}

/* The same fields of both. */
void refusal_read(struct refusal *refusal, const struct message *message)
{
	copy_text(&message->field[1], refusal->code, sizeof(refusal->code));
	copy_text(&message->field[2], refusal->text, sizeof(refusal->text));
}

static bool code_is_one_of(const struct refusal *refusal, const char *const *codes)
{
	for (; *codes != NULL; codes++) {
		if (strcmp(refusal->code, *codes) == 0)
			return true;
	}
	return false;
}

bool refusal_is_of_event(const struct refusal *refusal)
{
	static const char *const codes[] = {
		"invalid_json", "not_an_object", "event_too_large", NULL};
	return code_is_one_of(refusal, codes);
}

bool refusal_is_passing(const struct refusal *refusal)
{
	static const char *const codes[] = {
		"no_space", "quota_exceeded", "read_only", "shutting_down", "producer_gap", NULL};
	return code_is_one_of(refusal, codes);
}

bool refusal_is_of_stop(const struct refusal *refusal)
{
	static const char *const codes[] = {"shutting_down", "unavailable", NULL};
	return code_is_one_of(refusal, codes);
}
