/*
 * Worker and runtime ids: 1 to 128 bytes of [A-Za-z0-9_.:-], chosen by strangers. Not "." and "..":
 * an id is a segment of a URL's path, and browsers and proxies resolve these two, however encoded.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "proto/limits.h"

bool id_is_valid(const char *bytes, size_t len);

/* An id as a C string, for tables keyed by it. */
struct id {
	char text[ID_BYTES_MAX + 1];
};

/* Copies a valid id; false (and an empty text) for anything else. */
bool id_set(struct id *id, const char *bytes, size_t len);

/*
 * Whether a glob matches: `*` any run of characters, `?` exactly one character
 * of UTF-8; nothing else is special.
 * O(length of pattern x length of text) at worst.
 */
bool glob_matches(const char *pattern, size_t pattern_len, const char *text, size_t text_len);
