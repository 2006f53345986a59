/* eventlogd: reading PUBLISH, the order of replies, who owns a worker id, quotas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eventlogd/ownership.h"
#include "eventlogd/publish_batch.h"
#include "eventlogd/quota.h"
#include "eventlogd/reply_queue.h"
#include "proto/base/bytes.h"
#include "proto/base/clock.h"
#include "proto/limits.h"

enum { MAX_EVENT_BYTES = 64 * 1024 };

struct fixture {
	struct publish_batch batch;
	struct message_decoder decoder;
	struct buf frame;
	struct publish_refusal refusal;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	assert_int_equal(publish_batch_init(&f->batch), 0);
	assert_int_equal(message_decoder_init(&f->decoder), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	publish_batch_free(&f->batch);
	message_decoder_free(&f->decoder);
	buf_free(&f->frame);
	free(f);
	return 0;
}

static int read_back(struct fixture *f)
{
	struct message message;
	const char *why;
	int r = message_decode(
		&f->decoder, FROM_WORKER, f->frame.data + 4, f->frame.len - 4, &message, &why);
	assert_int_equal(r, MESSAGE_OK);
	return publish_batch_read(&f->batch, &message, MAX_EVENT_BYTES, &f->refusal);
}

/* One PUBLISH of these payloads (NULL: nil) as worker `worker`, numbered from 7. */
static int publish(struct fixture *f, const char *worker, const char *const *payloads, size_t count)
{
	struct message_writer w;
	buf_reset(&f->frame, 0);
	message_begin(&w, &f->frame, MESSAGE_PUBLISH);
	write_u64(&w, 3);
	write_text(&w, worker);
	write_u64(&w, 7);
	write_array(&w, (uint32_t)count);
	for (size_t i = 0; i < count; i++) {
		write_array(&w, 2);
		write_i64(&w, -5);
		if (payloads[i] == NULL)
			write_nil(&w);
		else
			write_bin(&w, payloads[i], strlen(payloads[i]));
	}
	assert_int_equal(message_end(&w), 0);
	return read_back(f);
}

static int publish_one(struct fixture *f, const char *payload)
{
	return publish(f, "w", &payload, 1);
}

static void good_batch_is_read_with_kinds_times_and_keyframes(void **state)
{
	struct fixture *f = *state;
	const char *payloads[] = {
		"{\"event\":\"snapshot\"}", NULL, "{\"type\":\"a\\u0062\"}", "{}"};
	assert_int_equal(publish(f, "build-7", payloads, 4), PUBLISH_BATCH_OK);
	const struct event_log_batch *batch = &f->batch.batch;
	assert_int_equal(f->batch.request_id, 3);
	assert_int_equal(batch->event_count, 4);
	assert_true(batch->has_producer_seq);
	assert_int_equal(batch->producer_seq, 7);
	assert_memory_equal(batch->worker, "build-7", batch->worker_len);
	assert_true(batch->events[0].is_keyframe);
	assert_true(batch->events[0].has_source_time);
	assert_int_equal(batch->events[0].source_time_ns, -5);
	assert_null(batch->events[1].payload);
	assert_int_equal(batch->events[2].kind_len, 2);
	assert_memory_equal(batch->events[2].kind, "ab", 2);
	assert_false(batch->events[2].is_keyframe);
	assert_int_equal(batch->events[3].kind_len, 0);
	assert_int_equal(f->batch.payload_bytes,
		strlen(payloads[0]) + strlen(payloads[2]) + strlen(payloads[3]));
}

static void first_bad_event_refuses_the_batch_by_its_index(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *payload, *code;
	} cases[] = {
		{"{", "invalid_json"},
		{"", "invalid_json"},
		{"{\"a\":\"\xff\"}", "invalid_json"},
		{"[]", "not_an_object"},
		{"1", "not_an_object"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *payloads[] = {"{}", cases[i].payload, "{"};
		assert_int_equal(publish(f, "w", payloads, 3), PUBLISH_BATCH_REFUSED);
		assert_string_equal(f->refusal.code, cases[i].code);
		assert_true(f->refusal.has_index);
		assert_int_equal(f->refusal.index, 1);
	}
}

static void event_over_the_limit_is_too_large_and_at_the_limit_is_not(void **state)
{
	struct fixture *f = *state;
	char *payload = malloc(MAX_EVENT_BYTES + 2);
	assert_non_null(payload);
	for (size_t len = MAX_EVENT_BYTES; len <= MAX_EVENT_BYTES + 1; len++) {
		memset(payload, ' ', len);
		memcpy(payload, "{}", 2);
		payload[len] = '\0';
		bool fits = len == MAX_EVENT_BYTES;
		assert_int_equal(
			publish_one(f, payload), fits ? PUBLISH_BATCH_OK : PUBLISH_BATCH_REFUSED);
		if (!fits)
			assert_string_equal(f->refusal.code, "event_too_large");
	}
	free(payload);
}

static void worker_ids_that_cannot_be_are_refused(void **state)
{
	struct fixture *f = *state;
	char longest[ID_BYTES_MAX + 2];
	memset(longest, 'x', sizeof(longest));
	longest[ID_BYTES_MAX + 1] = '\0';
	const char *const ids[] = {"", "a/b", "a b", "ü", longest};
	const char *payload = "{}";
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		assert_int_equal(publish(f, ids[i], &payload, 1), PUBLISH_BATCH_REFUSED);
		assert_string_equal(f->refusal.code, "worker_id_invalid");
		assert_false(f->refusal.has_index);
	}
	longest[ID_BYTES_MAX] = '\0';
	assert_int_equal(publish(f, longest, &payload, 1), PUBLISH_BATCH_OK);
}

static void batch_of_too_many_events_is_refused(void **state)
{
	struct fixture *f = *state;
	const char *payloads[BATCH_EVENTS_MAX + 1];
	for (size_t i = 0; i < ARRAY_SIZE(payloads); i++)
		payloads[i] = "{}";
	assert_int_equal(publish(f, "w", payloads, BATCH_EVENTS_MAX), PUBLISH_BATCH_OK);
	assert_int_equal(publish(f, "w", payloads, BATCH_EVENTS_MAX + 1), PUBLISH_BATCH_REFUSED);
	assert_string_equal(f->refusal.code, "batch_too_large");
}

static void frame_of_the_wrong_shape_is_malformed(void **state)
{
	struct fixture *f = *state;
	struct message_writer w;
	for (int fault = 0; fault < 5; fault++) {
		buf_reset(&f->frame, 0);
		message_begin(&w, &f->frame, MESSAGE_PUBLISH);
		if (fault == 0)
			write_text(&w, "3");
		else
			write_u64(&w, 3);
		write_text(&w, "w");
		write_u64(&w, fault == 1 ? 0 : 1);
		if (fault == 2) {
			write_nil(&w);
		} else {
			write_array(&w, 1);
			write_array(&w, fault == 3 ? 1 : 2);
			if (fault != 3)
				write_nil(&w);
			if (fault == 4)
				write_u64(&w, 1);
			else
				write_text(&w, "{}");
		}
		assert_int_equal(message_end(&w), 0);
		assert_int_equal(read_back(f), PUBLISH_BATCH_MALFORMED);
	}
}

static size_t count_frames(const struct buf *out)
{
	size_t count = 0;
	for (size_t at = 0; at < out->len; count++)
		at += 4 + get_le32(out->data + at);
	return count;
}

static void push_ack(struct reply_queue *queue, uint64_t request_id, uint64_t ticket)
{
	struct reply reply = {.type = REPLY_ACK, .request_id = request_id};
	reply.ack.ticket = ticket;
	reply.ack.first_seq = reply.ack.last_seq = ticket;
	assert_int_equal(reply_queue_push(queue, &reply), 0);
}

static void replies_wait_for_those_before_them(void **state)
{
	struct reply_queue queue = {0};
	struct buf out = {0};
	(void)state;
	push_ack(&queue, 1, 10);
	struct reply nack = {.type = REPLY_NACK, .request_id = 2};
	nack.nack.code = "no_space";
	assert_int_equal(reply_queue_push(&queue, &nack), 0);
	push_ack(&queue, 3, 11);
	assert_int_equal(reply_queue_write_due(&queue, 9, "written", 4096, &out), 0);
	assert_int_equal(out.len, 0);
	assert_int_equal(reply_queue_write_due(&queue, 10, "written", 4096, &out), 0);
	assert_int_equal(count_frames(&out), 2);
	assert_int_equal(queue.count, 1);
	assert_int_equal(queue.waiting_acks, 1);
	assert_int_equal(reply_queue_write_due(&queue, 11, "written", 4096, &out), 0);
	assert_int_equal(count_frames(&out), 3);
	assert_int_equal(queue.count, 0);
	buf_free(&out);
	reply_queue_free(&queue);
}

static void replies_keep_their_order_around_the_ring_and_its_growth(void **state)
{
	struct reply_queue queue = {0};
	struct buf out = {0};
	uint64_t pushed = 0, written = 0;
	(void)state;
	while (pushed < 3 * REPLIES_MAX) {
		while (!reply_queue_is_full(&queue))
			push_ack(&queue, pushed + 1, pushed + 1), pushed++;
		written += REPLIES_MAX / 2;
		buf_reset(&out, 0);
		assert_int_equal(
			reply_queue_write_due(&queue, written, "synced", SIZE_MAX, &out), 0);
		assert_int_equal(count_frames(&out), REPLIES_MAX / 2);
		assert_int_equal(queue.count, REPLIES_MAX / 2);
	}
	buf_free(&out);
	reply_queue_free(&queue);
}

static void dropped_tickets_become_refusals(void **state)
{
	struct reply_queue queue = {0};
	struct buf out = {0};
	(void)state;
	push_ack(&queue, 1, 5);
	push_ack(&queue, 2, 6);
	reply_queue_refuse_above(&queue, 5, "no_space", "full");
	assert_int_equal(queue.waiting_acks, 1);
	assert_int_equal(reply_queue_write_due(&queue, 5, "written", 4096, &out), 0);
	assert_int_equal(count_frames(&out), 2);
	assert_non_null(memmem(out.data, out.len, "no_space", 8));
	buf_free(&out);
	reply_queue_free(&queue);
}

static void worker_belongs_to_its_first_user_and_root_takes_nothing_away(void **state)
{
	(void)state;
	uid_t owner;
	struct ownership_question q = {.worker = "w", .worker_len = 1, .peer = 1000};
	assert_true(ownership_allows(NULL, 0, &q, &owner));
	assert_int_equal(owner, 1000);
	q.has_owner = true;
	q.owner = 1000;
	assert_true(ownership_allows(NULL, 0, &q, &owner));
	q.peer = 1001;
	assert_false(ownership_allows(NULL, 0, &q, &owner));
	q.peer = 0;
	assert_true(ownership_allows(NULL, 0, &q, &owner));
	assert_int_equal(owner, 1000);
}

static void configured_globs_decide_before_history(void **state)
{
	(void)state;
	static char glob[] = "build-*";
	const struct publisher_rule rules[] = {{glob, 1000}, {glob, 1001}};
	uid_t owner;
	struct ownership_question q = {
		.worker = "build-7", .worker_len = 7, .peer = 1001, .has_owner = true, .owner = 7};
	assert_true(ownership_allows(rules, 2, &q, &owner));
	assert_int_equal(owner, 1001);
	q.peer = 7; /* who used it before the rule came */
	assert_false(ownership_allows(rules, 2, &q, &owner));
	q.peer = 0;
	assert_true(ownership_allows(rules, 2, &q, &owner));
	assert_int_equal(owner, 1000);
	q.worker = "other";
	q.worker_len = 5;
	q.peer = 7;
	assert_true(ownership_allows(rules, 2, &q, &owner));
}

static void bucket_fills_with_time_and_not_by_coming_back(void **state)
{
	(void)state;
	struct quotas quotas = {.connections = 2, .bytes_per_second = 1000, .bytes_at_once = 1000};
	struct quota_user *user, *second, *third;
	uint64_t now = 5 * NS_PER_S;
	assert_int_equal(quota_connect(&quotas, 1000, now, &user), QUOTA_OK);
	assert_true(quota_take_bytes(&quotas, user, 1000, now));
	assert_false(quota_take_bytes(&quotas, user, 1, now));
	assert_true(quota_take_bytes(&quotas, user, 500, now + NS_PER_S / 2));
	quota_return_bytes(&quotas, user, 100);
	assert_true(quota_take_bytes(&quotas, user, 100, now + NS_PER_S / 2));
	quota_disconnect(user);
	assert_int_equal(quota_connect(&quotas, 1000, now, &user), QUOTA_OK);
	assert_false(quota_take_bytes(&quotas, user, 500, now + NS_PER_S / 2));
	assert_int_equal(quota_connect(&quotas, 1000, now, &second), QUOTA_OK);
	assert_int_equal(quota_connect(&quotas, 1000, now, &third), QUOTA_EXCEEDED);
	quotas_free(&quotas);
}

static void root_has_no_quota(void **state)
{
	(void)state;
	struct quotas quotas = {.connections = 1, .bytes_per_second = 1, .bytes_at_once = 1};
	struct quota_user *user;
	for (int i = 0; i < 3; i++)
		assert_int_equal(quota_connect(&quotas, 0, 0, &user), QUOTA_OK);
	assert_null(user);
	assert_true(quota_take_bytes(&quotas, user, UINT64_MAX, 0));
	quota_disconnect(user);
	quotas_free(&quotas);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(good_batch_is_read_with_kinds_times_and_keyframes),
		TEST(first_bad_event_refuses_the_batch_by_its_index),
		TEST(event_over_the_limit_is_too_large_and_at_the_limit_is_not),
		TEST(worker_ids_that_cannot_be_are_refused),
		TEST(batch_of_too_many_events_is_refused),
		TEST(frame_of_the_wrong_shape_is_malformed),
		cmocka_unit_test(replies_wait_for_those_before_them),
		cmocka_unit_test(replies_keep_their_order_around_the_ring_and_its_growth),
		cmocka_unit_test(dropped_tickets_become_refusals),
		cmocka_unit_test(worker_belongs_to_its_first_user_and_root_takes_nothing_away),
		cmocka_unit_test(configured_globs_decide_before_history),
		cmocka_unit_test(bucket_fills_with_time_and_not_by_coming_back),
		cmocka_unit_test(root_has_no_quota),
	};
	return cmocka_run_group_tests_name("eventlogd_publish", tests, NULL, NULL);
}
