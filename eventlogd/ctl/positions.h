/*
 * Positions: the cursor of any sequence of a log, by what STATUS_REPLY said of it.
 *
 * Epochs begin when eventlogd starts, so what one connection was told stays true as long as it
 * lasts, also of what is written meanwhile.
 */
#pragma once

#include <msgpack.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/cursor.h"

#define POSITIONS_EPOCHS_MAX 32u /* as many as STATUS_REPLY tells */

struct positions {
	struct cursor oldest; /* everything that is retained stands behind it */
	struct cursor newest;
	uint16_t epoch; /* of what is written now */
	uint32_t epoch_count;
	struct {
		uint16_t epoch;
		uint64_t first_seq;
	} epochs[POSITIONS_EPOCHS_MAX]; /* newest first */
};

/* Takes the map of STATUS_REPLY. False when that is malformed. */
_must_check_ bool positions_read(struct positions *positions, const msgpack_object *map);

/* False when nothing has been told of it: before the oldest, or in an epoch of long ago. */
_must_check_ bool positions_cursor(
	const struct positions *positions, uint64_t sequence, struct cursor *out);
