/* backend-relay/answer: a row of PROJECTED is right as a whole, or it is nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <msgpack.h>

#include "backend-relay/projector/answer.h"

#define ROW(bytes) bytes, sizeof(bytes) - 1

static const struct row {
	const char *bytes;
	size_t len;
	bool right, warm;
} rows[] = {
	/* [7, verdict, payload, open_since] */
	{ROW("\x94\x07\xa4pass\xc0\xc0"), true, false},
	{ROW("\x94\x07\xa4pass\xc0\x07"), true, false},
	{ROW("\x94\x07\xa4pass\xc0\x00"), true, true},
	{ROW("\x94\x07\xa7rewrite\xc4\x02{}\xc0"), true, false},
	{ROW("\x94\x07\xa7rewrite\xa2{}\xc0"), true, false},
	{ROW("\x94\x07\xa4"
	     "deny\xc0\xc0"),
		true, false},
	{ROW("\x94\x07\xa7refused\xc0\xc0"), true, false},
	{ROW("\x94\x07\xa7rewrite\xc0\xc0"), true, true}, /* a warm one gets no payload */
	{ROW("\x94\x07\xa7rewrite\xc4\x02{}\xc0"), false, true},
	{ROW("\x94\x07\xa7rewrite\xc0\xc0"), false, false},
	{ROW("\x94\x07\xa7rewrite\xc4\x02\xff\xfe\xc0"), false, false},
	{ROW("\x94\x07\xa7rewrite\x01\xc0"), false, false},
	{ROW("\x94\x07\xa4pass\xc4\x02{}\xc0"), false, false},
	{ROW("\x94\x07\xa7refused\xc4\x00\xc0"), false, false},
	{ROW("\x94\x07\xa4pass\xc0\x08"), false, false}, /* open since an event to come */
	{ROW("\x94\x07\xa4pass\xc0\xff"), false, false},
	{ROW("\x94\x07\xa4pass\xc0\xa1"
	     "7"),
		false, false},
	{ROW("\x94\xff\xa4pass\xc0\xc0"), false, false},
	{ROW("\x94\xc0\xa4pass\xc0\xc0"), false, false},
	{ROW("\x94\x07\xa5pass\0\xc0\xc0"), false, false},
	{ROW("\x94\x07\xa4PASS\xc0\xc0"), false, false},
	{ROW("\x94\x07\xa3pas\xc0\xc0"), false, false},
	{ROW("\x94\x07\xa0\xc0\xc0"), false, false},
	{ROW("\x94\x07\xc3\xc0\xc0"), false, false},
	{ROW("\x93\x07\xa4pass\xc0"), false, false},
	{ROW("\x95\x07\xa4pass\xc0\xc0\xc0"), false, false},
	{ROW("\x90"), false, false},
	{ROW("\xc0"), false, false},
};

static void rows_are_right_as_a_whole(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		msgpack_unpacked unpacked;
		struct answer answer;
		msgpack_unpacked_init(&unpacked);
		assert_int_equal(msgpack_unpack_next(&unpacked, rows[i].bytes, rows[i].len, NULL),
			MSGPACK_UNPACK_SUCCESS);
		if (answer_read(&answer, &unpacked.data, rows[i].warm) != rows[i].right)
			fail_msg("row %zu", i);
		if (rows[i].right) {
			assert_int_equal(answer.ticket, 7);
			assert_int_equal(answer.payload != NULL,
				answer.verdict == ANSWER_REWRITE && !rows[i].warm);
		}
		msgpack_unpacked_destroy(&unpacked);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_right_as_a_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
