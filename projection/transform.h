/*
 * What actions do to the text of a string: pure functions from text to text.
 *
 * Each appends the new text to `out` and answers whether it differs: TRANSFORM_SAME leaves `out` as
 * it was. -errno is the buffer's. Time is linear in the text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"

struct buf;

enum transform_result { TRANSFORM_SAME = 0, TRANSFORM_CHANGED = 1 };

/* Keeps `keep` characters and adds "…" if there were more. The text is valid UTF-8. */
_must_check_ int transform_truncate(
	const uint8_t *text, size_t len, uint64_t keep, struct buf *out);

/*
 * `from` at the beginning of the text becomes `to` if a path component ends there: "/srv/agents"
 * is in "/srv/agents/x" and not in "/srv/agents-x".
 */
_must_check_ int transform_rewrite_prefix(
	const uint8_t *text, size_t len, const char *from, const char *to, struct buf *out);

/* The same for every path within a longer text; a path begins where no other goes on. */
_must_check_ int transform_rewrite_prefix_anywhere(
	const uint8_t *text, size_t len, const char *from, const char *to, struct buf *out);
