/*
 * The text of a pattern, read into positions: one for each byte that can be matched, in a row.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"

enum { POSITIONS_MAX = 255 };

struct secret_position {
	uint64_t bytes[4]; /* bit b: byte b can stand here */
	bool optional;     /* it can be left out */
	bool loops;        /* it can stand more than once */
};

struct secret_positions {
	struct secret_position position[POSITIONS_MAX + 1];
	size_t count;
	size_t group, group_end; /* the secret's positions: [group, group_end) */
};

/* 0 or -EINVAL. */
_must_check_ int secret_positions_read(
	struct secret_positions *positions, const char *text, bool any_case);

static inline bool secret_byte_in(const uint64_t bytes[4], uint8_t byte)
{
	return (bytes[byte / 64] >> (byte % 64) & 1) != 0;
}
