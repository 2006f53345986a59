/* proto/message, proto/msgpack_check: what may come in a frame, and what it may cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/bytes.h"
#include "proto/limits.h"
#include "proto/message.h"
#include "proto/msgpack_check.h"

static struct message_decoder decoder;

static int setup(void **state)
{
	(void)state;
	return message_decoder_init(&decoder);
}

static int teardown(void **state)
{
	(void)state;
	message_decoder_free(&decoder);
	return 0;
}

static int decode(enum message_sender sender, const void *body, size_t len, const char **why)
{
	struct message message;
	return message_decode(&decoder, sender, body, len, &message, why);
}

static void round_trip(void **state)
{
	(void)state;
	struct buf frame = {0};
	struct message_writer writer;
	message_begin(&writer, &frame, MESSAGE_ACK);
	write_u64(&writer, 7);
	write_u64(&writer, UINT64_MAX);
	write_nil(&writer);
	write_u64(&writer, 0);
	write_text(&writer, "written");
	assert_int_equal(message_end(&writer), 0);
	assert_int_equal(get_le32(frame.data) + 4, frame.len);

	struct message message;
	const char *why;
	assert_int_equal(message_decode(&decoder, FROM_PUBLISH, frame.data + 4, frame.len - 4,
				 &message, &why),
		MESSAGE_OK);
	uint64_t number;
	const char *text;
	size_t len;
	assert_int_equal(message.type, MESSAGE_ACK);
	assert_true(field_u64(&message.field[1], &number));
	assert_true(number == UINT64_MAX);
	assert_true(field_is_nil(&message.field[2]));
	assert_true(field_text(&message.field[4], &text, &len, NAME_BYTES_MAX));
	assert_memory_equal(text, "written", len);
	buf_free(&frame);
}

static void wrong_direction_type_and_arity_are_malformed(void **state)
{
	(void)state;
	static const uint8_t position[] = {0x93, 6, 1, 0xa1, 'w'};
	static const uint8_t unknown[] = {0x91, 99};
	static const uint8_t short_position[] = {0x92, 6, 1};
	static const uint8_t no_type[] = {0x90};
	static const uint8_t text_type[] = {0x91, 0xa1, 'x'};
	static const uint8_t map[] = {0x80};
	const char *why;
	assert_int_equal(decode(FROM_WORKER, position, sizeof(position), &why), MESSAGE_OK);
	assert_int_equal(decode(FROM_READER, position, sizeof(position), &why), MESSAGE_MALFORMED);
	assert_int_equal(decode(FROM_WORKER, unknown, sizeof(unknown), &why), MESSAGE_MALFORMED);
	assert_int_equal(decode(FROM_WORKER, short_position, sizeof(short_position), &why),
		MESSAGE_MALFORMED);
	assert_int_equal(decode(FROM_WORKER, no_type, sizeof(no_type), &why), MESSAGE_MALFORMED);
	assert_int_equal(
		decode(FROM_WORKER, text_type, sizeof(text_type), &why), MESSAGE_MALFORMED);
	assert_int_equal(decode(FROM_WORKER, map, sizeof(map), &why), MESSAGE_MALFORMED);
}

static void announced_counts_are_held_against_the_bytes(void **state)
{
	(void)state;
	/* "five bytes can make it reserve 8 GiB": array 32 of 2^28 elements */
	static const uint8_t array_bomb[] = {0xdd, 0x10, 0, 0, 0};
	static const uint8_t map_bomb[] = {0xdf, 0xff, 0xff, 0xff, 0xff, 0xc0};
	static const uint8_t str_bomb[] = {0xdb, 0xff, 0xff, 0xff, 0xff, 'x'};
	static const uint8_t cut[] = {0xcf, 0, 0};
	static const uint8_t extension[] = {0xd4, 1, 1};
	static const uint8_t left_over[] = {0xc0, 0xc0};
	const struct {
		const uint8_t *bytes;
		size_t len;
	} cases[] = {
		{array_bomb, sizeof(array_bomb)},
		{map_bomb, sizeof(map_bomb)},
		{str_bomb, sizeof(str_bomb)},
		{cut, sizeof(cut)},
		{extension, sizeof(extension)},
		{left_over, sizeof(left_over)},
		{cut, 0},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *why = NULL;
		assert_int_equal(msgpack_check(cases[i].bytes, cases[i].len, 8, 1000, &why),
			MSGPACK_CHECK_MALFORMED);
		assert_non_null(why);
	}
}

static void depth_and_elements_are_bounded(void **state)
{
	(void)state;
	uint8_t nested[10];
	memset(nested, 0x91, sizeof(nested) - 1);
	nested[sizeof(nested) - 1] = 0xc0;
	const char *why;
	assert_int_equal(msgpack_check(nested, sizeof(nested), 9, 1000, &why), MSGPACK_CHECK_OK);
	assert_int_equal(
		msgpack_check(nested, sizeof(nested), 8, 1000, &why), MSGPACK_CHECK_MALFORMED);

	uint8_t wide[3 + 1000];
	memset(wide, 0xc0, sizeof(wide));
	wide[0] = 0xdc;
	wide[1] = 1000 >> 8;
	wide[2] = 1000 & 0xff;
	assert_int_equal(msgpack_check(wide, sizeof(wide), 8, 1000, &why), MSGPACK_CHECK_OK);
	assert_int_equal(msgpack_check(wide, sizeof(wide), 8, 999, &why), MSGPACK_CHECK_MALFORMED);
}

static void texts_with_nul_or_bad_utf8_are_refused(void **state)
{
	(void)state;
	static const uint8_t with_nul[] = {0x92, 19, 0xa2, 'a', 0};
	static const uint8_t bad_utf8[] = {0x92, 19, 0xa2, 0xc0, 0x80};
	const uint8_t *cases[] = {with_nul, bad_utf8};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct message message;
		const char *why, *text;
		size_t len;
		assert_int_equal(message_decode(&decoder, FROM_TAIL, cases[i], sizeof(with_nul),
					 &message, &why),
			MESSAGE_OK);
		assert_false(field_text(&message.field[0], &text, &len, NAME_BYTES_MAX));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(wrong_direction_type_and_arity_are_malformed),
		cmocka_unit_test(announced_counts_are_held_against_the_bytes),
		cmocka_unit_test(depth_and_elements_are_bounded),
		cmocka_unit_test(texts_with_nul_or_bad_utf8_are_refused),
	};
	return cmocka_run_group_tests_name("message", tests, setup, teardown);
}
