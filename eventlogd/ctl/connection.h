/*
 * A connection from eventlogctl to one of eventlogd's sockets: HELLO, WELCOME, then messages.
 *
 * When it is lost the owner hears on_lost; unless the owner then calls connection_stop(), it is
 * made again, at first after 100 ms and later every two seconds, and on_welcome comes again. A
 * connection that could never be made is lost in the same way, with `ever_welcomed` false.
 *
 * Where eventlogd has as many connections as it takes, a further one waits in the socket's backlog
 * without an answer, or finds that full (EAGAIN); and one that is greeting while eventlogd stops or
 * dies is closed. All of that is waited for, CONNECTION_WAIT_MS at most.
 *
 * Lifecycle: connection_init, connection_start, callbacks from the loop, connection_stop; the
 * loop runs until its handles are closed, then connection_free.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "proto/channel.h"
#include "proto/message.h"

struct connection;

enum {
	CONNECTION_WAIT_MS = 10000,
	CONNECTION_WAIT_IS_TOLD_MS = 1000,
	CONNECTION_REASON_BYTES = 256,
};

struct connection_handler {
	/* The map of WELCOME; borrowed until return. */
	void (*on_welcome)(struct connection *connection, const msgpack_object *map);
	void (*on_message)(struct connection *connection, const struct message *message);
	void (*on_drained)(struct connection *connection); /* may be NULL */
	/* No answer yet, and why; it goes on being waited for. Once an attempt. */
	void (*on_wait)(struct connection *connection, const char *why);
	/* `why` is for people. */
	void (*on_lost)(struct connection *connection, const char *why);
};

struct connection {
	const struct connection_handler *handler;
	void *owner;
	bool ever_welcomed;
	bool welcomed; /* messages may be sent */

	/* private */
	uv_loop_t *loop;
	const char *path, *name;
	enum message_sender peer;
	struct channel channel;
	struct message_decoder decoder;
	uv_timer_t retry, wait;
	uint64_t retry_ms;
	uint64_t waiting_since_ms; /* 0: not waiting for WELCOME */
	char wait_reason[CONNECTION_REASON_BYTES];
	bool channel_is_open, channel_is_closing, stopping, wait_is_told;
	bool ever_connected;
};

/* `path` and `name` (told in HELLO) are borrowed. `peer`: FROM_PUBLISH or FROM_TAIL. 0 or -errno.
 */
_must_check_ int connection_init(struct connection *connection, uv_loop_t *loop, const char *path,
	const char *name, enum message_sender peer, const struct connection_handler *handler,
	void *owner);
void connection_start(struct connection *connection);
/* Sends complete frames, as channel_send() does. */
_must_check_ int connection_send(struct connection *connection, const struct buf *frames);
/* No more callbacks. Unsent bytes are dropped. */
void connection_stop(struct connection *connection);
void connection_free(struct connection *connection);
