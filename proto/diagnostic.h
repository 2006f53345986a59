/*
 * Diagnostics: the typed word for each way that a stream can end or break.
 *
 * The table is diagnostics.def; this gives it types. `retry` is what the peer may do after a final
 * one, and tells how soon for the others.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"

struct buf;

enum diagnostic {
#define DIAGNOSTIC(NAME, code, final, retry, close_code, message) DIAGNOSTIC_##NAME,
#include "proto/diagnostics.def"
#undef DIAGNOSTIC
	DIAGNOSTIC_COUNT,
};

enum diagnostic_finality { DIAGNOSTIC_GOES_ON, DIAGNOSTIC_MAYBE, DIAGNOSTIC_FINAL };

enum diagnostic_retry {
	DIAGNOSTIC_NO_RETRY,
	DIAGNOSTIC_NOW,
	DIAGNOSTIC_LATER,
	DIAGNOSTIC_FROM_KEYFRAME,
	DIAGNOSTIC_NEVER,
};

struct diagnostic_row {
	const char *code; /* "runtime.cursor_unknown" */
	enum diagnostic_finality finality;
	enum diagnostic_retry retry;
	uint16_t close_code; /* WebSocket close code after a final one; 0: never final */
	const char *message;
};

const struct diagnostic_row *diagnostic_row(enum diagnostic diagnostic);

/* By its code; DIAGNOSTIC_COUNT when there is none. */
enum diagnostic diagnostic_by_code(const char *code, size_t len);

/* "now", "later", "from_keyframe", "never"; NULL for DIAGNOSTIC_NO_RETRY. */
const char *diagnostic_retry_name(enum diagnostic_retry retry);

/* What a diagnostic says besides its row. Leave out what is NULL or negative. */
struct diagnostic_details {
	const char *oldest;     /* cursor */
	const char *from, *to;  /* cursors of a range's ends */
	const char *cursor;     /* of the one event that is meant */
	int64_t behind;         /* events or sequences; -1: not known */
	int64_t retry_after_ms; /* -1: not said */
	bool final;             /* for rows whose finality is MAYBE */
};

#define DIAGNOSTIC_NO_DETAILS ((struct diagnostic_details){.behind = -1, .retry_after_ms = -1})

/* Whether it ends the session, given the details. */
bool diagnostic_is_final(enum diagnostic diagnostic, const struct diagnostic_details *details);

/* Appends {"kind":"diagnostic","diagnostic":{…}} as JSON. 0 or -errno of the buffer. */
_must_check_ int diagnostic_write_json(
	struct buf *buf, enum diagnostic diagnostic, const struct diagnostic_details *details);
