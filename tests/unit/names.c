/* proto/ids, proto/cursor, proto/diagnostic: the small words that processes agree on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/buf.h"
#include "proto/cursor.h"
#include "proto/diagnostic.h"
#include "proto/ids.h"

static void ids_are_short_and_plain(void **state)
{
	(void)state;
	char longest[ID_BYTES_MAX + 1];
	memset(longest, 'a', sizeof(longest));
	assert_true(id_is_valid("worker-1.A:b_c", 14));
	assert_true(id_is_valid(longest, ID_BYTES_MAX));
	assert_false(id_is_valid(longest, ID_BYTES_MAX + 1));
	assert_false(id_is_valid("", 0));
	assert_false(id_is_valid("a/b", 3));
	assert_false(id_is_valid("a b", 3));
	assert_false(id_is_valid("a\0b", 3));
	assert_false(id_is_valid("\xc3\xa9", 2));
	assert_false(id_is_valid(".", 1));
	assert_false(id_is_valid("..", 2));
	assert_true(id_is_valid("...", 3));
	assert_true(id_is_valid(".a", 2));
	assert_true(id_is_valid("a.", 2));
	struct id id;
	assert_false(id_set(&id, "../x", 4));
	assert_string_equal(id.text, "");
}

static void globs_know_star_and_question_mark_only(void **state)
{
	(void)state;
	static const struct {
		const char *pattern, *text;
		bool matches;
	} cases[] = {
		{"*", "", true},
		{"*", "anything", true},
		{"", "", true},
		{"", "x", false},
		{"prod-*", "prod-1", true},
		{"prod-*", "test-1", false},
		{"*-private", "a-private-b-private", true},
		{"*-private", "a-private-b", false},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"*a*b*", "xxaxxbxx", true},
		{"*a*b*", "xxbxxaxx", false},
		{"[ab]", "a", false},
		{"[ab]", "[ab]", true},
		{"a.c", "abc", false},
		{"\\*", "\\x", true},
		{"**", "x", true},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(glob_matches(cases[i].pattern, strlen(cases[i].pattern),
					 cases[i].text, strlen(cases[i].text)),
			cases[i].matches);
}

static void glob_of_many_stars_ends_soon(void **state)
{
	(void)state;
	char pattern[64], text[4096];
	for (size_t i = 0; i + 1 < sizeof(pattern); i += 2)
		memcpy(pattern + i, "*a", 2);
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = 'b';
	assert_false(glob_matches(pattern, sizeof(pattern), text, sizeof(text)));
}

static void cursor_has_one_spelling(void **state)
{
	(void)state;
	const struct cursor cursor = {0x0badcafe, 0x12, 0x123456789abcdef0};
	char text[CURSOR_TEXT_BYTES + 1];
	cursor_format(&cursor, text);
	assert_string_equal(text, "wo_0badcafe0012_123456789abcdef0");
	struct cursor parsed;
	assert_true(cursor_parse(text, CURSOR_TEXT_BYTES, &parsed));
	assert_int_equal(parsed.log, cursor.log);
	assert_int_equal(parsed.epoch, cursor.epoch);
	assert_true(parsed.sequence == cursor.sequence);
	static const char *const wrong[] = {
		"",
		"wo_",
		"wo_0badcafe0012_123456789abcdef",
		"wo_0badcafe0012_123456789abcdef00",
		"wo_0BADCAFE0012_123456789abcdef0",
		"bo_0badcafe0012_123456789abcdef0",
		"wo_0badcafe0012-123456789abcdef0",
		"wo_0badcafe00 2_123456789abcdef0",
		"wo_0badcafe+012_123456789abcdef0",
	};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_false(cursor_parse(wrong[i], strlen(wrong[i]), &parsed));
}

static void diagnostics_are_written_with_their_details(void **state)
{
	(void)state;
	struct buf buf = {0};
	struct diagnostic_details details = DIAGNOSTIC_NO_DETAILS;
	details.oldest = "wo_x";
	assert_int_equal(
		diagnostic_write_json(&buf, DIAGNOSTIC_RUNTIME_CURSOR_EXPIRED, &details), 0);
	static const char expected[] =
		"{\"kind\":\"diagnostic\",\"diagnostic\":{\"code\":\"runtime.cursor_expired\","
		"\"message\":\"events after this position are no longer retained\","
		"\"final\":true,\"retry\":\"from_keyframe\",\"oldest\":\"wo_x\"}}";
	assert_int_equal(buf.len, strlen(expected));
	assert_memory_equal(buf.data, expected, buf.len);
	buf_free(&buf);
}

static void finality_that_depends_is_said_by_the_sender(void **state)
{
	(void)state;
	struct diagnostic_details details = DIAGNOSTIC_NO_DETAILS;
	assert_false(diagnostic_is_final(DIAGNOSTIC_BACKEND_RUNTIME_TIMEOUT, &details));
	assert_true(diagnostic_is_final(DIAGNOSTIC_BACKEND_STALLED, &details));
	details.final = true;
	assert_true(diagnostic_is_final(DIAGNOSTIC_BACKEND_RUNTIME_TIMEOUT, &details));
	assert_false(diagnostic_is_final(DIAGNOSTIC_BACKEND_LAGGING, &details));
}

static void codes_are_found_by_name_and_every_final_one_closes(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < DIAGNOSTIC_COUNT; i++) {
		const struct diagnostic_row *row = diagnostic_row((enum diagnostic)i);
		assert_int_equal(diagnostic_by_code(row->code, strlen(row->code)), i);
		assert_int_equal(row->close_code == 0, row->finality == DIAGNOSTIC_GOES_ON);
	}
	assert_int_equal(diagnostic_by_code("runtime.", 8), DIAGNOSTIC_COUNT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_are_short_and_plain),
		cmocka_unit_test(globs_know_star_and_question_mark_only),
		cmocka_unit_test(glob_of_many_stars_ends_soon),
		cmocka_unit_test(cursor_has_one_spelling),
		cmocka_unit_test(diagnostics_are_written_with_their_details),
		cmocka_unit_test(finality_that_depends_is_said_by_the_sender),
		cmocka_unit_test(codes_are_found_by_name_and_every_final_one_closes),
	};
	return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
