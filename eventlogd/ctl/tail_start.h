/*
 * Where `tail` starts: a cursor that was given, a place by name, or some events before the end.
 *
 * "newest" and "N before the end" are turned into a cursor with the help of STATUS, so that a
 * connection that is lost before the first event goes on at the same place.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "eventlogd/ctl/positions.h"
#include "proto/base/attributes.h"
#include "proto/cursor.h"

struct tail_start {
	const char *socket;
	const char *from;   /* "keyframe", "oldest", "newest"; NULL with a cursor */
	const char *cursor; /* NULL: `from` */
	uint64_t back;      /* events before the end, at least; 0: not asked for */
	char storage[CURSOR_TEXT_BYTES + 1];
};

/* Takes the cursor in a file; without the file nothing changes. 0, -EBADMSG, or another -errno. */
_must_check_ int tail_start_read_file(struct tail_start *start, const char *path);

bool tail_start_needs_status(const struct tail_start *start);
/* Sets the cursor where it takes STATUS to know it. */
void tail_start_at(struct tail_start *start, const struct positions *positions);
