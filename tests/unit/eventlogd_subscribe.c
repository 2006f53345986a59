/* eventlogd: reading SUBSCRIBE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "eventlogd/subscribe.h"

#define CURSOR "wo_00c0ffee0001_0000000000000007"

struct request {
	const char *worker; /* NULL: all */
	const char *from, *cursor;
	bool from_is_text; /* instead of an array */
};

static int read_request(const struct request *request, struct subscribe *out, const char **code)
{
	static struct message_decoder decoder;
	static struct buf frame;
	struct message_writer w;
	struct message message;
	const char *text;
	if (decoder.zone == NULL)
		assert_int_equal(message_decoder_init(&decoder), 0);
	buf_reset(&frame, 0);
	message_begin(&w, &frame, MESSAGE_SUBSCRIBE);
	write_u64(&w, 5);
	if (request->worker == NULL) {
		write_nil(&w);
	} else {
		write_array(&w, 1);
		write_text(&w, request->worker);
	}
	if (request->from_is_text) {
		write_text(&w, request->from);
	} else {
		write_array(&w, request->cursor != NULL ? 2 : 1);
		write_text(&w, request->from);
		if (request->cursor != NULL)
			write_text(&w, request->cursor);
	}
	write_bool(&w, true);
	assert_int_equal(message_end(&w), 0);
	assert_int_equal(message_decode(&decoder, FROM_READER, frame.data + 4, frame.len - 4,
				 &message, &text),
		MESSAGE_OK);
	*out = (struct subscribe){0};
	*code = NULL;
	return subscribe_read(out, &message, code, &text);
}

static void each_form_of_from_is_understood(void **state)
{
	static const struct {
		struct request request;
		enum reader_from from;
	} cases[] = {
		{{NULL, "oldest", NULL, false}, READER_FROM_OLDEST},
		{{NULL, "newest", NULL, false}, READER_FROM_NEWEST},
		{{"w", "keyframe", NULL, false}, READER_FROM_KEYFRAME},
		{{NULL, "cursor", CURSOR, false}, READER_FROM_CURSOR},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct subscribe subscribe;
		const char *code;
		assert_int_equal(read_request(&cases[i].request, &subscribe, &code), SUBSCRIBE_OK);
		assert_int_equal(subscribe.start.from, cases[i].from);
		assert_int_equal(subscribe.request_id, 5);
		assert_true(subscribe.follow);
		if (cases[i].from == READER_FROM_CURSOR)
			assert_int_equal(subscribe.start.cursor.sequence, 7);
		subscribe_free(&subscribe);
	}
}

static void what_is_not_understood_breaks_the_protocol(void **state)
{
	static const struct request cases[] = {
		{NULL, "oldest", CURSOR, false},  /* takes no cursor */
		{NULL, "cursor", NULL, false},    /* needs one */
		{NULL, "somewhere", NULL, false}, /* no such word */
		{NULL, "oldest", NULL, true},     /* not an array */
		{NULL, "keyframe", NULL, false},  /* of which worker? */
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct subscribe subscribe;
		const char *code;
		assert_int_equal(read_request(&cases[i], &subscribe, &code), SUBSCRIBE_MALFORMED);
		assert_string_equal(code, "protocol_error");
		subscribe_free(&subscribe);
	}
}

static void refusals_have_their_own_codes(void **state)
{
	static const struct {
		struct request request;
		const char *code;
	} cases[] = {
		{{NULL, "cursor", "wo_", false}, "cursor_malformed"},
		{{NULL, "cursor", CURSOR "0", false}, "cursor_malformed"},
		{{"a/b", "oldest", NULL, false}, "worker_not_found"},
		{{"", "oldest", NULL, false}, "worker_not_found"},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct subscribe subscribe;
		const char *code;
		assert_int_equal(
			read_request(&cases[i].request, &subscribe, &code), SUBSCRIBE_REFUSED);
		assert_string_equal(code, cases[i].code);
		subscribe_free(&subscribe);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_form_of_from_is_understood),
		cmocka_unit_test(what_is_not_understood_breaks_the_protocol),
		cmocka_unit_test(refusals_have_their_own_codes),
	};
	return cmocka_run_group_tests_name("eventlogd_subscribe", tests, NULL, NULL);
}
