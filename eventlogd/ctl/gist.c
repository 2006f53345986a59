#include "eventlogd/ctl/gist.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/utf8.h"

enum { CHARACTER_TEXT_BYTES = 16, KEY_COLUMNS_MAX = 40 };

/* The length of the character at `text` and its code point; 0 when there is none. */
static size_t decode(const uint8_t *text, size_t len, uint32_t *code)
{
	size_t n = utf8_character_len(text, len);
	if (n == 0)
		return 0;
	*code = n == 1 ? text[0] : text[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++)
		*code = *code << 6 | (text[i] & 0x3f);
	return n;
}

static bool is_safe(uint32_t code)
{
	if (code < 0x20 || (code >= 0x7f && code < 0xa0))
		return false;
	/* Marks and overrides of direction, line and paragraph separators, byte order mark. */
	if ((code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
		(code >= 0x2060 && code <= 0x206f) || code == 0xfeff || code == 0x061c)
		return false;
	return code < 0xe0000; /* tags and private planes */
}

int terminal_append(
	struct buf *out, const void *text, size_t len, size_t max_columns, size_t *columns)
{
	const uint8_t *at = text;
	size_t used = 0;
	int r = 0;
	while (len > 0 && r == 0) {
		char escaped[CHARACTER_TEXT_BYTES];
		uint32_t code = 0;
		size_t n = decode(at, len, &code), width = 1;
		bool copied = n > 0 && is_safe(code);
		if (!copied && n > 0)
			width = (size_t)snprintf(escaped, sizeof(escaped), "\\u{%x}", code);
		else if (!copied)
			width = (size_t)snprintf(escaped, sizeof(escaped), "\\x%02x", at[0]);
		if (n == 0)
			n = 1;
		if (used + width > max_columns || (used + width == max_columns && n < len)) {
			if (used < max_columns) {
				r = buf_append_str(out, "…");
				used++;
			}
			break;
		}
		r = copied ? buf_append(out, at, n) : buf_append(out, escaped, width);
		used += width;
		at += n;
		len -= n;
	}
	if (columns != NULL)
		*columns += used;
	return r;
}

void terminal_copy(char *out, size_t out_size, const char *text, size_t len)
{
	_cleanup_buf_ struct buf escaped = {0};
	/* A character has at most four bytes and the mark of what is missing three. */
	size_t columns = (out_size - 1) / 4;
	out[0] = '\0';
	if (terminal_append(&escaped, text, len, columns, NULL) == 0 && escaped.len > 0)
		snprintf(out, out_size, "%.*s", (int)escaped.len, (const char *)escaped.data);
}

struct scan {
	const uint8_t *at, *end;
	struct buf *out;
	size_t columns, max_columns;
	const uint8_t *key; /* of the member that the scan is in; without quotes */
	size_t key_len;
	bool key_is_written; /* another element of the same array */
	unsigned int depth;
};

static bool at_kind(const struct scan *scan)
{
	return scan->depth == 1 &&
	       ((scan->key_len == 5 && memcmp(scan->key, "event", 5) == 0) ||
		       (scan->key_len == 4 && memcmp(scan->key, "type", 4) == 0));
}

static int put(struct scan *scan, const void *text, size_t len, size_t max_columns)
{
	size_t left = scan->max_columns - scan->columns;
	return terminal_append(
		scan->out, text, len, max_columns < left ? max_columns : left, &scan->columns);
}

static int put_scalar(struct scan *scan, const uint8_t *text, size_t len, bool is_string)
{
	if (scan->depth == 0 || scan->key == NULL || at_kind(scan))
		return 0;
	int r = 0;
	if (scan->key_is_written) {
		r = put(scan, ",", 1, SIZE_MAX);
	} else {
		if (scan->columns > 0)
			r = put(scan, " ", 1, SIZE_MAX);
		if (r == 0)
			r = put(scan, scan->key, scan->key_len, KEY_COLUMNS_MAX);
		if (r == 0)
			r = put(scan, "=", 1, SIZE_MAX);
		scan->key_is_written = true;
	}
	bool quoted = is_string && (len == 0 || memchr(text, ' ', len) != NULL);
	if (r == 0 && quoted)
		r = put(scan, "\"", 1, SIZE_MAX);
	if (r == 0)
		r = put(scan, text, len, SIZE_MAX);
	if (r == 0 && quoted)
		r = put(scan, "\"", 1, SIZE_MAX);
	return r;
}

/* Behind the opening quote; moves behind the closing one. */
static const uint8_t *scan_string(struct scan *scan, size_t *len)
{
	const uint8_t *start = scan->at;
	while (scan->at < scan->end && *scan->at != '"')
		scan->at += *scan->at == '\\' && scan->at + 1 < scan->end ? 2 : 1;
	if (scan->at > scan->end)
		scan->at = scan->end;
	*len = (size_t)(scan->at - start);
	if (scan->at < scan->end)
		scan->at++;
	return start;
}

static bool is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int step_string(struct scan *scan)
{
	size_t len;
	scan->at++;
	const uint8_t *text = scan_string(scan, &len);
	while (scan->at < scan->end && is_space(*scan->at))
		scan->at++;
	if (scan->at == scan->end || *scan->at != ':')
		return put_scalar(scan, text, len, true);
	scan->at++;
	scan->key = text;
	scan->key_len = len;
	scan->key_is_written = false;
	return 0;
}

static int step(struct scan *scan)
{
	uint8_t c = *scan->at;
	if (c == '"')
		return step_string(scan);
	if (c == '{' || c == '[')
		scan->depth++;
	else if ((c == '}' || c == ']') && scan->depth > 0)
		scan->depth--;
	if (is_space(c) || memchr("{}[],:", c, 6) != NULL) {
		scan->at++;
		return 0;
	}
	const uint8_t *start = scan->at;
	while (scan->at < scan->end && !is_space(*scan->at) &&
		memchr("{}[],:\"", *scan->at, 7) == NULL)
		scan->at++;
	return put_scalar(scan, start, (size_t)(scan->at - start), false);
}

int gist_append(struct buf *out, const uint8_t *payload, size_t len, size_t max_columns)
{
	struct scan scan = {
		.at = payload, .end = payload + len, .out = out, .max_columns = max_columns};
	int r = 0;
	while (r == 0 && scan.at < scan.end && scan.columns < max_columns)
		r = step(&scan);
	return r;
}
