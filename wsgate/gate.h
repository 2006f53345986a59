/*
 * Gate: the process as one object: its listeners, who is connected, what was counted.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/base/buf.h"
#include "proto/base/daemon.h"
#include "proto/base/journal.h"
#include "proto/ws/ws_server.h"
#include "wsgate/config.h"

enum { TOKEN_HASH_BYTES = 32 };

struct counters {
#define COUNTER(name, help) uint64_t name;
#include "wsgate/counters.def"
#undef COUNTER
};

struct session;
struct query;

struct gate {
	struct daemon *daemon;
	const struct config *config;
	struct ws_context *ws;
	struct ws_server *runtime; /* backends */
	struct ws_server *status;  /* health and metrics; NULL: not served */
	bool needs_token;
	uint8_t token_hash[TOKEN_HASH_BYTES];

	struct session *sessions;
	struct query *queries;
	struct counters counters;
	struct buf scratch;               /* of the session that is building frames right now */
	struct journal_limit tail_log;    /* lines about eventlogd */
	struct journal_limit refusal_log; /* lines about unauthorized requests */
	bool stopping;
};

/*
 * Who waits for an answer from eventlogd before an exchange can be answered: the owner of the
 * exchange.
 */
struct asker {
	void (*on_gone)(struct asker *asker); /* the exchange is no more */
};

/*
 * Opens everything but the listeners. `token` may be NULL. 0 or -errno, told to the journal.
 */
_must_check_ int gate_open(struct gate *gate, struct daemon *daemon, const struct config *config,
	const char *token, size_t token_len);

/* Serves on these descriptors, which are taken; status_fd may be -1. 0 or -errno, told. */
_must_check_ int gate_listen(struct gate *gate, int runtime_fd, int status_fd);

/* Says goodbye to everybody; daemon_quit() follows when all are gone. */
void gate_stop(struct gate *gate);

/* Whoever goes calls this: when stopping, the last one ends the daemon. */
void gate_left(struct gate *gate);

/* After the loop has ended. */
void gate_close(struct gate *gate);
void gate_free(struct gate *gate);
