/* proto/runtime_batch: what is written is read back; anything else is refused with a reason. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/runtime_batch.h"

static const struct cursor c1 = {0x0badcafe, 1, 41}, c2 = {0x0badcafe, 2, 42};
#define C1 "wo_0badcafe0001_0000000000000029"
#define C2 "wo_0badcafe0002_000000000000002a"

static struct runtime_event make_event(const char *worker, const char *payload)
{
	struct runtime_event event = {
		.cursor = c1,
		.ts_ms = 1700000000123,
		.payload = (const uint8_t *)payload,
		.payload_len = strlen(payload),
	};
	assert_true(id_set(&event.worker_id, worker, strlen(worker)));
	return event;
}

static void every_kind_comes_back_in_order(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf = {0};
	struct runtime_batch_writer writer;
	struct runtime_event event = make_event("w:1", "{\"a\":1}");
	event.has_source_ts = true;
	event.source_ts_ms = -7;
	struct diagnostic_details details = DIAGNOSTIC_NO_DETAILS;
	details.from = C1;
	details.to = C2;
	struct hello hello = {30, 0, C1, C2};
	runtime_batch_begin(&writer, &buf);
	assert_true(runtime_batch_is_empty(&writer));
	runtime_batch_add_hello(&writer, &hello);
	runtime_batch_add_event(&writer, &event);
	runtime_batch_add_diagnostic(&writer, DIAGNOSTIC_RUNTIME_CORRUPT, &details);
	runtime_batch_add_caught_up(&writer, &c1);
	runtime_batch_add_bookmark(&writer, &c2);
	assert_int_equal(runtime_batch_end(&writer), 0);

	struct runtime_batch_reader reader;
	struct runtime_item item;
	const char *why;
	assert_int_equal(runtime_batch_reader_init(&reader), 0);
	assert_int_equal(runtime_batch_open(&reader, buf.data, buf.len, &why), 0);
	assert_int_equal(runtime_batch_next(&reader, &item, &why), RUNTIME_BATCH_OK);
	assert_int_equal(item.kind, RUNTIME_HELLO);
	assert_int_equal(item.hello.heartbeat_s, 30);
	assert_int_equal(item.hello.max_lifetime_s, 0);
	assert_true(item.hello.has_newest);
	assert_memory_equal(&item.hello.newest.sequence, &c2.sequence, sizeof(c2.sequence));
	assert_int_equal(runtime_batch_next(&reader, &item, &why), RUNTIME_BATCH_OK);
	assert_int_equal(item.kind, RUNTIME_EVENT);
	assert_string_equal(item.event.worker_id.text, "w:1");
	assert_int_equal(item.event.cursor.sequence, 41);
	assert_int_equal(item.event.ts_ms, 1700000000123);
	assert_true(item.event.has_source_ts);
	assert_int_equal(item.event.source_ts_ms, -7);
	assert_int_equal(item.event.payload_len, 7);
	assert_memory_equal(item.event.payload, "{\"a\":1}", 7);
	assert_int_equal(runtime_batch_next(&reader, &item, &why), RUNTIME_BATCH_OK);
	assert_int_equal(item.kind, RUNTIME_DIAGNOSTIC);
	assert_int_equal(item.diagnostic.diagnostic, DIAGNOSTIC_RUNTIME_CORRUPT);
	assert_string_equal(item.diagnostic.code, "runtime.corrupt");
	assert_false(item.diagnostic.final);
	assert_true(item.diagnostic.has_from && item.diagnostic.has_to);
	assert_false(item.diagnostic.has_oldest);
	assert_int_equal(item.diagnostic.to.epoch, 2);
	assert_int_equal(item.diagnostic.retry_after_ms, -1);
	assert_int_equal(runtime_batch_next(&reader, &item, &why), RUNTIME_BATCH_OK);
	assert_int_equal(item.kind, RUNTIME_CAUGHT_UP);
	assert_int_equal(item.cursor.sequence, 41);
	assert_int_equal(runtime_batch_next(&reader, &item, &why), RUNTIME_BATCH_OK);
	assert_int_equal(item.kind, RUNTIME_BOOKMARK);
	assert_int_equal(item.cursor.sequence, 42);
	assert_int_equal(runtime_batch_next(&reader, &item, &why), RUNTIME_BATCH_END);
	runtime_batch_reader_free(&reader);
}

static void batch_is_bounded_in_items_and_bytes(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf = {0};
	struct runtime_batch_writer writer;
	struct runtime_event event = make_event("w", "{}");
	runtime_batch_begin(&writer, &buf);
	assert_false(runtime_batch_is_full(&writer, EVENT_BYTES_MAX)); /* alone, it may be large */
	unsigned int items = 0;
	for (; !runtime_batch_is_full(&writer, 2); items++)
		runtime_batch_add_event(&writer, &event);
	assert_int_equal(items, RUNTIME_BATCH_ITEMS_MAX);
	assert_int_equal(runtime_batch_end(&writer), 0);
	assert_true(buf.len < RUNTIME_BATCH_BYTES);
	buf.len = 0;
	runtime_batch_begin(&writer, &buf);
	runtime_batch_add_event(&writer, &event);
	assert_true(runtime_batch_is_full(&writer, RUNTIME_BATCH_BYTES));
}

static void writer_without_room_leaves_the_buffer_as_it_was(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf;
	struct runtime_batch_writer writer;
	struct runtime_event event = make_event("w", "{}");
	buf_init(&buf, 64);
	assert_int_equal(buf_append_str(&buf, "before"), 0);
	runtime_batch_begin(&writer, &buf);
	runtime_batch_add_event(&writer, &event);
	assert_int_equal(runtime_batch_end(&writer), -EMSGSIZE);
	assert_int_equal(buf.len, strlen("before"));
}

/* What the reader says of one message: the reason why it is refused, or NULL. */
static const char *refusal(const void *bytes, size_t len)
{
	struct runtime_batch_reader reader;
	struct runtime_item item;
	const char *why = NULL;
	assert_int_equal(runtime_batch_reader_init(&reader), 0);
	int r = runtime_batch_open(&reader, bytes, len, &why);
	while (r == RUNTIME_BATCH_OK)
		r = runtime_batch_next(&reader, &item, &why);
	runtime_batch_reader_free(&reader);
	assert_true(r == RUNTIME_BATCH_END || r == RUNTIME_BATCH_MALFORMED);
	return r == RUNTIME_BATCH_MALFORMED ? why : NULL;
}

#define REFUSAL(text) refusal(text, sizeof(text) - 1)

static void malformed_messages_are_refused_with_a_reason(void **state)
{
	(void)state;
	assert_string_equal(REFUSAL(""), "msgpack ends early");
	assert_string_equal(
		REFUSAL("\xdd\xff\xff\xff\xff"), "msgpack announces more than there is");
	assert_string_equal(REFUSAL("\x91\x91\x91\x91\x91\x90"), "msgpack nested too deeply");
	assert_string_equal(REFUSAL("\x80"), "batch is not an array");
	assert_string_equal(REFUSAL("\x91\xc0"), "item without a kind");
	assert_string_equal(REFUSAL("\x91\x81\xa4kind\x01"), "item without a kind");
	assert_string_equal(REFUSAL("\x91\x81\xa4kind\xa5"
				    "event"),
		"item without its body");
	assert_string_equal(REFUSAL("\x91\x82\xa4kind\xa5"
				    "event\xa8"
				    "envelope\x80"),
		"event without cursor and id");
	assert_string_equal(REFUSAL("\x91\x82\xa4kind\xa8"
				    "bookmark\xa6"
				    "cursor\xa3"
				    "bo_"),
		"position without a cursor");
	assert_string_equal(REFUSAL("\x91\x82\xa4kind\xaa"
				    "diagnostic\xaa"
				    "diagnostic\x80"),
		"diagnostic without a code");
	assert_string_equal(REFUSAL("\x90\x90"), "bytes left over behind the message");
}

static void unknown_kinds_and_members_are_ignored(void **state)
{
	(void)state;
	assert_null(REFUSAL("\x90"));
	assert_null(REFUSAL("\x91\x81\xa4kind\xa7weather"));
	assert_null(REFUSAL("\x91\x83\xa4kind\xa8"
			    "bookmark\xa6"
			    "cursor\xd9\x20" C1 "\xa3new\xc3"));
}

/* Every single byte of a good message changed: never a crash, and never a changed identity. */
static void damaged_messages_never_make_a_wrong_event(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf = {0};
	struct runtime_batch_writer writer;
	struct runtime_event event = make_event("w:1", "{\"a\":1}");
	runtime_batch_begin(&writer, &buf);
	runtime_batch_add_event(&writer, &event);
	assert_int_equal(runtime_batch_end(&writer), 0);
	for (size_t i = 0; i < buf.len; i++) {
		for (unsigned int bit = 0; bit < 8; bit++) {
			buf.data[i] ^= (uint8_t)(1u << bit);
			(void)refusal(buf.data, buf.len);
			buf.data[i] ^= (uint8_t)(1u << bit);
		}
		assert_non_null(refusal(buf.data, i)); /* cut off */
	}
	/* Cursor and id stand twice: a change of one of them is noticed. */
	uint8_t *first = memmem(buf.data, buf.len, C1, strlen(C1));
	first[strlen(C1) - 1] = '8';
	assert_string_equal(refusal(buf.data, buf.len), "event's id is not its cursor");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_comes_back_in_order),
		cmocka_unit_test(batch_is_bounded_in_items_and_bytes),
		cmocka_unit_test(writer_without_room_leaves_the_buffer_as_it_was),
		cmocka_unit_test(malformed_messages_are_refused_with_a_reason),
		cmocka_unit_test(unknown_kinds_and_members_are_ignored),
		cmocka_unit_test(damaged_messages_never_make_a_wrong_event),
	};
	return cmocka_run_group_tests_name("runtime_batch", tests, NULL, NULL);
}
