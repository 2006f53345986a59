#include "eventlogd/ctl/lines.h"

#include <string.h>

enum { KEEP_BYTES = 64 * 1024 };

static void tell(struct lines *lines, const uint8_t *bytes, size_t len, bool too_long)
{
	struct line line = {bytes, len, too_long};
	lines->on_line(lines->owner, &line);
}

/* The last piece of a line has come. */
static int end_line(struct lines *lines, const uint8_t *bytes, size_t len)
{
	if (lines->dropping) {
		lines->dropping = false;
		return 0;
	}
	if (lines->partial.len + len > lines->max_line_bytes) {
		tell(lines, bytes, 0, true);
	} else if (lines->partial.len == 0) {
		tell(lines, bytes, len, false);
	} else {
		int r = buf_append(&lines->partial, bytes, len);
		if (r < 0)
			return r;
		tell(lines, lines->partial.data, lines->partial.len, false);
	}
	buf_reset(&lines->partial, KEEP_BYTES);
	return 0;
}

static int keep_partial(struct lines *lines, const uint8_t *bytes, size_t len)
{
	if (lines->dropping || len == 0)
		return 0;
	if (lines->partial.len + len <= lines->max_line_bytes)
		return buf_append(&lines->partial, bytes, len);
	lines->dropping = true;
	buf_reset(&lines->partial, KEEP_BYTES);
	tell(lines, bytes, 0, true);
	return 0;
}

int lines_feed(struct lines *lines, const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		const uint8_t *newline = memchr(bytes, '\n', len);
		if (newline == NULL)
			return keep_partial(lines, bytes, len);
		size_t piece = (size_t)(newline - bytes);
		int r = end_line(lines, bytes, piece);
		if (r < 0)
			return r;
		bytes += piece + 1;
		len -= piece + 1;
	}
	return 0;
}

void lines_finish(struct lines *lines)
{
	if (lines->partial.len > 0)
		tell(lines, lines->partial.data, lines->partial.len, false);
	buf_reset(&lines->partial, KEEP_BYTES);
	lines->dropping = false;
}

void lines_free(struct lines *lines)
{
	buf_free(&lines->partial);
}
