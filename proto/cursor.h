/*
 * The cursor of a runtime: "I have everything of my stream up to and including this sequence."
 *
 *	wo_LLLLLLLLEEEE_SSSSSSSSSSSSSSSS
 *	   |       |    `-- sequence, 16 lower-case hex digits
 *	   |       `------- epoch of the record with that sequence, 4 digits
 *	   `--------------- first 32 bits of the log id, 8 digits
 *
 * The cursor of an event is also its id. Sequence 0 stands before the first record of a log. One
 * spelling only: anything else, upper-case digits too, is malformed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CURSOR_TEXT_BYTES 32 /* without the terminating NUL */

struct cursor {
	uint32_t log; /* first 32 bits of the log id, big-endian as in its text form */
	uint16_t epoch;
	uint64_t sequence;
};

/* Writes 32 characters and a NUL. */
void cursor_format(const struct cursor *cursor, char out[CURSOR_TEXT_BYTES + 1]);

/* False unless `text` is exactly one cursor. */
bool cursor_parse(const char *text, size_t len, struct cursor *out);
