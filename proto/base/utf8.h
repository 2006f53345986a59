/* UTF-8 as in RFC 3629. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* No surrogates, no overlong forms, at most U+10FFFF. An empty text is valid. */
bool utf8_is_valid(const uint8_t *bytes, size_t len);

static inline bool utf8_is_continuation(uint8_t byte)
{
	return (byte & 0xc0) == 0x80;
}

/*
 * How many bytes the character at `p` has, 1 to 4; 0 if there is no valid one. `left` bytes are
 * there, at least one.
 */
static inline size_t utf8_character_len(const uint8_t *p, size_t left)
{
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4 || left < 2 || !utf8_is_continuation(p[1]))
		return 0;
	if (p[0] < 0xe0)
		return 2;
	if (left < 3 || !utf8_is_continuation(p[2]))
		return 0;
	if (p[0] < 0xf0) {
		bool overlong = p[0] == 0xe0 && p[1] < 0xa0;
		bool surrogate = p[0] == 0xed && p[1] > 0x9f;
		return overlong || surrogate ? 0 : 3;
	}
	bool overlong = p[0] == 0xf0 && p[1] < 0x90;
	bool beyond = p[0] == 0xf4 && p[1] > 0x8f;
	if (left < 4 || !utf8_is_continuation(p[3]) || overlong || beyond)
		return 0;
	return 4;
}
