/*
 * What one line of input says: the seam between the stream that publishes and the two forms of
 * lines, plain events (`publish`) and an exported log (`import`).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/ctl/lines.h"
#include "proto/base/attributes.h"

enum publish_line_type {
	PUBLISH_LINE_EVENT = 0,   /* an event, or a number that stores nothing */
	PUBLISH_LINE_NOTHING = 1, /* neither event nor number */
	PUBLISH_LINE_REFUSED = 2, /* `code` and `reason`; `number` may be set, as for an event */
};

struct publish_line {
	const char *worker_id;  /* borrowed until return; NULL: the source's only one */
	uint64_t number;        /* in its worker's count; 0: as the source numbers lines */
	const uint8_t *payload; /* borrowed until return; NULL: none */
	size_t payload_len;
	bool has_source_time;
	int64_t source_time_ns;
	const char *code;
	char reason[160];
};

/* Reads one line; the limit is eventlogd's. An enum publish_line_type or -ENOMEM. */
typedef int (*publish_line_fn)(
	void *owner, const struct line *line, uint64_t max_event_bytes, struct publish_line *out);

/* A line that is one event, or blank and none. Leaves the number to the caller. */
_must_check_ int plain_line_read(
	void *owner, const struct line *line, uint64_t max_event_bytes, struct publish_line *out);
