#include "backend-relay/audit.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>

#include "proto/base/clock.h"

enum { NUMBER_BYTES = 24 };

static const char *or_dash(const char *text)
{
	return text != NULL && text[0] != '\0' ? text : "-";
}

static const char *number(uint64_t value, char out[NUMBER_BYTES])
{
	snprintf(out, NUMBER_BYTES, "%" PRIu64, value);
	return out;
}

void audit_init(struct audit *audit)
{
	*audit = (struct audit){
		.refusals = {.interval_ns = AUDIT_INTERVAL_S * NS_PER_S,
			.burst = AUDIT_REFUSALS_MAX},
	};
	audit_tally_init(&audit->tally);
}

static struct audit_sum *sum_of(struct audit *audit, const struct audit_subject *subject)
{
	return audit_tally_sum(&audit->tally, subject->subject, subject->role, subject->runtime_id,
		subject->worker_id);
}

/* Strangers have no name: each of their addresses is one. */
static const char *bucket_name(const struct audit_subject *subject)
{
	bool is_named = subject->subject != NULL && subject->subject[0] != '\0';
	return is_named ? subject->subject : or_dash(subject->peer);
}

void audit_begin(struct audit *audit, struct audit_session *session,
	const struct audit_subject *subject, uint64_t now_ns)
{
	uint8_t random[AUDIT_SESSION_BYTES / 2];
	*session = (struct audit_session){.begin_ns = now_ns};
	if (!audit_tally_has_room(&audit->tally, bucket_name(subject), now_ns)) {
		session->is_summed = true;
		sum_of(audit, subject)->begun++;
		return;
	}
	randombytes_buf(random, sizeof(random));
	sodium_bin2hex(session->id, sizeof(session->id), random, sizeof(random));
	const struct journal_field fields[] = {
		{"AUDIT", "begin"},
		{"SESSION", session->id},
		{"PEER", or_dash(subject->peer)},
		{"SUBJECT", or_dash(subject->subject)},
		{"ROLE", or_dash(subject->role)},
		{"RUNTIME_ID", or_dash(subject->runtime_id)},
		{"WORKER_ID", or_dash(subject->worker_id)},
		{NULL, NULL},
	};
	journal_fields(LOG_INFO, fields, "a session begins");
}

static void add_up(struct audit_sum *sum, const struct audit_session *session)
{
	sum->ended++;
	sum->delivered += session->delivered;
	sum->redacted += session->redacted;
	sum->denied += session->denied;
	sum->withheld += session->withheld;
}

void audit_end(struct audit *audit, const struct audit_session *session,
	const struct audit_subject *subject, const char *code, uint64_t now_ns)
{
	if (session->is_summed) {
		add_up(sum_of(audit, subject), session);
		return;
	}
	char duration[NUMBER_BYTES], delivered[NUMBER_BYTES], redacted[NUMBER_BYTES];
	char denied[NUMBER_BYTES], withheld[NUMBER_BYTES];
	const struct journal_field fields[] = {
		{"AUDIT", "end"},
		{"SESSION", session->id},
		{"PEER", or_dash(subject->peer)},
		{"SUBJECT", or_dash(subject->subject)},
		{"ROLE", or_dash(subject->role)},
		{"RUNTIME_ID", or_dash(subject->runtime_id)},
		{"WORKER_ID", or_dash(subject->worker_id)},
		{"CODE", or_dash(code)},
		{"DURATION_MS", number((now_ns - session->begin_ns) / NS_PER_MS, duration)},
		{"DELIVERED", number(session->delivered, delivered)},
		{"REDACTED", number(session->redacted, redacted)},
		{"DENIED", number(session->denied, denied)},
		{"WITHHELD", number(session->withheld, withheld)},
		{NULL, NULL},
	};
	journal_fields(LOG_INFO, fields, "a session ends: %s", code != NULL ? code : "it left");
}

static void tell_sum(const struct audit_sum *sum)
{
	char begun[NUMBER_BYTES], ended[NUMBER_BYTES], delivered[NUMBER_BYTES];
	char redacted[NUMBER_BYTES], denied[NUMBER_BYTES], withheld[NUMBER_BYTES];
	const struct journal_field fields[] = {
		{"AUDIT", "sum"},
		{"SUBJECT", or_dash(sum->subject)},
		{"ROLE", or_dash(sum->role.text)},
		{"RUNTIME_ID", or_dash(sum->runtime_id.text)},
		{"WORKER_ID", or_dash(sum->worker_id.text)},
		{"BEGUN", number(sum->begun, begun)},
		{"ENDED", number(sum->ended, ended)},
		{"DELIVERED", number(sum->delivered, delivered)},
		{"REDACTED", number(sum->redacted, redacted)},
		{"DENIED", number(sum->denied, denied)},
		{"WITHHELD", number(sum->withheld, withheld)},
		{NULL, NULL},
	};
	journal_fields(LOG_NOTICE, fields, "more sessions than are written one by one");
}

static void tell_unwritten(unsigned int count)
{
	char text[NUMBER_BYTES];
	const struct journal_field fields[] = {
		{"AUDIT", "unwritten"}, {"COUNT", number(count, text)}, {NULL, NULL}};
	if (count > 0)
		journal_fields(LOG_NOTICE, fields, "%u more refusals were not written", count);
}

void audit_refused(
	struct audit *audit, const struct audit_subject *subject, const char *code, uint64_t now_ns)
{
	unsigned int suppressed;
	if (!journal_limit_pass(&audit->refusals, now_ns, &suppressed))
		return;
	tell_unwritten(suppressed);
	const struct journal_field fields[] = {
		{"AUDIT", "refused"},
		{"PEER", or_dash(subject->peer)},
		{"SUBJECT", or_dash(subject->subject)},
		{"ROLE", or_dash(subject->role)},
		{"RUNTIME_ID", or_dash(subject->runtime_id)},
		{"WORKER_ID", or_dash(subject->worker_id)},
		{"CODE", or_dash(code)},
		{NULL, NULL},
	};
	journal_fields(LOG_NOTICE, fields, "a request is refused: %s", or_dash(code));
}

void audit_tick(struct audit *audit, uint64_t now_ns)
{
	unsigned int suppressed;
	if (audit->refusals.suppressed > 0 &&
		journal_limit_pass(&audit->refusals, now_ns, &suppressed))
		tell_unwritten(suppressed);
	if (now_ns - audit->tally.flushed_ns >= AUDIT_INTERVAL_S * NS_PER_S) {
		audit->tally.flushed_ns = now_ns;
		audit_tally_flush(&audit->tally, tell_sum);
	}
}

void audit_flush(struct audit *audit)
{
	tell_unwritten(audit->refusals.suppressed);
	audit->refusals.suppressed = 0;
	audit_tally_flush(&audit->tally, tell_sum);
}
