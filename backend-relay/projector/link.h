/*
 * Link: one connection to projection, from connect() through HELLO and WELCOME to its end.
 *
 * Frames are decoded here; the owner sees answers only, and none before WELCOME. Whatever does not
 * belong there ends the link: on_end tells why, once, and link_close() is all that is left to do.
 *
 * Bounds: link_has_room() says no when 4 MiB wait to be sent; what was begun may still be finished.
 *
 * Lifecycle. link_open(), link_close(); after that it calls nobody, and frees itself from the loop.
 * Both may be called from within the callbacks.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "proto/base/attributes.h"
#include "proto/base/buf.h"
#include "proto/message.h"

struct link;

struct link_handler {
	/* WELCOME is here: requests may be sent. */
	void (*on_up)(void *owner);
	/* Any other message, borrowed until return. NULL, or why it ends the link. */
	const char *(*on_answer)(void *owner, const struct message *message);
	/* There is room again. */
	void (*on_drained)(void *owner);
	void (*on_end)(void *owner, const char *why);
};

/* Callbacks come from the loop. 0, or -errno of connecting or -ENOMEM. */
_must_check_ int link_open(struct link **out, uv_loop_t *loop, const char *socket_path,
	const struct link_handler *handler, void *owner);
void link_close(struct link *link); /* accepts NULL */

/* Queues whole frames. False without memory. */
_must_check_ bool link_send(struct link *link, const struct buf *frames);
/* After false, on_drained will come. */
bool link_has_room(struct link *link);
