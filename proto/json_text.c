/* The text of JSON strings: out of their escapes and into them. */
#include <string.h>

#include "proto/base/buf.h"
#include "proto/json.h"

static uint32_t take_hex4(const uint8_t *p)
{
	uint32_t value = 0;
	for (int i = 0; i < 4; i++) {
		uint8_t c = p[i];
		uint32_t digit = c <= '9' ? c - (uint32_t)'0' : (c | 0x20u) - 'a' + 10;
		value = value << 4 | digit;
	}
	return value;
}

static size_t put_utf8(uint8_t *out, uint32_t character)
{
	if (character < 0x80) {
		out[0] = (uint8_t)character;
		return 1;
	}
	if (character < 0x800) {
		out[0] = (uint8_t)(0xc0 | character >> 6);
		out[1] = (uint8_t)(0x80 | (character & 0x3f));
		return 2;
	}
	if (character < 0x10000) {
		out[0] = (uint8_t)(0xe0 | character >> 12);
		out[1] = (uint8_t)(0x80 | (character >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (character & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | character >> 18);
	out[1] = (uint8_t)(0x80 | (character >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (character >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (character & 0x3f));
	return 4;
}

/* At a backslash. Returns how many bytes the escape has, and adds its text to `out`. */
static size_t unescape_one(const uint8_t *p, uint8_t *out, size_t *written)
{
	static const uint8_t meanings[256] = {['"'] = '"',
		['\\'] = '\\',
		['/'] = '/',
		['b'] = '\b',
		['f'] = '\f',
		['n'] = '\n',
		['r'] = '\r',
		['t'] = '\t'};
	if (p[1] != 'u') {
		out[(*written)++] = meanings[p[1]];
		return 2;
	}
	uint32_t unit = take_hex4(p + 2);
	if (unit < 0xd800 || unit > 0xdbff) {
		*written += put_utf8(out + *written, unit);
		return 6;
	}
	uint32_t low = take_hex4(p + 8);
	*written += put_utf8(out + *written, 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00));
	return 12;
}

size_t json_unescape(const uint8_t *quoted, size_t len, uint8_t *out)
{
	const uint8_t *p = quoted + 1, *end = quoted + len - 1;
	size_t written = 0;
	while (p < end) {
		const uint8_t *backslash = memchr(p, '\\', (size_t)(end - p));
		size_t plain = (size_t)((backslash != NULL ? backslash : end) - p);
		memcpy(out + written, p, plain);
		written += plain;
		p += plain;
		if (p < end)
			p += unescape_one(p, out, &written);
	}
	return written;
}

void json_seek_text(const uint8_t *quoted, size_t *at, size_t *text_at, size_t target)
{
	while (*text_at < target) {
		uint8_t text[4];
		size_t written = 0;
		if (quoted[*at] == '\\') {
			*at += unescape_one(quoted + *at, text, &written);
			*text_at += written;
		} else {
			(*at)++;
			(*text_at)++;
		}
	}
}

static int append_escaped(struct buf *buf, uint8_t byte)
{
	switch (byte) {
	case '"':
		return buf_append_str(buf, "\\\"");
	case '\\':
		return buf_append_str(buf, "\\\\");
	case '\n':
		return buf_append_str(buf, "\\n");
	case '\r':
		return buf_append_str(buf, "\\r");
	case '\t':
		return buf_append_str(buf, "\\t");
	default: {
		static const char hex[] = "0123456789abcdef";
		char text[] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
		return buf_append(buf, text, sizeof(text));
	}
	}
}

int json_append_quoted(struct buf *buf, const char *text, size_t len)
{
	if (len == 0)
		return buf_append_str(buf, "\"\""); /* `text` may be NULL */
	const uint8_t *p = (const uint8_t *)text, *end = p + len;
	size_t before = buf->len;
	int r = buf_append(buf, "\"", 1);
	while (r == 0 && p < end) {
		const uint8_t *stop = p;
		while (stop < end && *stop != '"' && *stop != '\\' && *stop >= 0x20)
			stop++;
		r = buf_append(buf, p, (size_t)(stop - p));
		p = stop;
		if (r == 0 && p < end)
			r = append_escaped(buf, *p++);
	}
	if (r == 0)
		r = buf_append(buf, "\"", 1);
	if (r < 0)
		buf->len = before;
	return r;
}
