/*
 * The events that a load publishes: a file of JSON lines, held in memory and taken over and over.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"

struct corpus_event {
	const uint8_t *bytes;
	uint32_t len;
};

struct corpus {
	uint8_t *bytes;
	struct corpus_event *events;
	size_t count;
};

_must_check_ int corpus_load(struct corpus *corpus, const char *path); /* 0 or -errno */
void corpus_free(struct corpus *corpus);

static inline const struct corpus_event *corpus_get(const struct corpus *corpus, uint64_t number)
{
	return &corpus->events[number % corpus->count];
}
