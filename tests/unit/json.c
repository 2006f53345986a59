/* proto/json: what is JSON and what is not, the kind of an event, the tape, texts and escapes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/buf.h"
#include "proto/json.h"

/* A document with its length, so that it can hold any byte. */
#define DOC(text) (text), sizeof(text) - 1

/* In a block of exactly its size, so that a sanitizer sees a read beyond it. */
static int check(const void *bytes, size_t len, struct json_event_info *info)
{
	uint8_t *copy = malloc(len != 0 ? len : 1);
	assert_non_null(copy);
	memcpy(copy, bytes, len);
	memset(info, 0xee, sizeof(*info));
	int r = json_check_event(copy, len, info);
	struct json_tape tape = {0};
	struct json_error error = {0};
	int on_tape = json_tape_build(&tape, copy, len, &error);
	assert_int_equal(on_tape == JSON_INVALID, r == JSON_INVALID);
	if (r == JSON_INVALID) {
		assert_int_equal(error.offset, info->error.offset);
		assert_string_equal(error.reason, info->error.reason);
		assert_true(error.offset <= len);
	}
	json_tape_free(&tape);
	free(copy);
	return r;
}

static void what_rfc_8259_allows_is_accepted(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		size_t len;
	} rows[] = {
		{DOC("{}")},
		{DOC(" \t\r\n{ } \n")},
		{DOC("{\"a\":[]}")},
		{DOC("{\"a\" : [ 1 , 2 ] , \"b\" : null }")},
		{DOC("{\"\":0}")},
		{DOC("{\"a\":-0,\"b\":0e1,\"c\":1E+2,\"d\":1.5e-3,\"e\":123e65,\"f\":-1}")},
		{DOC("{\"a\":0.4e00669999999999999999999999999999999999999999999969999999}")},
		{DOC("{\"a\":-9999999999999999999999999999999999999999}")},
		{DOC("{\"a\":1,\"a\":2}")},
		{DOC("{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}")},
		{DOC("{\"a\":\"\\u0000\\u0041\\uAbCd\\uffff\"}")},
		{DOC("{\"a\":\"\\ud801\\udc37\\uD834\\uDD1E\"}")},
		{DOC("{\"a\":\"\x7f\"}")},
		{DOC("{\"a\":"
		     "\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\"}")},
		{DOC("{\"a\":\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"}")},
		{DOC("{\"a\":\"\xef\xbb\xbf\"}")}, /* U+FEFF within a string is a character */
		{DOC("{\"a\":true,\"b\":false,\"c\":null}")},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct json_event_info info;
		int r = check(rows[i].text, rows[i].len, &info);
		if (r != JSON_OK)
			fail_msg("%s: %s at %zu", rows[i].text, info.error.reason,
				info.error.offset);
	}
}

struct bad {
	const char *text;
	size_t len;
	size_t offset;
};

static void refused_with_its_place(const struct bad *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct json_event_info info;
		int r = check(rows[i].text, rows[i].len, &info);
		if (r != JSON_INVALID)
			fail_msg("%s was not refused", rows[i].text);
		if (info.error.offset != rows[i].offset)
			fail_msg("%s: %s at %zu, not %zu", rows[i].text, info.error.reason,
				info.error.offset, rows[i].offset);
	}
}

static void broken_structure_is_refused_with_its_place(void **state)
{
	(void)state;
	static const struct bad rows[] = {
		{DOC(""), 0},
		{DOC(" "), 1},
		{DOC("{"), 1},
		{DOC("}"), 0},
		{DOC("["), 1},
		{DOC("]"), 0},
		{DOC("{]"), 1},
		{DOC("[}"), 1},
		{DOC("{\"a\":[}"), 6},
		{DOC("{\"a\":1]"), 6},
		{DOC("{\"a\":1"), 6},
		{DOC("{\"a\":1,}"), 7},
		{DOC("{,}"), 1},
		{DOC("{\"a\":[1,]}"), 8},
		{DOC("{\"a\":[,1]}"), 6},
		{DOC("{\"a\":[1 2]}"), 8},
		{DOC("{\"a\" 1}"), 5},
		{DOC("{\"a\":}"), 5},
		{DOC("{\"a\"}"), 4},
		{DOC("{a:1}"), 1},
		{DOC("{'a':1}"), 1},
		{DOC("{1:1}"), 1},
		{DOC("{\"a\":1}x"), 7},
		{DOC("{}{}"), 2},
		{DOC("{} \0"), 3},
		{DOC("{}\0"), 2},
		{DOC("{\0}"), 1},
		{DOC("{/**/}"), 1},
		{DOC("{}//"), 2},
		{DOC("{\"a\":1,,\"b\":2}"), 7},
		{DOC("{\"a\"::1}"), 5},
		{DOC("{\v}"), 1},
		{DOC("{\f}"), 1},
		{DOC("{\xc2\xa0}"), 1},
		{DOC("\xef\xbb\xbf{}"), 0},
		{DOC("\xff\xfe{\0}\0"), 0},
	};
	refused_with_its_place(rows, ARRAY_SIZE(rows));
}

static void broken_scalars_are_refused_with_their_place(void **state)
{
	(void)state;
	static const struct bad rows[] = {
		{DOC("{\"a\":nul}"), 5},
		{DOC("{\"a\":nulL}"), 5},
		{DOC("{\"a\":True}"), 5},
		{DOC("{\"a\":NaN}"), 5},
		{DOC("{\"a\":Infinity}"), 5},
		{DOC("{\"a\":-Infinity}"), 6},
		{DOC("{\"a\":nullx}"), 9},
		{DOC("{\"a\":01}"), 5},
		{DOC("{\"a\":-01}"), 6},
		{DOC("{\"a\":00}"), 5},
		{DOC("{\"a\":+1}"), 5},
		{DOC("{\"a\":.5}"), 5},
		{DOC("{\"a\":1.}"), 7},
		{DOC("{\"a\":1.e1}"), 7},
		{DOC("{\"a\":1e}"), 7},
		{DOC("{\"a\":1e+}"), 8},
		{DOC("{\"a\":1eE2}"), 7},
		{DOC("{\"a\":-}"), 6},
		{DOC("{\"a\":--1}"), 6},
		{DOC("{\"a\":0x1}"), 6},
		{DOC("{\"a\":1_0}"), 6},
		{DOC("{\"a\":1.2.3}"), 8},
		{DOC("1"), 0},
	};
	/* The last row is JSON, and not an object. */
	refused_with_its_place(rows, ARRAY_SIZE(rows) - 1);
	struct json_event_info info;
	static const char *const values[] = {"1", " []", "\"{}\"", "null", "true", "[{}]"};
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		assert_int_equal(check(values[i], strlen(values[i]), &info), JSON_NOT_OBJECT);
}

static void broken_strings_are_refused_with_their_place(void **state)
{
	(void)state;
	static const struct bad rows[] = {
		{DOC("{\"a"), 3},
		{DOC("{\"a\\"), 4},
		{DOC("{\"a\\\""), 5},
		{DOC("{\"a\\u00\":1}"), 3},
		{DOC("{\"a\\u000g\":1}"), 3},
		{DOC("{\"a\\x00\":1}"), 3},
		{DOC("{\"a\\'\":1}"), 3},
		{DOC("{\"a\\\0\":1}"), 3},
		{DOC("{\"a\\U0041\":1}"), 3},
		{DOC("{\"a\n\":1}"), 3},
		{DOC("{\"a\t\":1}"), 3},
		{DOC("{\"a\0\":1}"), 3},
		{DOC("{\"a\x1f\":1}"), 3},
		{DOC("{\"\\ud800\":1}"), 2},
		{DOC("{\"\\udc00\":1}"), 2},
		{DOC("{\"\\ud800\\u0041\":1}"), 2},
		{DOC("{\"\\ud800\\ud800\":1}"), 2},
		{DOC("{\"\\ud800x\\udc00\":1}"), 2},
		{DOC("{\"\\uDC00\\uD800\":1}"), 2},
		{DOC("{\"\\ud800\\u\":1}"), 2},
		{DOC("{\"\\ud800\\"), 2},
		{DOC("{\"\x80\":1}"), 2},
		{DOC("{\"\xc0\xaf\":1}"), 2},
		{DOC("{\"\xc1\xbf\":1}"), 2},
		{DOC("{\"\xc3\":1}"), 2},
		{DOC("{\"\xe0\x9f\xbf\":1}"), 2},
		{DOC("{\"\xed\xa0\x80\":1}"), 2},
		{DOC("{\"\xed\xbf\xbf\":1}"), 2},
		{DOC("{\"\xf0\x8f\xbf\xbf\":1}"), 2},
		{DOC("{\"\xf4\x90\x80\x80\":1}"), 2},
		{DOC("{\"\xf5\x80\x80\x80\":1}"), 2},
		{DOC("{\"\xf8\x88\x80\x80\x80\":1}"), 2},
		{DOC("{\"\xff\":1}"), 2},
		{DOC("{\"\xe2\x82"), 2},
	};
	refused_with_its_place(rows, ARRAY_SIZE(rows));
}

/* The scanner takes 16 and 8 bytes at a time: each byte value at each place of a long string. */
static void every_byte_at_every_place_of_a_string_is_judged_alike(void **state)
{
	(void)state;
	enum { MAX_LEN = 40 };
	for (size_t len = 1; len <= MAX_LEN; len++) {
		for (size_t at = 0; at < len; at++) {
			for (unsigned int byte = 0; byte < 256; byte++) {
				char text[MAX_LEN + 8];
				memcpy(text, "{\"", 2);
				memset(text + 2, 'x', len);
				text[2 + at] = (char)byte;
				memcpy(text + 2 + len, "\":1}", 4);
				struct json_event_info info;
				int r = json_check_event((uint8_t *)text, len + 6, &info);
				bool plain = byte >= 0x20 && byte < 0x80 && byte != '"' &&
					     byte != '\\';
				assert_int_equal(r, plain ? JSON_OK : JSON_INVALID);
			}
		}
	}
}

static void depth_is_bounded_and_a_deep_document_costs_nothing(void **state)
{
	(void)state;
	enum { DEEP = 100000 };
	char *text = malloc(2 * DEEP);
	assert_non_null(text);
	struct json_event_info info;
	for (unsigned int depth = 1; depth <= JSON_DEPTH_MAX + 1; depth++) {
		size_t arrays = depth - 1;
		memcpy(text, "{\"a\":", 5);
		memset(text + 5, '[', arrays);
		memset(text + 5 + arrays, ']', arrays);
		memcpy(text + 5 + 2 * arrays, arrays > 0 ? "}" : "1}", 2);
		int r = check(text, 6 + 2 * arrays + (arrays > 0 ? 0 : 1), &info);
		assert_int_equal(r, depth <= JSON_DEPTH_MAX ? JSON_OK : JSON_INVALID);
	}
	assert_string_equal(info.error.reason, "nested too deeply");
	memset(text, '[', 2 * DEEP);
	assert_int_equal(check(text, 2 * DEEP, &info), JSON_INVALID);
	assert_int_equal(info.error.offset, JSON_DEPTH_MAX);
	free(text);
}

static void kind_is_the_first_event_member_else_the_first_type(void **state)
{
	(void)state;
	static const struct {
		const char *text, *kind;
		size_t len;
	} rows[] = {
		{"{\"event\":\"a\"}", "a", 1},
		{"{\"type\":\"t\"}", "t", 1},
		{"{\"type\":\"t\",\"event\":\"a\"}", "a", 1},
		{"{\"event\":\"a\",\"event\":\"b\"}", "a", 1},
		{"{\"event\":1,\"event\":\"b\"}", "", 0},
		{"{\"event\":1,\"type\":\"t\"}", "t", 1},
		{"{\"event\":{\"x\":1},\"type\":\"t\"}", "t", 1},
		{"{\"type\":[],\"type\":\"t\"}", "", 0},
		{"{\"event\":\"\",\"type\":\"t\"}", "", 0},
		{"{\"data\":{\"event\":\"inner\"}}", "", 0},
		{"{\"data\":[{\"event\":\"inner\"}],\"type\":\"t\"}", "t", 1},
		{"{\"\\u0065v\\u0065nt\":\"\\u0061b\"}", "ab", 2},
		{"{\"\\u0065\\u0076\\u0065\\u006e\\u0074\":\"x\"}", "x", 1},
		{"{\"Event\":\"a\",\"events\":\"a\",\"even\":\"a\"}", "", 0},
		{"{\"event\":\"a\\u0000b\"}", "a\0b", 3},
		{"{\"event\":\"\\ud83d\\ude00\"}", "\xf0\x9f\x98\x80", 4},
		{"{}", "", 0},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct json_event_info info;
		assert_int_equal(check(rows[i].text, strlen(rows[i].text), &info), JSON_OK);
		assert_int_equal(info.kind_len, rows[i].len);
		assert_memory_equal(info.kind, rows[i].kind, rows[i].len + 1);
	}
}

static void kind_longer_than_255_bytes_counts_as_none(void **state)
{
	(void)state;
	struct json_event_info info;
	for (size_t len = 250; len <= 300; len++) {
		for (int escaped = 0; escaped < 2; escaped++) {
			_cleanup_buf_ struct buf text = {0};
			assert_int_equal(buf_append_str(&text, "{\"event\":\""), 0);
			for (size_t i = 0; i < len; i++)
				assert_int_equal(
					buf_append_str(&text, escaped ? "\\u006b" : "k"), 0);
			assert_int_equal(buf_append_str(&text, "\"}"), 0);
			assert_int_equal(check(text.data, text.len, &info), JSON_OK);
			assert_int_equal(info.kind_len, len <= KIND_BYTES_MAX ? len : 0);
		}
	}
}

static void tape_says_where_each_value_lies_and_what_follows_it(void **state)
{
	(void)state;
	static const char text[] = " {\"a\": [1, {}, \"\\n\"], \"b\\t\":true}";
	static const struct json_token expected[] = {
		{1, 33, 9, JSON_OBJECT, false, 0},
		{2, 5, 2, JSON_KEY, false, 0},
		{7, 20, 6, JSON_ARRAY, false, 0},
		{8, 9, 4, JSON_NUMBER, false, 0},
		{11, 13, 5, JSON_OBJECT, false, 0},
		{15, 19, 6, JSON_STRING, true, 0},
		{22, 27, 7, JSON_KEY, true, 0},
		{28, 32, 8, JSON_TRUE, false, 0},
	};
	struct json_tape tape = {0};
	struct json_error error;
	assert_int_equal(
		json_tape_build(&tape, (const uint8_t *)text, sizeof(text) - 1, &error), JSON_OK);
	assert_int_equal(tape.count, ARRAY_SIZE(expected));
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		const struct json_token *t = &tape.token[i];
		assert_int_equal(t->start, expected[i].start);
		assert_int_equal(t->end, expected[i].end);
		assert_int_equal(t->next, i == 0 ? tape.count : expected[i].next);
		assert_int_equal(t->type, expected[i].type);
		assert_int_equal(t->escaped, expected[i].escaped);
	}
	json_tape_free(&tape);
}

static void quoting_and_unescaping_are_inverse(void **state)
{
	(void)state;
	char text[256 + 4];
	for (unsigned int i = 0; i < 0x80; i++)
		text[i] = (char)i;
	memcpy(text + 0x80, "\xc3\xa9\xf0\x9f\x98\x80", 6);
	size_t len = 0x86;
	_cleanup_buf_ struct buf quoted = {0};
	assert_int_equal(json_append_quoted(&quoted, text, len), 0);
	_cleanup_buf_ struct buf document = {0};
	assert_int_equal(buf_printf(&document, "{%.*s:1}", (int)quoted.len, quoted.data), 0);
	struct json_event_info info;
	assert_int_equal(check(document.data, document.len, &info), JSON_OK);
	uint8_t *back = malloc(quoted.len);
	assert_non_null(back);
	assert_int_equal(json_unescape(quoted.data, quoted.len, back), len);
	assert_memory_equal(back, text, len);
	free(back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_rfc_8259_allows_is_accepted),
		cmocka_unit_test(broken_structure_is_refused_with_its_place),
		cmocka_unit_test(broken_scalars_are_refused_with_their_place),
		cmocka_unit_test(broken_strings_are_refused_with_their_place),
		cmocka_unit_test(every_byte_at_every_place_of_a_string_is_judged_alike),
		cmocka_unit_test(depth_is_bounded_and_a_deep_document_costs_nothing),
		cmocka_unit_test(kind_is_the_first_event_member_else_the_first_type),
		cmocka_unit_test(kind_longer_than_255_bytes_counts_as_none),
		cmocka_unit_test(tape_says_where_each_value_lies_and_what_follows_it),
		cmocka_unit_test(quoting_and_unescaping_are_inverse),
	};
	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
