/*
 * Audit: who saw what, as structured lines of the journal.
 *
 *	AUDIT=begin       SESSION PEER SUBJECT ROLE RUNTIME_ID WORKER_ID
 *	AUDIT=end         the same, and CODE DURATION_MS DELIVERED REDACTED DENIED WITHHELD
 *	AUDIT=sum         SUBJECT ROLE RUNTIME_ID WORKER_ID BEGUN ENDED DELIVERED REDACTED DENIED
 *	                  WITHHELD
 *	AUDIT=refused     PEER SUBJECT ROLE RUNTIME_ID WORKER_ID CODE
 *	AUDIT=unwritten   COUNT
 *
 * What is not known is "-". Of names that a stranger chose only those are written that belong to
 * something of ours or have the form of an id; never a payload, a token, or a cursor.
 *
 * Whoever can't come in can still come again and again: refusals are written AUDIT_REFUSALS_MAX
 * in AUDIT_INTERVAL_S, and the others counted, in a line of their own as soon as there is room.
 * Whoever may come in can come and go all the time: sessions of one subject beyond what its bucket
 * holds (audit_tally.h) have no lines of their own, and are added up in a line every
 * AUDIT_INTERVAL_S.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backend-relay/audit_tally.h"
#include "proto/base/journal.h"

enum {
	AUDIT_REFUSALS_MAX = 1000,
	AUDIT_INTERVAL_S = 10,
	AUDIT_SESSION_BYTES = 16, /* of its text, without the NUL */
};

struct audit {
	struct journal_limit refusals;
	struct audit_tally tally;
};

/* NULL: not known. */
struct audit_subject {
	const char *peer, *subject, *role, *runtime_id, *worker_id;
};

struct audit_session {
	char id[AUDIT_SESSION_BYTES + 1]; /* random: joins the begin with its end */
	bool is_summed;                   /* it has no lines of its own */
	uint64_t begin_ns;                /* monotonic */
	struct audit_counts counts;
};

void audit_init(struct audit *audit);

/* Fills the session. */
void audit_begin(struct audit *audit, struct audit_session *session,
	const struct audit_subject *subject, uint64_t now_ns);
/* `code`: of the last diagnostic; NULL when the client left. */
void audit_end(struct audit *audit, const struct audit_session *session,
	const struct audit_subject *subject, const char *code, uint64_t now_ns);

void audit_refused(struct audit *audit, const struct audit_subject *subject, const char *code,
	uint64_t now_ns);

/* Time has passed: tells of what was not written one by one. */
void audit_tick(struct audit *audit, uint64_t now_ns);
/* The same, for the end of the process. */
void audit_flush(struct audit *audit);
