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
}

void audit_begin(
	struct audit_session *session, const struct audit_subject *subject, uint64_t now_ns)
{
	uint8_t random[AUDIT_SESSION_BYTES / 2];
	*session = (struct audit_session){.begin_ns = now_ns};
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

void audit_end(const struct audit_session *session, const struct audit_subject *subject,
	const char *code, uint64_t now_ns)
{
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
}
