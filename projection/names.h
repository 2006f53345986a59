/*
 * Member names that rules mention, as small numbers, so that a key is looked up once and compared
 * no more.
 *
 * Filled while a policy is compiled and constant afterwards: names are the operator's, so a key of
 * an event can collide with few of them, whatever it is.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"

enum {
	NAME_UNKNOWN = 0,
	NAME_EVENT, /* these three are always there */
	NAME_DATA,
	NAME_TYPE,
	NAMES_MAX = UINT16_MAX,
};

struct names {
	char **text; /* by number */
	size_t *len;
	size_t count, allocated;
	uint16_t *slot; /* numbers, by hash; 0: free */
	size_t slot_count;
	size_t longest; /* bytes */
};

_must_check_ int names_init(struct names *names);
void names_free(struct names *names);

/* The number of a name, which it gets if it has none. 0, -ENOMEM, or -E2BIG. */
_must_check_ int names_add(struct names *names, const char *text, uint16_t *number);

/* NAME_UNKNOWN if no rule mentions it. */
uint16_t names_find(const struct names *names, const uint8_t *text, size_t len);
