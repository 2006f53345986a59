/*
 * Tail: a connection to eventlogd's tail socket, for one subscription or one question.
 *
 * Greets by itself; on_ready tells that WELCOME has come. Every answer has a deadline of
 * TAIL_ANSWER_TIMEOUT_MS; one that does not come, or bytes that are not the protocol, end the
 * connection. tail_pause() stops reading: the kernel's buffer fills and eventlogd stops reading
 * the log for it.
 *
 * Lifecycle. tail_open(); callbacks; on_end at most once; tail_close() in any case, and the memory
 * until on_closed. Every function may be called from within the callbacks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/channel.h"
#include "proto/cursor.h"
#include "proto/message.h"

enum { TAIL_ANSWER_TIMEOUT_MS = 10000, TAIL_EPOCHS_MAX = 32, TAIL_CODE_BYTES = 64 };

struct tail;

/* What STATUS_REPLY says, as far as wsgate needs it; `map` has the rest. */
struct tail_status {
	uint32_t log;    /* as in a cursor */
	uint16_t epoch;  /* of what is written now */
	uint64_t newest; /* sequence */
	struct cursor oldest_cursor, newest_cursor;
	bool has_position;
	struct cursor position; /* everything of the subscription up to here has been received */
	struct {
		uint16_t epoch;
		uint64_t first;
	} epochs[TAIL_EPOCHS_MAX]; /* newest first */
	uint32_t epoch_count;
	const msgpack_object *map; /* borrowed until return */
};

/* The cursor of a sequence of this log, by the epochs that the status names. */
struct cursor tail_cursor_of(const struct tail_status *status, uint64_t sequence);

enum tail_gap { TAIL_GAP_CORRUPT, TAIL_GAP_PRUNED };

struct tail_handler {
	void (*on_ready)(struct tail *tail);
	void (*on_status)(struct tail *tail, const struct tail_status *status);
	/* `map` is WORKERS_REPLY's, borrowed until return. */
	void (*on_workers)(struct tail *tail, const msgpack_object *map);
	void (*on_subscribed)(struct tail *tail, uint64_t start);
	/* Whole records back to back, unverified; borrowed until return. */
	void (*on_records)(struct tail *tail, const uint8_t *bytes, size_t len);
	void (*on_gap)(struct tail *tail, uint64_t first, uint64_t last, enum tail_gap gap);
	void (*on_caught_up)(struct tail *tail, uint64_t sequence);
	/* ERROR. `oldest` is set (has_oldest) with cursor_expired and overrun. */
	void (*on_error)(
		struct tail *tail, const char *code, bool has_oldest, const struct cursor *oldest);
	/* `why` for the log; static or borrowed until return. */
	void (*on_end)(struct tail *tail, const char *why);
};

struct tail {
	struct channel channel;
	const struct tail_handler *handler;
	void *owner;
	/* private */
	struct message_decoder decoder;
	struct buf out;
	uv_timer_t deadline;
	unsigned int answers_awaited, handles_open;
	bool greeted, ended, closing;
	void (*on_closed)(struct tail *tail);
};

/* 0, or the -errno of connecting (nothing to close then). */
_must_check_ int tail_open(struct tail *tail, uv_loop_t *loop, const char *path,
	const struct tail_handler *handler, void *owner);

/* Requests. Trouble ends the connection (on_end, from the loop). */
void tail_ask_status(struct tail *tail);
void tail_ask_workers(struct tail *tail, const char *after, size_t after_len, uint64_t limit);

struct tail_start {
	enum tail_from {
		TAIL_FROM_CURSOR,
		TAIL_FROM_KEYFRAME,
		TAIL_FROM_OLDEST,
		TAIL_FROM_NEWEST
	} from;
	struct cursor cursor;
};
/* `worker_id` NULL: all workers. Follows. */
void tail_subscribe(struct tail *tail, const char *worker_id, const struct tail_start *start);

void tail_pause(struct tail *tail);
void tail_resume(struct tail *tail);

void tail_close(struct tail *tail, void (*on_closed)(struct tail *tail));
