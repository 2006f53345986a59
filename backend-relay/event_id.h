/*
 * The id of an event towards clients: `be_` and a keyed BLAKE2b of the stream and the event's
 * place in its log.
 *
 * The same event has the same id for every client at every relay with the same key, for ever:
 * clients de-duplicate by it. It does not tell the place in the log. The key is not rotated with
 * the cursors' keys.
 */
#pragma once

#include <stdint.h>

#include "proto/cursor.h"

enum { EVENT_ID_KEY_BYTES = 32, EVENT_ID_TEXT_BYTES = 25 /* without the NUL */ };

struct event_id_key {
	uint8_t bytes[EVENT_ID_KEY_BYTES];
};

/* Writes EVENT_ID_TEXT_BYTES characters and a NUL. */
void event_id_format(const struct event_id_key *key, const char *runtime_id, const char *worker_id,
	const struct cursor *position, char out[EVENT_ID_TEXT_BYTES + 1]);
