/*
 * Members of small JSON objects that decide something: keys of a JWKS file, claims of a token.
 *
 * Names are compared after unescaping. A member that stands twice is refused, whatever its values:
 * no two readers of a token may choose differently.
 */
#pragma once

#include <stdint.h>

#include "proto/json.h"

struct json_object {
	const uint8_t *bytes;
	const struct json_tape *tape;
	uint32_t at; /* index of the object's token */
};

enum json_member_result {
	JSON_MEMBER_FOUND = 0,
	JSON_MEMBER_ABSENT = 1,
	JSON_MEMBER_WRONG = 2, /* twice, of another type, too long, or with a NUL */
};

/* The value's token. */
enum json_member_result json_object_find(
	const struct json_object *object, const char *name, const struct json_token **value);
/* A string, unescaped, NUL-terminated into `out`. */
enum json_member_result json_object_text(
	const struct json_object *object, const char *name, char *out, size_t size);
/* Seconds since 1970 as a whole number from 0 to 253402300799 (the year 9999). */
enum json_member_result json_object_time(
	const struct json_object *object, const char *name, int64_t *out);

/* Whether a token is this string. */
bool json_token_is_text(const uint8_t *bytes, const struct json_token *token, const char *text);
