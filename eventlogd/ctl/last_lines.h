/*
 * The last N lines of many: a ring that keeps its lines' memory.
 */
#pragma once

#include <stddef.h>

#include "proto/base/attributes.h"
#include "proto/base/buf.h"

struct last_lines {
	struct buf *line;
	size_t max, allocated; /* max 0: not in use */
	size_t head, count;
};

void last_lines_init(struct last_lines *lines, size_t max);
void last_lines_free(struct last_lines *lines);
/* Copies a line; the oldest goes when there are max. 0 or -ENOMEM. */
_must_check_ int last_lines_add(struct last_lines *lines, const struct buf *line);
size_t last_lines_count(const struct last_lines *lines);
const struct buf *last_lines_at(const struct last_lines *lines, size_t index); /* 0: the oldest */
void last_lines_clear(struct last_lines *lines);
