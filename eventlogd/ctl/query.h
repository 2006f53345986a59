/*
 * Asking eventlogd's tail socket a few questions, one after the other: what `status`, `workers` and
 * `forget` do.
 */
#pragma once

#include <stdbool.h>

#include "eventlogd/ctl/verb.h"
#include "proto/base/buf.h"
#include "proto/message.h"

struct query {
	/* Appends the next request. 0, QUERY_DONE, or -ENOMEM. */
	int (*write_request)(void *owner, struct buf *out);
	/* The map of a …_REPLY. False when it can't be understood. */
	bool (*on_reply)(void *owner, enum message_type type, const msgpack_object *map);
};

enum { QUERY_DONE = 1 };

/* Every such verb has these two, and may have more behind them. */
struct query_options {
	const char *socket;
	bool json;
};

#define QUERY_OPTION_ROWS(type, member, json_help) \
	{"socket", 's', OPTION_TEXT, offsetof(type, member.socket), "PATH", \
		"eventlogd's tail socket (default: $" ENVIRONMENT_TAIL_SOCKET \
		",\nelse " DEFAULT_TAIL_SOCKET ").", \
		NULL}, \
	{ \
		"json", 'j', OPTION_FLAG, offsetof(type, member.json), NULL, json_help, NULL \
	}

/* The exit code; failures are told on stderr, in the verb's name. */
int query_run(const struct verb *verb, const struct query_options *options,
	const struct query *query, void *owner);
