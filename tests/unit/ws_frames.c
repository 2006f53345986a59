/* proto/ws/ws_frames: framing of messages, fragments, prefixes of whole frames. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/attributes.h"
#include "proto/ws/ws_frames.h"

static void short_message_is_one_frame(void **state)
{
	(void)state;
	_cleanup_ws_frames_ struct ws_frames *frames = ws_frames_new(0);
	assert_int_equal(ws_frames_add_message(frames, WS_TEXT, "ab", 2), 0);
	assert_int_equal(ws_frames_add_message(frames, WS_BINARY, "", 0), 0);
	static const uint8_t expected[] = {0x81, 2, 'a', 'b', 0x82, 0};
	assert_int_equal(ws_frames_bytes(frames), sizeof(expected));
	assert_memory_equal(ws_frames_data(frames), expected, sizeof(expected));
}

static void pieces_are_joined_and_the_long_length_is_used_from_126(void **state)
{
	(void)state;
	uint8_t body[126];
	memset(body, 'x', sizeof(body));
	_cleanup_ws_frames_ struct ws_frames *frames = ws_frames_new(0);
	struct iovec pieces[] = {{body, 100}, {NULL, 0}, {body + 100, 26}};
	assert_int_equal(ws_frames_add(frames, WS_TEXT, pieces, ARRAY_SIZE(pieces)), 0);
	const uint8_t *data = ws_frames_data(frames);
	assert_int_equal(ws_frames_bytes(frames), 4 + sizeof(body));
	assert_int_equal(data[1], 126);
	assert_int_equal(data[2] << 8 | data[3], 126);
	assert_memory_equal(data + 4, body, sizeof(body));
}

/* Reads frames back: payload, and how many frames it took. */
static size_t unframe(const uint8_t *data, size_t len, uint8_t *out, unsigned int *fragments)
{
	size_t at = 0, total = 0;
	for (*fragments = 0; at < len; ++*fragments) {
		bool first = *fragments == 0;
		assert_int_equal(data[at] & 0x0f, first ? WS_BINARY : 0);
		size_t n = data[at + 1], head = 2;
		if (n == 126) {
			n = (size_t)data[at + 2] << 8 | data[at + 3];
			head = 4;
		}
		bool last = at + head + n == len;
		assert_int_equal(data[at] & 0x80, last ? 0x80 : 0);
		memcpy(out + total, data + at + head, n);
		total += n;
		at += head + n;
	}
	return total;
}

static void long_message_is_cut_into_fragments_that_fit_one_write(void **state)
{
	(void)state;
	static const size_t lengths[] = {WS_FRAGMENT_BYTES - 1, WS_FRAGMENT_BYTES,
		WS_FRAGMENT_BYTES + 1, 3 * WS_FRAGMENT_BYTES, 1000 * 1000};
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		size_t len = lengths[i];
		uint8_t *body = malloc(len), *back = malloc(len);
		assert_non_null(body);
		assert_non_null(back);
		for (size_t k = 0; k < len; k++)
			body[k] = (uint8_t)(k * 31);
		_cleanup_ws_frames_ struct ws_frames *frames = ws_frames_new(len);
		struct iovec pieces[] = {{body, len / 3}, {body + len / 3, len - len / 3}};
		assert_int_equal(ws_frames_add(frames, WS_BINARY, pieces, 2), 0);
		unsigned int fragments;
		size_t got = unframe(
			ws_frames_data(frames), ws_frames_bytes(frames), back, &fragments);
		assert_int_equal(got, len);
		assert_memory_equal(back, body, len);
		assert_int_equal(fragments, (len + WS_FRAGMENT_BYTES - 1) / WS_FRAGMENT_BYTES);
		/* What is written at once is made of whole frames and is never empty. */
		for (size_t at = 0; at < ws_frames_bytes(frames);) {
			size_t n = ws_frames_prefix(ws_frames_data(frames) + at,
				ws_frames_bytes(frames) - at, WS_WRITE_BYTES);
			assert_in_range(n, 1, WS_WRITE_BYTES);
			at += n;
		}
		free(body);
		free(back);
	}
}

static void prefix_ends_at_a_frame(void **state)
{
	(void)state;
	_cleanup_ws_frames_ struct ws_frames *frames = ws_frames_new(0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(ws_frames_add_message(frames, WS_TEXT, "12345678", 8), 0);
	const uint8_t *data = ws_frames_data(frames);
	assert_int_equal(ws_frames_prefix(data, 100, 9), 0);
	assert_int_equal(ws_frames_prefix(data, 100, 10), 10);
	assert_int_equal(ws_frames_prefix(data, 100, 39), 30);
	assert_int_equal(ws_frames_prefix(data, 100, 100), 100);
	assert_int_equal(ws_frames_prefix(data, 0, 100), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_message_is_one_frame),
		cmocka_unit_test(pieces_are_joined_and_the_long_length_is_used_from_126),
		cmocka_unit_test(long_message_is_cut_into_fragments_that_fit_one_write),
		cmocka_unit_test(prefix_ends_at_a_frame),
	};
	return cmocka_run_group_tests_name("ws_frames", tests, NULL, NULL);
}
