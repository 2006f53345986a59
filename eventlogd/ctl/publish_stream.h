/*
 * Publishing one stream of lines as one worker's events until it is all acknowledged.
 *
 * Asks POSITION first and goes on behind what the log has; keeps batches in flight without waiting
 * for each reply; waits, visibly, while there is no room and while eventlogd is away, and sends
 * again what had no answer (eventlogd skips what it has). Each line takes a number, so that the
 * number of an event is that of its line; blank and skipped lines take theirs as nil.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/limits.h"

enum publish_source_type {
	PUBLISH_FILE,   /* read from its beginning; lines that the log has are skipped */
	PUBLISH_PIPE,   /* the same, but can't be read again */
	PUBLISH_LISTEN, /* connections to a socket; each line is new */
};

struct publish_source {
	enum publish_source_type type;
	const char *name; /* for messages; the socket's path for PUBLISH_LISTEN */
	int fd;           /* borrowed; -1 for PUBLISH_LISTEN */
	uint64_t total_bytes;
	const char *worker_id;
	char producer_id[NAME_BYTES_MAX + 1];
};

struct publish_options {
	const char *socket;
	bool skip_invalid;
	bool no_progress;
};

struct publish_totals {
	uint64_t published, already_there, refused;
};

enum publish_result {
	PUBLISH_DONE = 0,
	PUBLISH_FAILED = 1,  /* told on stderr */
	PUBLISH_RESTART = 2, /* the log lost acknowledged events: read the file again */
};

_must_check_ enum publish_result publish_stream_run(const struct publish_options *options,
	const struct publish_source *source, struct publish_totals *totals);
