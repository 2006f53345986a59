/* eventlogctl's pure parts: lines, outbox, options, gist, last lines, progress. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eventlogd/ctl/gist.h"
#include "eventlogd/ctl/last_lines.h"
#include "eventlogd/ctl/lines.h"
#include "eventlogd/ctl/options.h"
#include "eventlogd/ctl/outbox.h"
#include "eventlogd/ctl/positions.h"
#include "eventlogd/ctl/progress.h"
#include "proto/base/clock.h"

/* lines: each as "text|", too long ones as "!|" */
static void collect_line(void *owner, const struct line *line)
{
	struct buf *out = owner;
	int r = line->too_long ? buf_append_str(out, "!") : buf_append(out, line->bytes, line->len);
	assert_int_equal(r, 0);
	assert_int_equal(buf_append_str(out, "|"), 0);
}

static void expect_lines(const char *text, size_t piece, const char *expected)
{
	struct buf out = {0};
	struct lines lines = {.max_line_bytes = 5, .owner = &out, .on_line = collect_line};
	for (size_t at = 0, len = strlen(text); at < len; at += piece)
		assert_int_equal(lines_feed(&lines, (const uint8_t *)text + at,
					 piece < len - at ? piece : len - at),
			0);
	lines_finish(&lines);
	assert_int_equal(out.len, strlen(expected));
	assert_memory_equal(out.data, expected, out.len);
	lines_free(&lines);
	buf_free(&out);
}

static void lines_cut_anywhere_are_the_same(void **state)
{
	(void)state;
	for (size_t piece = 1; piece < 12; piece++) {
		expect_lines("ab\n\nc\r\nlast", piece, "ab||c\r|last|");
		expect_lines("12345\n123456\nok\n1234567890\n", piece, "12345|!|ok|!|");
	}
}

static void fill(struct outbox *outbox, struct outbox_worker *worker, size_t events)
{
	for (size_t i = 0; i < events; i++) {
		const struct outbox_event about = {.line = i + 1};
		assert_int_equal(outbox_add(outbox, worker, (const uint8_t *)"{}", 2, &about), 0);
	}
}

static void outbox_sends_in_order_and_again_after_a_rewind(void **state)
{
	struct outbox outbox = {0};
	struct buf frames = {0};
	(void)state;
	struct outbox_worker worker = {.id = "w", .next_number = 11};
	outbox_reset(&outbox, 1024 * 1024);
	fill(&outbox, &worker, OUTBOX_BATCH_EVENTS + 1);
	assert_int_equal(outbox_next_frame(&outbox, &frames), OUTBOX_OK);
	assert_int_equal(outbox_next_frame(&outbox, &frames), OUTBOX_OK);
	assert_int_equal(outbox_next_frame(&outbox, &frames), OUTBOX_NOTHING);
	uint64_t first_id = outbox.first->request_id, second_id = outbox.last->request_id;
	assert_non_null(outbox_match(&outbox, first_id));
	assert_null(outbox_match(&outbox, second_id)); /* not its turn */
	outbox_rewind(&outbox);
	assert_null(outbox_match(&outbox, first_id)); /* a late reply */
	assert_int_equal(outbox_first_number(&outbox, &worker), 11);
	assert_int_equal(outbox_next_frame(&outbox, &frames), OUTBOX_OK);
	assert_int_equal(outbox_next_frame(&outbox, &frames), OUTBOX_OK);
	outbox_acknowledged(&outbox);
	assert_int_equal(outbox_first_number(&outbox, &worker), 11 + OUTBOX_BATCH_EVENTS);
	outbox_acknowledged(&outbox);
	assert_true(outbox_is_empty(&outbox));
	assert_int_equal(outbox_first_number(&outbox, &worker), 11 + OUTBOX_BATCH_EVENTS + 1);
	buf_free(&frames);
	outbox_free(&outbox);
}

static void a_batch_is_of_one_worker_and_each_counts_its_own(void **state)
{
	struct outbox outbox = {0};
	struct buf frames = {0};
	(void)state;
	struct outbox_worker a = {.id = "a", .next_number = 1}, b = {.id = "b", .next_number = 5};
	outbox_reset(&outbox, 1024 * 1024);
	fill(&outbox, &a, 2);
	fill(&outbox, &b, 1);
	fill(&outbox, &a, 1);
	assert_int_equal(outbox.batch_count, 3);
	assert_int_equal(a.next_number, 4);
	assert_int_equal(outbox_first_number(&outbox, &b), 5);
	assert_int_equal(outbox_next_frame(&outbox, &frames), OUTBOX_OK);
	outbox_acknowledged(&outbox);
	assert_int_equal(outbox_first_number(&outbox, &a), 3);
	assert_int_equal(outbox_first_number(&outbox, &b), 5);
	outbox_acknowledged(&outbox);
	assert_int_equal(outbox_first_number(&outbox, &b), 6);
	assert_int_equal(outbox.first->first_number, 3);
	outbox_free(&outbox);
	assert_int_equal(a.batch_count + b.batch_count, 0);
	buf_free(&frames);
}

static void outbox_is_full_at_its_limit_and_not_for_ever(void **state)
{
	struct outbox outbox = {0};
	struct buf frames = {0};
	(void)state;
	struct outbox_worker worker = {.id = "w", .next_number = 1};
	outbox_reset(&outbox, 1024 * 1024);
	while (!outbox_is_full(&outbox))
		fill(&outbox, &worker, 1);
	assert_int_equal(outbox.event_count, OUTBOX_EVENTS);
	assert_int_equal(outbox_next_frame(&outbox, &frames), OUTBOX_OK);
	outbox_acknowledged(&outbox);
	assert_false(outbox_is_full(&outbox));
	buf_free(&frames);
	outbox_free(&outbox);
}

struct values {
	bool flag;
	const char *text;
	struct option_list list;
	struct option_count count;
	const char *choice;
};

static const char *const choices[] = {"a", "b", NULL};
static const struct option_row rows[] = {
	{"flag", 'f', OPTION_FLAG, offsetof(struct values, flag), NULL, "", NULL},
	{"text", 't', OPTION_TEXT, offsetof(struct values, text), "T", "", NULL},
	{"list", 'l', OPTION_LIST, offsetof(struct values, list), "L", "", NULL},
	{"count", 'n', OPTION_COUNT, offsetof(struct values, count), "N", "", NULL},
	{"choice", 0, OPTION_CHOICE, offsetof(struct values, choice), "C", "", choices},
	{0},
};

static enum options_result parse(
	struct values *values, const char *const *words, char **argv, int *arguments)
{
	int argc = 0;
	argv[argc++] = strdup("verb");
	for (; *words != NULL; words++)
		argv[argc++] = strdup(*words);
	*values = (struct values){0};
	char *moved[16];
	memcpy(moved, argv, sizeof(moved));
	enum options_result r = options_parse(rows, values, "test", argc, moved, arguments);
	argv[argc] = NULL;
	return r;
}

static void free_words(char **argv)
{
	for (; *argv != NULL; argv++)
		free(*argv);
}

static void options_are_read_in_every_spelling(void **state)
{
	struct values v;
	char *argv[16] = {0};
	int arguments;
	(void)state;
	const char *words[] = {"x", "-f", "--text=one", "-l", "1", "--list", "2", "-n7", "--choice",
		"b", "--", "-y", NULL};
	assert_int_equal(parse(&v, words, argv, &arguments), OPTIONS_OK);
	assert_int_equal(arguments, 2);
	assert_true(v.flag);
	assert_string_equal(v.text, "one");
	assert_int_equal(v.list.count, 2);
	assert_string_equal(v.list.item[1], "2");
	assert_int_equal(v.count.value, 7);
	assert_string_equal(v.choice, "b");
	free_words(argv);
}

static void wrong_options_are_refused(void **state)
{
	static const char *const cases[][3] = {
		{"--nope", NULL},
		{"-x", NULL},
		{"--text", NULL},
		{"--flag=1", NULL},
		{"-n", "-1", NULL},
		{"-n", "99999999999999999999", NULL},
		{"--choice", "c", NULL},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct values v;
		char *argv[16] = {0};
		int arguments;
		assert_int_equal(parse(&v, cases[i], argv, &arguments), OPTIONS_WRONG);
		free_words(argv);
	}
}

static void expect_gist(const char *payload, size_t columns, const char *expected)
{
	struct buf out = {0};
	assert_int_equal(gist_append(&out, (const uint8_t *)payload, strlen(payload), columns), 0);
	assert_int_equal(buf_append(&out, "", 1), 0);
	assert_string_equal((const char *)out.data, expected);
	buf_free(&out);
}

static void gist_is_the_scalars_without_the_kind(void **state)
{
	(void)state;
	expect_gist("{\"event\":\"status\",\"data\":{\"status\":\"running\",\"n\":[1, 2]}}", 80,
		"status=running n=1,2");
	expect_gist("{\"type\":\"t\",\"text\":\"two words\",\"e\":\"\",\"b\":true}", 80,
		"text=\"two words\" e=\"\" b=true");
	expect_gist("{\"data\":{\"event\":\"inner\"}}", 80, "event=inner");
	expect_gist("{\n \"a\" : {\"b\" : null }\n}", 80, "b=null");
	expect_gist("{}", 80, "");
	expect_gist("{\"text\":\"0123456789\"}", 10, "text=0123…");
}

static void gist_of_broken_bytes_ends(void **state)
{
	(void)state;
	expect_gist("{\"a", 80, "");
	expect_gist("{\"a\\", 80, "");
	expect_gist("{\"a\":\"\\", 80, "a=\\");
	expect_gist("]]}}{", 80, "");
}

static void nothing_reaches_the_terminal_unescaped(void **state)
{
	(void)state;
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{"a\033[2Jb", "a\\u{1b}[2Jb"},
		{"\302\233m", "\\u{9b}m"},
		{"x\342\200\256y", "x\\u{202e}y"},
		{"\177", "\\u{7f}"},
		{"\xff\xc3", "\\xff\\xc3"},
		{"gr\303\274n \360\237\231\202", "gr\303\274n \360\237\231\202"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf out = {0};
		assert_int_equal(
			terminal_append(&out, cases[i].text, strlen(cases[i].text), 80, NULL), 0);
		assert_int_equal(buf_append(&out, "", 1), 0);
		assert_string_equal((const char *)out.data, cases[i].expected);
		buf_free(&out);
	}
}

static void copies_are_escaped_and_cut(void **state)
{
	(void)state;
	char out[41];
	terminal_copy(out, sizeof(out), "a\033b", 3);
	assert_string_equal(out, "a\\u{1b}b");
	terminal_copy(out, sizeof(out), "\360\237\231\202\360\237\231\202xxxxxxxxxxxx", 20);
	assert_string_equal(out, "\360\237\231\202\360\237\231\202xxxxxxx…");
	terminal_copy(out, sizeof(out), "", 0);
	assert_string_equal(out, "");
}

static void last_lines_are_the_last_in_order(void **state)
{
	(void)state;
	for (unsigned int total = 0; total < 120; total += 7) {
		struct last_lines lines;
		struct buf line = {0};
		last_lines_init(&lines, 40);
		for (unsigned int i = 0; i < total; i++) {
			buf_reset(&line, SIZE_MAX);
			assert_int_equal(buf_printf(&line, "%u", i), 0);
			assert_int_equal(last_lines_add(&lines, &line), 0);
		}
		unsigned int expected = total < 40 ? total : 40;
		assert_int_equal(last_lines_count(&lines), expected);
		for (unsigned int i = 0; i < expected; i++) {
			char text[16];
			int n = snprintf(text, sizeof(text), "%u", total - expected + i);
			const struct buf *got = last_lines_at(&lines, i);
			assert_int_equal(got->len, n);
			assert_memory_equal(got->data, text, (size_t)n);
		}
		last_lines_free(&lines);
		buf_free(&line);
	}
}

static void progress_tells_share_rate_and_time_left(void **state)
{
	(void)state;
	struct progress progress = {.what = "events", .total_bytes = 1000};
	char line[160];
	progress_format(&progress, 250, 50, 10 * NS_PER_S, line, sizeof(line));
	assert_string_equal(line, "[######------------------]  25 %  50 events  5/s  ETA 0:30");
	progress_format(&progress, 5000, 50, 10 * NS_PER_S, line, sizeof(line));
	assert_non_null(strstr(line, "100 %"));
	progress_format(&progress, 0, 0, 0, line, sizeof(line));
	assert_non_null(strstr(line, "ETA -:--"));
}

static void positions_of_every_epoch_and_none_that_was_not_told(void **state)
{
	(void)state;
	const struct positions positions = {.oldest = {7, 2, 9},
		.newest = {7, 4, 30},
		.epoch = 6,
		.epoch_count = 2,
		.epochs = {{4, 20}, {3, 10}}};
	static const struct {
		uint64_t sequence;
		uint16_t epoch; /* 0: not told */
	} expected[] = {{0, 0}, {8, 0}, {9, 2}, {10, 3}, {19, 3}, {20, 4}, {30, 4}, {31, 6}};
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		struct cursor cursor = {0};
		bool told = positions_cursor(&positions, expected[i].sequence, &cursor);
		assert_int_equal(told, expected[i].epoch != 0);
		assert_int_equal(cursor.epoch, expected[i].epoch);
		assert_int_equal(cursor.sequence, told ? expected[i].sequence : 0);
		assert_int_equal(cursor.log, told ? 7 : 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_cut_anywhere_are_the_same),
		cmocka_unit_test(outbox_sends_in_order_and_again_after_a_rewind),
		cmocka_unit_test(a_batch_is_of_one_worker_and_each_counts_its_own),
		cmocka_unit_test(outbox_is_full_at_its_limit_and_not_for_ever),
		cmocka_unit_test(options_are_read_in_every_spelling),
		cmocka_unit_test(wrong_options_are_refused),
		cmocka_unit_test(gist_is_the_scalars_without_the_kind),
		cmocka_unit_test(gist_of_broken_bytes_ends),
		cmocka_unit_test(nothing_reaches_the_terminal_unescaped),
		cmocka_unit_test(copies_are_escaped_and_cut),
		cmocka_unit_test(last_lines_are_the_last_in_order),
		cmocka_unit_test(positions_of_every_epoch_and_none_that_was_not_told),
		cmocka_unit_test(progress_tells_share_rate_and_time_left),
	};
	return cmocka_run_group_tests_name("eventlogctl", tests, NULL, NULL);
}
