#include "proto/ids.h"

#include <stdint.h>
#include <string.h>

#include "proto/base/utf8.h"

static bool is_id_character(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '.' || c == ':' || c == '-';
}

static bool is_dot_segment(const char *bytes, size_t len)
{
	return len <= 2 && bytes[0] == '.' && bytes[len - 1] == '.';
}

bool id_is_valid(const char *bytes, size_t len)
{
	if (len == 0 || len > ID_BYTES_MAX || is_dot_segment(bytes, len))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!is_id_character(bytes[i]))
			return false;
	}
	return true;
}

bool id_set(struct id *id, const char *bytes, size_t len)
{
	id->text[0] = '\0';
	if (!id_is_valid(bytes, len))
		return false;
	memcpy(id->text, bytes, len);
	id->text[len] = '\0';
	return true;
}

static size_t behind_character(const char *text, size_t len, size_t at)
{
	do
		at++;
	while (at < len && utf8_is_continuation((uint8_t)text[at]));
	return at;
}

bool glob_matches(const char *pattern, size_t pattern_len, const char *text, size_t text_len)
{
	/* Greedy with one step back: only the last star ever needs to take more. */
	size_t p = 0, t = 0, star = SIZE_MAX, star_text = 0;
	while (t < text_len) {
		if (p < pattern_len && pattern[p] == '*') {
			star = p++;
			star_text = t;
		} else if (p < pattern_len && pattern[p] == '?') {
			p++;
			t = behind_character(text, text_len, t);
		} else if (p < pattern_len && pattern[p] == text[t]) {
			p++;
			t++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			t = ++star_text;
		} else {
			return false;
		}
	}
	while (p < pattern_len && pattern[p] == '*')
		p++;
	return p == pattern_len;
}
