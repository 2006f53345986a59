/*
 * projection/open_blocks: where it is not known what of a block is open, nothing more of it is
 * shown: after an event that could not be judged to its end, and after every failing allocation.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "projection/engine.h"
#include "tests/lib/failing_malloc.h"

static const char policy_text[] =
	"version: 1\n"
	"blocks: [{delta: t, text: data.t, key: data.k, done: d, rest: data.r, snapshot: s, "
	"in_flight: data.f}]\n"
	"roles:\n"
	"  r:\n"
	"    events: {allow: ['*']}\n"
	"    redact:\n"
	"      - {in: ['*'], secrets: [aws], action: mask, with: '#'}\n"
	"      - {in: ['*'], path: 'l.*', action: mask}\n";

struct fixture {
	struct policy policy;
	struct rules *rules;
	struct engine engine;
	struct open_blocks blocks;
	uint64_t ticket;
};

static void open_fixture(struct fixture *f)
{
	struct projection_key key = {{1}};
	struct yaml_error error;
	*f = (struct fixture){0};
	if (policy_parse(&f->policy, "p", policy_text, strlen(policy_text), &error) < 0)
		fail_msg("%s", error.text);
	assert_int_equal(rules_compile(&f->rules, &f->policy.role[0], &key), 0);
	assert_int_equal(engine_init(&f->engine), 0);
}

static void close_fixture(struct fixture *f)
{
	open_blocks_free(&f->blocks);
	engine_free(&f->engine);
	rules_free(f->rules);
	policy_free(&f->policy);
}

static int project(struct fixture *f, const char *event, const uint8_t **out, size_t *out_len)
{
	return engine_project_next(&f->engine, f->rules, &f->blocks, f->ticket++,
		(const uint8_t *)event, strlen(event), out, out_len);
}

/* `expected` NULL: whatever comes of it. */
static void check(struct fixture *f, const char *event, const char *expected)
{
	const uint8_t *out = (const uint8_t *)event;
	size_t len = strlen(event);
	int verdict = project(f, event, &out, &len);
	assert_true(verdict == VERDICT_PASS || verdict == VERDICT_REWRITE);
	if (expected != NULL && (len != strlen(expected) || memcmp(out, expected, len) != 0))
		fail_msg("%s\n became %.*s\n and not %s", event, (int)len, (const char *)out,
			expected);
}

static void after_an_event_that_is_too_long_pieces_are_masked_until_a_snapshot(void **state)
{
	(void)state;
	struct fixture f;
	uint64_t since;
	open_fixture(&f);
	/* The walk ends before it comes to the piece. */
	_cleanup_buf_ struct buf event = {0};
	assert_int_equal(buf_append_str(&event, "{\"event\":\"t\",\"l\":[1"), 0);
	while (event.len < EVENT_BYTES_MAX - 64)
		assert_int_equal(buf_append_str(&event, ",1"), 0);
	assert_int_equal(buf_append_str(&event, "],\"data\":{\"t\":\"AKIAIO\"}}"), 0);
	assert_int_equal(buf_append(&event, "", 1), 0);
	const uint8_t *out;
	size_t len;
	assert_int_equal(project(&f, (const char *)event.data, &out, &len), VERDICT_REFUSED);
	check(&f, "{\"event\":\"t\",\"data\":{\"t\":\"SFODNN7EXAMPLE\"}}",
		"{\"event\":\"t\",\"data\":{\"t\":\"#\"}}");
	assert_true(open_blocks_since(&f.blocks, &since) && since == 0);
	check(&f, "{\"event\":\"s\",\"data\":{}}", "{\"event\":\"s\",\"data\":{}}");
	assert_false(open_blocks_since(&f.blocks, &since));
	check(&f, "{\"event\":\"t\",\"data\":{\"t\":\"bye\"}}",
		"{\"event\":\"t\",\"data\":{\"t\":\"bye\"}}");
	close_fixture(&f);
}

/* Splits one secret over many kinds of events; whether an allocation failed. */
static bool run_with_failure(uint32_t after)
{
	static const char *const events[] = {
		"{\"event\":\"s\",\"data\":{\"f\":\"\\u0041KIAIO\"}}",
		"{\"event\":\"t\",\"data\":{\"t\":\"SFODNN\"}}",
		"{\"event\":\"t\",\"data\":{\"k\":\"other\",\"t\":\"AKIAIOSFODNN\"}}",
		"{\"event\":\"i\",\"data\":{\"w\":1,\"event\":{\"event\":\"t\",\"data\":{\"t\":"
		"\"AKIAIOSF\"}}}}",
		"{\"event\":\"t\",\"data\":{\"t\":\"7EX\\u0041MPLE, \\u0041KIAIOSF\"}}",
		"{\"event\":\"i\",\"data\":{\"w\":1,\"event\":{\"event\":\"t\",\"data\":{\"t\":"
		"\"ODNN7EXAMPLE\"}}}}",
		"{\"event\":\"t\",\"data\":{\"k\":\"other\",\"t\":\"7EXAMPLE\"}}",
		"{\"event\":\"t\",\"data\":{\"t\":\"ODNN7EXAMPLE.\"}}",
		"{\"event\":\"d\",\"data\":{}}",
	};
	static const char *const parts[] = {"IO", "SFODNN", "ODNN", "7EX", "MPLE"};
	struct fixture f;
	bool failed = false;
	open_fixture(&f);
	failing_malloc_arm(after, false);
	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		const uint8_t *out = (const uint8_t *)events[i];
		size_t len = strlen(events[i]);
		int r = project(&f, events[i], &out, &len);
		assert_true(r == -ENOMEM || r == VERDICT_PASS || r == VERDICT_REWRITE);
		failed = failed || r == -ENOMEM;
		for (size_t j = 0; r >= 0 && j < ARRAY_SIZE(parts); j++) {
			if (memmem(out, len, parts[j], strlen(parts[j])) != NULL)
				fail_msg("failing after %u: %.*s", after, (int)len,
					(const char *)out);
		}
	}
	bool met = failing_malloc_disarm();
	assert_int_equal(failed, met);
	close_fixture(&f);
	return met;
}

static void no_part_of_a_secret_is_shown_after_any_failing_allocation(void **state)
{
	(void)state;
	uint32_t after = 0;
	while (run_with_failure(after))
		after++;
	assert_true(after > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			after_an_event_that_is_too_long_pieces_are_masked_until_a_snapshot),
		cmocka_unit_test(no_part_of_a_secret_is_shown_after_any_failing_allocation),
	};
	return cmocka_run_group_tests_name("open_blocks", tests, NULL, NULL);
}
