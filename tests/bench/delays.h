/*
 * Delays of one measurement, kept one by one, so that a quantile is exact.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"

struct delays {
	uint64_t *ns;
	size_t count, allocated;
};

_must_check_ int delays_init(struct delays *delays, size_t most); /* 0 or -ENOMEM */
void delays_free(struct delays *delays);
/* More than `most` are not kept. */
void delays_add(struct delays *delays, uint64_t ns);
/* Prints "p50_us":…,"p99_us":…,"p999_us":…,"max_us":… to stdout. */
void delays_print(struct delays *delays);
/* The same, with a prefix before each name. */
void delays_print_as(struct delays *delays, const char *prefix);
