/*
 * What a person sees of an event on one line of a terminal.
 *
 * Payloads are hostile to terminals: control characters (also C1), characters that turn the
 * direction of writing, and bytes that are not UTF-8 are written as escapes. Pure, bounded by
 * `max_columns` and never by the payload's size. Columns are counted in characters.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/base/buf.h"

/*
 * Appends at most max_columns characters of a text, with "…" as the last where more there were.
 * Adds what it used to `*columns` (may be NULL). 0 or -ENOMEM.
 */
_must_check_ int terminal_append(
	struct buf *out, const void *text, size_t len, size_t max_columns, size_t *columns);

/* Copies a text of a peer's into `out`, escaped and cut to fit, NUL-terminated. */
void terminal_copy(char *out, size_t out_size, const char *text, size_t len);

/*
 * Appends the gist of a JSON object: the scalars in it as key=value, in their order, without its
 * kind. Strings stay escaped as JSON has them. 0 or -ENOMEM.
 */
_must_check_ int gist_append(
	struct buf *out, const uint8_t *payload, size_t len, size_t max_columns);
