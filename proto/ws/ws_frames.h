/*
 * WebSocket frames of a server, framed once and sent to any number of peers.
 *
 * A run of whole frames, back to back, in memory that is counted by reference. A message longer
 * than WS_FRAGMENT_BYTES becomes several fragments, so that control frames (ping, pong, close)
 * find a place between them and every write is made of whole frames. Unmasked, no extensions: RFC
 * 6455 section 5.2.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "proto/base/attributes.h"

enum {
	WS_WRITE_BYTES = 64 * 1024,              /* one write to the socket, at most */
	WS_FRAME_HEAD_BYTES_MAX = 4,             /* of an unmasked frame of that size */
	WS_FRAGMENT_BYTES = WS_WRITE_BYTES - 16, /* payload of one frame, at most */
};

enum ws_message_type { WS_TEXT = 1, WS_BINARY = 2 }; /* the opcodes */

struct ws_frames;

/*
 * An empty run with one reference. Of one message its length is told, and it gets that much memory
 * and no more; 0: it grows with what is added. NULL: no memory.
 */
struct ws_frames *ws_frames_new(size_t message_bytes);
struct ws_frames *ws_frames_ref(struct ws_frames *frames);
void ws_frames_unref(struct ws_frames *frames); /* accepts NULL */

/*
 * Appends one message, its payload in pieces. Only while there is one reference. 0 or -ENOMEM
 * (nothing appended).
 */
_must_check_ int ws_frames_add(struct ws_frames *frames, enum ws_message_type type,
	const struct iovec *pieces, size_t count);
_must_check_ int ws_frames_add_message(
	struct ws_frames *frames, enum ws_message_type type, const void *bytes, size_t len);

size_t ws_frames_bytes(const struct ws_frames *frames);
const uint8_t *ws_frames_data(const struct ws_frames *frames);

/*
 * The length of the longest prefix of whole frames that is not over `max`; 0 when not even the
 * first fits. `bytes` must be frames as ws_frames_add() makes them.
 */
size_t ws_frames_prefix(const uint8_t *bytes, size_t len, size_t max);

static inline void ws_frames_unref_at(struct ws_frames **frames)
{
	ws_frames_unref(*frames);
}
#define _cleanup_ws_frames_ _cleanup_(ws_frames_unref_at)
