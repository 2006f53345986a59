#include "eventlogd/ctl/last_lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { KEEP_BYTES = 4096, FIRST_ALLOCATION = 16 };

void last_lines_init(struct last_lines *lines, size_t max)
{
	*lines = (struct last_lines){.max = max};
}

void last_lines_free(struct last_lines *lines)
{
	for (size_t i = 0; i < lines->allocated; i++)
		buf_free(&lines->line[i]);
	free(lines->line);
	*lines = (struct last_lines){0};
}

/* Only before the ring has gone round: head is 0 then. */
static int grow(struct last_lines *lines)
{
	size_t wanted = lines->allocated > 0 ? lines->allocated * 2 : FIRST_ALLOCATION;
	if (wanted > lines->max)
		wanted = lines->max;
	struct buf *line = reallocarray(lines->line, wanted, sizeof(*line));
	if (line == NULL)
		return -ENOMEM;
	memset(line + lines->allocated, 0, (wanted - lines->allocated) * sizeof(*line));
	lines->line = line;
	lines->allocated = wanted;
	return 0;
}

int last_lines_add(struct last_lines *lines, const struct buf *line)
{
	if (lines->count == lines->allocated && lines->allocated < lines->max) {
		int r = grow(lines);
		if (r < 0)
			return r;
	}
	struct buf *place;
	if (lines->count < lines->max) {
		place = &lines->line[lines->count++];
	} else {
		place = &lines->line[lines->head];
		lines->head = (lines->head + 1) % lines->max;
	}
	buf_reset(place, KEEP_BYTES);
	return buf_append(place, line->data, line->len);
}

size_t last_lines_count(const struct last_lines *lines)
{
	return lines->count;
}

const struct buf *last_lines_at(const struct last_lines *lines, size_t index)
{
	return &lines->line[(lines->head + index) % lines->max];
}

void last_lines_clear(struct last_lines *lines)
{
	lines->head = 0;
	lines->count = 0;
}
