#include "backend-relay/identity/json_object.h"

#include <string.h>

/* Texts that are compared unescaped are no longer than this. */
enum { COMPARED_BYTES_MAX = 1024, TIME_DIGITS_MAX = 12 };

#define TIME_MAX INT64_C(253402300799)

bool json_token_is_text(const uint8_t *bytes, const struct json_token *token, const char *text)
{
	uint8_t plain[COMPARED_BYTES_MAX];
	size_t quoted_len = token->end - token->start, len = strlen(text);
	if ((token->type != JSON_STRING && token->type != JSON_KEY) || quoted_len > sizeof(plain))
		return false;
	return json_unescape(bytes + token->start, quoted_len, plain) == len &&
	       memcmp(plain, text, len) == 0;
}

enum json_member_result json_object_find(
	const struct json_object *object, const char *name, const struct json_token **value)
{
	const struct json_token *token = object->tape->token, *found = NULL;
	for (uint32_t i = object->at + 1; i < token[object->at].next; i = token[i + 1].next) {
		if (!json_token_is_text(object->bytes, &token[i], name))
			continue;
		if (found != NULL)
			return JSON_MEMBER_WRONG;
		found = &token[i + 1];
	}
	if (found == NULL)
		return JSON_MEMBER_ABSENT;
	*value = found;
	return JSON_MEMBER_FOUND;
}

enum json_member_result json_object_text(
	const struct json_object *object, const char *name, char *out, size_t size)
{
	const struct json_token *token;
	enum json_member_result r = json_object_find(object, name, &token);
	if (r != JSON_MEMBER_FOUND)
		return r;
	size_t quoted_len = token->end - token->start;
	if (token->type != JSON_STRING || quoted_len > size)
		return JSON_MEMBER_WRONG;
	size_t len = json_unescape(object->bytes + token->start, quoted_len, (uint8_t *)out);
	out[len] = '\0'; /* there were two quotes more */
	return strlen(out) == len ? JSON_MEMBER_FOUND : JSON_MEMBER_WRONG;
}

enum json_member_result json_object_time(
	const struct json_object *object, const char *name, int64_t *out)
{
	const struct json_token *token;
	enum json_member_result r = json_object_find(object, name, &token);
	if (r != JSON_MEMBER_FOUND)
		return r;
	size_t len = token->end - token->start;
	if (token->type != JSON_NUMBER || len > TIME_DIGITS_MAX)
		return JSON_MEMBER_WRONG;
	int64_t value = 0;
	for (size_t i = 0; i < len; i++) {
		uint8_t digit = object->bytes[token->start + i];
		if (digit < '0' || digit > '9')
			return JSON_MEMBER_WRONG;
		value = value * 10 + (digit - '0');
	}
	if (value > TIME_MAX)
		return JSON_MEMBER_WRONG;
	*out = value;
	return JSON_MEMBER_FOUND;
}
