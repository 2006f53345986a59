#include "backend-relay/audit.h"

#include <assert.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>

#include "proto/base/clock.h"

/* The longest line is that of an end. */
enum { FIELDS_MAX = 13, NUMBER_BYTES = 24 };

/* ---- a line: its fields, in the order in which they are put ---- */

struct line {
	struct journal_field fields[FIELDS_MAX + 1]; /* the last one stays empty */
	char numbers[FIELDS_MAX][NUMBER_BYTES];
	size_t count;
};

static const char *or_dash(const char *text)
{
	return text != NULL && text[0] != '\0' ? text : "-";
}

static void put_text(struct line *line, const char *name, const char *text)
{
	assert(line->count < FIELDS_MAX);
	line->fields[line->count++] = (struct journal_field){name, or_dash(text)};
}

static void put_number(struct line *line, const char *name, uint64_t number)
{
	assert(line->count < FIELDS_MAX);
	char *text = line->numbers[line->count];
	snprintf(text, NUMBER_BYTES, "%" PRIu64, number);
	put_text(line, name, text);
}

static void put_stream(struct line *line, const struct audit_subject *subject)
{
	put_text(line, "SUBJECT", subject->subject);
	put_text(line, "ROLE", subject->role);
	put_text(line, "RUNTIME_ID", subject->runtime_id);
	put_text(line, "WORKER_ID", subject->worker_id);
}

static void put_subject(struct line *line, const struct audit_subject *subject)
{
	put_text(line, "PEER", subject->peer);
	put_stream(line, subject);
}

static void put_counts(struct line *line, const struct audit_counts *counts)
{
	put_number(line, "DELIVERED", counts->delivered);
	put_number(line, "REDACTED", counts->redacted);
	put_number(line, "DENIED", counts->denied);
	put_number(line, "WITHHELD", counts->withheld);
}

/* ---- what there is to tell ---- */

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
	struct line line = {0};
	put_text(&line, "AUDIT", "begin");
	put_text(&line, "SESSION", session->id);
	put_subject(&line, subject);
	journal_fields(LOG_INFO, line.fields, "a session begins");
}

static void add_up(struct audit_sum *sum, const struct audit_session *session)
{
	sum->ended++;
	sum->counts.delivered += session->counts.delivered;
	sum->counts.redacted += session->counts.redacted;
	sum->counts.denied += session->counts.denied;
	sum->counts.withheld += session->counts.withheld;
}

void audit_end(struct audit *audit, const struct audit_session *session,
	const struct audit_subject *subject, const char *code, uint64_t now_ns)
{
	if (session->is_summed) {
		add_up(sum_of(audit, subject), session);
		return;
	}
	struct line line = {0};
	put_text(&line, "AUDIT", "end");
	put_text(&line, "SESSION", session->id);
	put_subject(&line, subject);
	put_text(&line, "CODE", code);
	put_number(&line, "DURATION_MS", (now_ns - session->begin_ns) / NS_PER_MS);
	put_counts(&line, &session->counts);
	journal_fields(
		LOG_INFO, line.fields, "a session ends: %s", code != NULL ? code : "it left");
}

static void tell_sum(const struct audit_sum *sum)
{
	const struct audit_subject subject = {
		.subject = sum->subject,
		.role = sum->role.text,
		.runtime_id = sum->runtime_id.text,
		.worker_id = sum->worker_id.text,
	};
	struct line line = {0};
	put_text(&line, "AUDIT", "sum");
	put_stream(&line, &subject);
	put_number(&line, "BEGUN", sum->begun);
	put_number(&line, "ENDED", sum->ended);
	put_counts(&line, &sum->counts);
	journal_fields(LOG_NOTICE, line.fields, "more sessions than are written one by one");
}

static void tell_unwritten(unsigned int count)
{
	if (count == 0)
		return;
	struct line line = {0};
	put_text(&line, "AUDIT", "unwritten");
	put_number(&line, "COUNT", count);
	journal_fields(LOG_NOTICE, line.fields, "%u more refusals were not written", count);
}

void audit_refused(
	struct audit *audit, const struct audit_subject *subject, const char *code, uint64_t now_ns)
{
	unsigned int suppressed;
	if (!journal_limit_pass(&audit->refusals, now_ns, &suppressed))
		return;
	tell_unwritten(suppressed);
	struct line line = {0};
	put_text(&line, "AUDIT", "refused");
	put_subject(&line, subject);
	put_text(&line, "CODE", code);
	journal_fields(LOG_NOTICE, line.fields, "a request is refused: %s", or_dash(code));
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
