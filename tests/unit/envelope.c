/* proto/envelope: the exact text of each frame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/buf.h"
#include "proto/envelope.h"

#define C1 "wo_0badcafe0001_0000000000000001"
#define C2 "wo_0badcafe0001_0000000000000002"

static void expect_text(struct buf *buf, const char *expected)
{
	assert_int_equal(buf->len, strlen(expected));
	assert_memory_equal(buf->data, expected, buf->len);
	buf->len = 0;
}

static void event_has_its_members_in_order_and_the_payload_last(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf = {0};
	struct envelope envelope = {
		.cursor = C1, .event_id = C1, .worker_id = "w:1", .ts_ms = 1700000000123};
	assert_int_equal(envelope_write_event_head(&buf, &envelope), 0);
	expect_text(&buf, "{\"kind\":\"event\",\"envelope\":{\"cursor\":\"" C1
			  "\",\"event_id\":\"" C1 "\",\"worker_id\":\"w:1\","
			  "\"ts_ms\":1700000000123,\"payload\":");
	envelope.runtime_id = "rt-1";
	envelope.has_source_ts = true;
	envelope.source_ts_ms = -5;
	assert_int_equal(envelope_write_event_head(&buf, &envelope), 0);
	expect_text(&buf, "{\"kind\":\"event\",\"envelope\":{\"runtime_id\":\"rt-1\","
			  "\"cursor\":\"" C1 "\",\"event_id\":\"" C1
			  "\",\"worker_id\":\"w:1\",\"ts_ms\":1700000000123,"
			  "\"source_ts_ms\":-5,\"payload\":");
}

static void hello_leaves_out_what_is_not_there(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf = {0};
	struct hello hello = {.heartbeat_s = 30};
	assert_int_equal(envelope_write_hello(&buf, &hello), 0);
	expect_text(&buf, "{\"kind\":\"hello\",\"hello\":{\"heartbeat_s\":30}}");
	hello = (struct hello){30, 3600, C1, C2};
	assert_int_equal(envelope_write_hello(&buf, &hello), 0);
	expect_text(&buf, "{\"kind\":\"hello\",\"hello\":{\"heartbeat_s\":30,"
			  "\"max_lifetime_s\":3600,\"oldest\":\"" C1 "\",\"newest\":\"" C2 "\"}}");
}

static void positions_name_their_cursor(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf = {0};
	assert_int_equal(envelope_write_caught_up(&buf, C1), 0);
	expect_text(&buf, "{\"kind\":\"caught_up\",\"cursor\":\"" C1 "\"}");
	assert_int_equal(envelope_write_bookmark(&buf, C2), 0);
	expect_text(&buf, "{\"kind\":\"bookmark\",\"cursor\":\"" C2 "\"}");
}

static void full_buffer_is_left_as_it_was(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf;
	buf_init(&buf, 100);
	assert_int_equal(buf_append_str(&buf, "before"), 0);
	struct envelope envelope = {.cursor = C1, .event_id = C1, .worker_id = "w"};
	assert_true(envelope_write_event_head(&buf, &envelope) < 0);
	expect_text(&buf, "before");
}

static void milliseconds_go_towards_the_past(void **state)
{
	(void)state;
	assert_int_equal(envelope_ms(1999999), 1);
	assert_int_equal(envelope_ms(0), 0);
	assert_int_equal(envelope_ms(-1), -1);
	assert_int_equal(envelope_ms(-1000000), -1);
	assert_int_equal(envelope_ms(INT64_MIN), INT64_MIN / 1000000 - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(event_has_its_members_in_order_and_the_payload_last),
		cmocka_unit_test(hello_leaves_out_what_is_not_there),
		cmocka_unit_test(positions_name_their_cursor),
		cmocka_unit_test(full_buffer_is_left_as_it_was),
		cmocka_unit_test(milliseconds_go_towards_the_past),
	};
	return cmocka_run_group_tests_name("envelope", tests, NULL, NULL);
}
