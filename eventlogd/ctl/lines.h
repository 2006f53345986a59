/*
 * Cuts bytes into lines.
 *
 * A line ends at '\n', which is not part of it; every other byte is, so that a payload stays what
 * it was. A line longer than the limit is told once, as too long, and its bytes are dropped as they
 * come: memory never holds more than the limit and one piece.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"

struct line {
	const uint8_t *bytes; /* borrowed until return */
	size_t len;
	bool too_long; /* only its first bytes are here */
};

struct lines {
	struct buf partial; /* the beginning of a line whose end has not come */
	size_t max_line_bytes;
	bool dropping; /* within the rest of a line that was too long */
	void *owner;
	void (*on_line)(void *owner, const struct line *line);
};

/* Calls on_line for each line that ends in these bytes. 0 or -ENOMEM. */
_must_check_ int lines_feed(struct lines *lines, const uint8_t *bytes, size_t len);
/* At the end of the input: a last line without '\n' is a line too. */
void lines_finish(struct lines *lines);
void lines_free(struct lines *lines);
