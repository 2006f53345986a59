/*
 * What projector.c, pass.c and authorization.c share. Nobody else includes this.
 */
#pragma once

#include <sys/queue.h>

#include "backend-relay/backoff.h"
#include "backend-relay/projector/authorization.h"
#include "backend-relay/projector/blame.h"
#include "backend-relay/projector/open_state.h"
#include "backend-relay/projector/pass.h"
#include "backend-relay/projector/projector.h"
#include "proto/ids.h"
#include "proto/message.h"

enum {
	BATCH_EVENTS = 512,       /* in one PROJECT */
	BATCH_BYTES = 256 * 1024, /* the same; one larger event goes alone */
	PASS_ITEMS_MAX = 8192,
};

struct pass_item {
	struct source_item source; /* first: its slot is the ring's */
	bool warm;
	bool withheld; /* ended projection DEATHS_MAX times: needs no verdict any more */
};

enum pass_state {
	PASS_CLOSED,  /* projection has no such pass: not connected, or not asked yet */
	PASS_OPENING, /* OPEN_PASS is under way */
	PASS_OPEN,
	PASS_OVER, /* denied, changed or lost: only closing is left */
};

struct pass {
	struct projector *projector;
	const struct pass_handler *handler;
	void *owner;
	struct id role, runtime_id, worker_id;

	enum pass_state state;
	uint64_t pass_id; /* a new one for every OPEN_PASS */
	bool is_known;    /* projection has it under pass_id */
	bool was_opened, has_start, was_full, troubled, in_callback;
	uint8_t view[VIEW_DIGEST_BYTES];

	/* Submitted and not come out yet. An item's index is its ticket. */
	struct ring items;
	uint64_t sent;        /* tickets before this one are under way */
	uint64_t suspect_end; /* tickets before this one were under way at a death */
	uint64_t held_until_ns;
	struct backoff hold;

	struct open_state open; /* behind the last answer */

	TAILQ_ENTRY(pass) link;
};
TAILQ_HEAD(pass_list, pass);

struct authorization {
	struct projector *projector;
	struct request *request; /* once it was sent */
	void (*on_verdict)(void *owner, enum authorization_verdict verdict);
	void *owner;
	struct id role, runtime_id;
	struct id worker_id; /* empty: the runtime as a whole */
	char operation[32];
	TAILQ_ENTRY(authorization) link; /* until it is sent */
};

enum request_kind { REQUEST_OPEN_PASS, REQUEST_PROJECT, REQUEST_AUTHORIZE };

struct request {
	enum request_kind kind;
	struct pass *pass; /* NULL once the pass was closed */
	struct authorization *authorization;
	uint64_t id;     /* pass_id or request_id */
	uint32_t count;  /* events */
	bool alone;      /* nothing else was under way when it was sent */
	bool is_suspect; /* and no event goes behind it */
	TAILQ_ENTRY(request) link;
};
TAILQ_HEAD(request_list, request);

/* "allow" or "deny"; false for anything else. */
bool projector_read_verdict(const msgpack_object *field, bool *allow);

/* ---- projector.c, for passes ---- */
void projector_add_pass(struct projector *projector, struct pass *pass);
void projector_remove_pass(struct projector *projector, struct pass *pass);
void projector_pump_soon(struct projector *projector);
/* Where a pass begins to count: tickets of one pass fit no other, whatever its answers are. */
uint64_t projector_first_ticket(struct projector *projector);
struct projector_counters *projector_count(struct projector *projector);
const struct projector_config *projector_config(const struct projector *projector);
struct blame *projector_blame(struct projector *projector);

/* ---- projector.c, for authorizations ---- */
void projector_add_authorization(struct projector *projector, struct authorization *authorization);
void projector_remove_authorization(
	struct projector *projector, struct authorization *authorization);

/* ---- authorization.c, for the projector ---- */
_must_check_ int authorization_write(
	const struct authorization *authorization, uint64_t request_id, struct buf *out);
/* Tells its owner and frees it. */
void authorization_end(struct authorization *authorization, enum authorization_verdict verdict);

/* ---- pass.c, for the projector ---- */

/* Whether there is an event to send: any, or only suspect ones. */
bool pass_wants_to_send(const struct pass *pass, uint64_t now_ns);
bool pass_is_suspect(const struct pass *pass, uint64_t now_ns);
/*
 * Appends a PROJECT of at most max_events events. The number of events, or -errno.
 */
int pass_write_project(struct pass *pass, struct buf *out, uint32_t max_events);

/* Answers. False when they don't fit what was asked: the connection is then useless. */
bool pass_on_projection_opened(struct pass *pass, const struct message *message);
bool pass_on_projection_verdicts(
	struct pass *pass, const struct request *request, const struct message *message);
/* The one event that was under way when the connection went was this pass's oldest. */
void pass_blame_first(struct pass *pass, uint64_t now_ns);
/* The connection is gone. */
void pass_on_projection_gone(struct pass *pass, uint64_t now_ns);
