#include "projection/transform.h"

#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/utf8.h"

int transform_truncate(const uint8_t *text, size_t len, uint64_t keep, struct buf *out)
{
	size_t at = 0;
	for (uint64_t count = 0; at < len; count++) {
		if (count == keep) {
			int r = buf_append(out, text, at);
			if (r == 0)
				r = buf_append_str(out, "…");
			return r < 0 ? r : TRANSFORM_CHANGED;
		}
		at++;
		while (at < len && utf8_is_continuation(text[at]))
			at++;
	}
	return TRANSFORM_SAME;
}

/*
 * A byte that can be part of a path component within a longer text; a dot only if more follows.
 * Characters beyond ASCII are not, so that a path is found in text that sets no spaces around it.
 */
static bool is_component_byte(const uint8_t *text, size_t len, size_t at)
{
	if (at >= len)
		return false;
	uint8_t c = text[at];
	if (c == '.')
		return at + 1 < len && text[at + 1] != '.' && is_component_byte(text, len, at + 1);
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_';
}

/* Whether `from` stands at `at` and a component ends with it. */
static bool stands_at(const uint8_t *text, size_t len, size_t at, const char *from, size_t from_len)
{
	if (len - at < from_len || memcmp(text + at, from, from_len) != 0)
		return false;
	return from[from_len - 1] == '/' || !is_component_byte(text, len, at + from_len);
}

int transform_rewrite_prefix(
	const uint8_t *text, size_t len, const char *from, const char *to, struct buf *out)
{
	size_t from_len = strlen(from);
	/* Here the whole text is the path, so only its end or a slash ends the component. */
	if (len < from_len || memcmp(text, from, from_len) != 0)
		return TRANSFORM_SAME;
	if (len > from_len && text[from_len] != '/' && from[from_len - 1] != '/')
		return TRANSFORM_SAME;
	int r = buf_append_str(out, to);
	if (r == 0)
		r = buf_append(out, text + from_len, len - from_len);
	return r < 0 ? r : TRANSFORM_CHANGED;
}

int transform_rewrite_prefix_anywhere(
	const uint8_t *text, size_t len, const char *from, const char *to, struct buf *out)
{
	size_t from_len = strlen(from), copied = 0, before = out->len;
	/* Whether the bytes before `at` are a component of a path that began earlier. */
	bool behind_slash = false, in_component = false;
	for (size_t at = 0; at < len;) {
		if (!in_component && text[at] == (uint8_t)from[0] &&
			stands_at(text, len, at, from, from_len)) {
			int r = buf_append(out, text + copied, at - copied);
			if (r == 0)
				r = buf_append_str(out, to);
			if (r < 0) {
				out->len = before;
				return r;
			}
			at += from_len;
			copied = at;
			behind_slash = from[from_len - 1] == '/';
			in_component = !behind_slash;
			continue;
		}
		bool component = is_component_byte(text, len, at);
		in_component = component && (in_component || behind_slash);
		behind_slash = text[at] == '/';
		at++;
	}
	if (copied == 0)
		return TRANSFORM_SAME;
	int r = buf_append(out, text + copied, len - copied);
	return r < 0 ? r : TRANSFORM_CHANGED;
}
