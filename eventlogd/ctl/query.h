/*
 * Asking eventlogd's tail socket a few questions, one after the other.
 */
#pragma once

#include <stdbool.h>

#include "proto/base/buf.h"
#include "proto/message.h"

struct query {
	const char *who; /* "eventlogctl status", for messages and HELLO */
	const char *socket;
	void *owner;
	/* Appends the next request. 0, QUERY_DONE, or -ENOMEM. */
	int (*write_request)(void *owner, struct buf *out);
	/* The map of the reply. False when it can't be understood. */
	bool (*on_reply)(void *owner, const msgpack_object *map);
	enum message_type reply_type;
};

enum { QUERY_DONE = 1 };

/* The exit code; failures are told on stderr. */
int query_run(const struct query *query);
