/* proto/record: what goes in comes out; what was touched never does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/crc32c.h"
#include "proto/record.h"

enum { SALT = 0x12345678, OFFSET = 4096, BYTES_MAX = 1024 };

static struct record example(void)
{
	return (struct record){
		.sequence = 0x0102030405060708,
		.time_ns = 1700000000000000000,
		.source_time_ns = -1,
		.producer = 0x1122334455667788,
		.producer_seq = 9,
		.owner_uid = 1000,
		.epoch = 3,
		.flags = RECORD_KEYFRAME | RECORD_HAS_SOURCE_TIME | RECORD_HAS_PRODUCER,
		.worker = "worker:1",
		.worker_len = 8,
		.kind = "snapshot",
		.kind_len = 8,
		.payload = (const uint8_t *)"{\"event\":\"snapshot\"}",
		.payload_len = 20,
	};
}

static size_t encode(const struct record *record, uint8_t *out)
{
	record_encode(record, out);
	record_place(out, SALT, OFFSET, record->sequence - 5);
	return record_size(record);
}

static void a_record_comes_back_as_it_was(void **state)
{
	(void)state;
	struct record in = example(), out;
	uint8_t bytes[BYTES_MAX];
	size_t len = encode(&in, bytes), size;
	assert_int_equal(len % RECORD_ALIGNMENT, 0);
	assert_int_equal(record_decode(bytes, len, &out, &size), RECORD_OK);
	assert_int_equal(size, len);
	assert_int_equal(out.sequence, in.sequence);
	assert_int_equal(out.time_ns, in.time_ns);
	assert_int_equal(out.source_time_ns, in.source_time_ns);
	assert_int_equal(out.producer, in.producer);
	assert_int_equal(out.producer_seq, in.producer_seq);
	assert_int_equal(out.owner_uid, in.owner_uid);
	assert_int_equal(out.epoch, in.epoch);
	assert_int_equal(out.flags, in.flags);
	assert_int_equal(out.durable_lag, 5);
	assert_int_equal(out.worker_len, in.worker_len);
	assert_memory_equal(out.worker, in.worker, in.worker_len);
	assert_int_equal(out.kind_len, in.kind_len);
	assert_memory_equal(out.kind, in.kind, in.kind_len);
	assert_int_equal(out.payload_len, in.payload_len);
	assert_memory_equal(out.payload, in.payload, in.payload_len);
}

static void the_parts_that_are_optional_cost_nothing_when_absent(void **state)
{
	(void)state;
	struct record in = example(), out;
	size_t full = record_size(&in), size;
	in.flags = 0;
	assert_int_equal(record_size(&in), full - 24);
	uint8_t bytes[BYTES_MAX];
	size_t len = encode(&in, bytes);
	assert_int_equal(record_decode(bytes, len, &out, &size), RECORD_OK);
	assert_memory_equal(out.payload, in.payload, in.payload_len);
	assert_int_equal(out.producer_seq, 0);
}

static void the_layout_is_the_one_that_is_written_down(void **state)
{
	(void)state;
	struct record in = {.sequence = 2,
		.time_ns = 3,
		.owner_uid = 4,
		.epoch = 5,
		.worker = "w",
		.worker_len = 1,
		.kind = "k",
		.kind_len = 1,
		.payload = (const uint8_t *)"{}",
		.payload_len = 2};
	uint8_t bytes[BYTES_MAX];
	size_t len = encode(&in, bytes);
	assert_int_equal(len, 56);
	assert_int_equal(get_le32(bytes), 53);
	assert_int_equal(get_le32(bytes + 12), SALT);
	assert_int_equal(get_le32(bytes + 16), OFFSET);
	assert_int_equal(get_le64(bytes + 24), 2);
	assert_int_equal(get_le64(bytes + 32), 3);
	assert_int_equal(get_le32(bytes + 40), 4);
	assert_int_equal(get_le16(bytes + 44), 5);
	assert_int_equal(bytes[46], 0);
	assert_int_equal(bytes[47], 1);
	assert_memory_equal(bytes + 48, "w\1k{}\0\0\0", 8);
	assert_int_equal(get_le32(bytes + 8), crc32c(bytes + 48, 8));
}

static void every_flipped_bit_is_seen(void **state)
{
	(void)state;
	struct record in = example(), out;
	uint8_t bytes[BYTES_MAX];
	size_t len = encode(&in, bytes), size;
	for (size_t bit = 0; bit < len * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_not_equal(record_decode(bytes, len, &out, &size), RECORD_OK);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(record_decode(bytes, len, &out, &size), RECORD_OK);
}

static void less_than_a_record_is_none(void **state)
{
	(void)state;
	struct record in = example(), out;
	uint8_t bytes[BYTES_MAX];
	size_t len = encode(&in, bytes), size;
	for (size_t n = 0; n < len; n++) {
		uint8_t *exact = malloc(n + 1);
		assert_non_null(exact);
		memcpy(exact, bytes, n);
		assert_int_equal(record_decode(exact, n, &out, &size),
			n < RECORD_HEADER_BYTES ? RECORD_INVALID : RECORD_TRUNCATED);
		free(exact);
	}
}

static void a_record_elsewhere_is_not_in_its_place(void **state)
{
	(void)state;
	struct record in = example();
	uint8_t bytes[BYTES_MAX];
	size_t len = encode(&in, bytes), size;
	assert_int_equal(record_check_place(bytes, len, SALT, OFFSET, &size), RECORD_OK);
	assert_int_equal(record_check_place(bytes, len, SALT + 1, OFFSET, &size), RECORD_INVALID);
	assert_int_equal(record_check_place(bytes, len, SALT, OFFSET + 8, &size), RECORD_INVALID);
}

static void moving_a_record_leaves_its_body_check(void **state)
{
	(void)state;
	struct record in = example(), out;
	uint8_t bytes[BYTES_MAX];
	size_t len = encode(&in, bytes), size;
	uint32_t body_check = get_le32(bytes + RECORD_BODY_CHECK_AT);
	record_place(bytes, 7, 8192, in.sequence);
	assert_int_equal(get_le32(bytes + RECORD_BODY_CHECK_AT), body_check);
	assert_int_equal(record_decode(bytes, len, &out, &size), RECORD_OK);
	assert_int_equal(record_check_place(bytes, len, 7, 8192, &size), RECORD_OK);
}

static void the_lag_stops_at_its_maximum(void **state)
{
	(void)state;
	struct record in = example(), out;
	uint8_t bytes[BYTES_MAX];
	size_t len = encode(&in, bytes), size;
	record_place(bytes, SALT, OFFSET, 0);
	assert_int_equal(record_decode(bytes, len, &out, &size), RECORD_OK);
	assert_int_equal(out.durable_lag, RECORD_LAG_MAX);
}

static void a_producer_is_its_name_and_its_uid(void **state)
{
	(void)state;
	assert_int_equal(record_producer(1, "a", 1), record_producer(1, "a", 1));
	assert_int_not_equal(record_producer(1, "a", 1), record_producer(2, "a", 1));
	assert_int_not_equal(record_producer(1, "a", 1), record_producer(1, "b", 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_comes_back_as_it_was),
		cmocka_unit_test(the_parts_that_are_optional_cost_nothing_when_absent),
		cmocka_unit_test(the_layout_is_the_one_that_is_written_down),
		cmocka_unit_test(every_flipped_bit_is_seen),
		cmocka_unit_test(less_than_a_record_is_none),
		cmocka_unit_test(a_record_elsewhere_is_not_in_its_place),
		cmocka_unit_test(moving_a_record_leaves_its_body_check),
		cmocka_unit_test(the_lag_stops_at_its_maximum),
		cmocka_unit_test(a_producer_is_its_name_and_its_uid),
	};
	return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
