/* projection/engine: verdicts and outputs, byte for byte, for tables of rules and events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "projection/engine.h"

struct fixture {
	struct policy policy;
	struct rules *rules;
	struct engine engine;
};

/* `events` and `redact` are what stands behind these keys of the role. */
static void open_fixture(struct fixture *f, const char *events, const char *redact)
{
	char text[8192];
	struct yaml_error error;
	int n = snprintf(text, sizeof(text),
		"version: 1\nroles:\n  r:\n    events: %s\n"
		"    redact:\n%s",
		events, redact);
	assert_true(n > 0 && (size_t)n < sizeof(text));
	if (policy_parse(&f->policy, "p", text, (size_t)n, &error) < 0)
		fail_msg("%s\n%s", error.text, text);
	struct projection_key key = {{1, 2, 3}};
	assert_int_equal(rules_compile(&f->rules, &f->policy.role[0], &key), 0);
	assert_int_equal(engine_init(&f->engine), 0);
}

static void close_fixture(struct fixture *f)
{
	engine_free(&f->engine);
	rules_free(f->rules);
	policy_free(&f->policy);
}

/* The input in a block of exactly its size, so that a sanitizer sees a read beyond it. */
static int project(
	struct fixture *f, const void *text, size_t len, const uint8_t **out, size_t *out_len)
{
	static uint8_t *copy;
	free(copy);
	copy = malloc(len != 0 ? len : 1);
	assert_non_null(copy);
	memcpy(copy, text, len);
	int verdict = engine_project(&f->engine, f->rules, copy, len, out, out_len);
	if (verdict != VERDICT_REWRITE) {
		free(copy);
		copy = NULL;
	}
	return verdict;
}

/* `expected` NULL: denied; the same text: passed; else rewritten to that. */
static void check(struct fixture *f, const char *event, const char *expected)
{
	const uint8_t *out = NULL;
	size_t out_len = 0;
	int verdict = project(f, event, strlen(event), &out, &out_len);
	int wanted = expected == NULL               ? VERDICT_DENY
		     : strcmp(expected, event) == 0 ? VERDICT_PASS
						    : VERDICT_REWRITE;
	if (verdict != wanted)
		fail_msg("%s: %s, not %s", event, verdict_name((enum verdict)verdict),
			verdict_name((enum verdict)wanted));
	if (verdict == VERDICT_REWRITE &&
		(out_len != strlen(expected) || memcmp(out, expected, out_len) != 0))
		fail_msg("%s\n became %.*s\n and not %s", event, (int)out_len, out, expected);
}

struct row {
	const char *redact, *event, *expected;
};

static void check_rows(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct fixture f;
		open_fixture(&f, "{allow: ['*'], deny: [secret_*]}", rows[i].redact);
		check(&f, rows[i].event, rows[i].expected);
		close_fixture(&f);
	}
}

#define MASK(in, path) "      - {in: [" in "], path: '" path "', action: mask, with: M}\n"
#define REMOVE(in, path) "      - {in: [" in "], path: '" path "', action: remove}\n"
#define REWRITE(path) \
	"      - {in: ['*'], path: '" path "', action: rewrite_prefix, from: /srv/a, to: /w}\n"
#define ANYWHERE(path) \
	"      - {in: ['*'], path: '" path "', action: rewrite_prefix, from: /srv/a, to: /w, " \
	"anywhere: true}\n"
#define TRUNCATE(path, n) \
	"      - {in: ['*'], path: '" path "', action: truncate, truncate: " n "}\n"

static void paths_reach_what_they_name(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{MASK("'*'", "a"), "{\"a\":1}", "{\"a\":\"M\"}"},
		{MASK("'*'", "a"), "{\"b\":{\"a\":1}}", "{\"b\":{\"a\":1}}"},
		{MASK("'*'", "a.b"), "{\"a\":{\"b\":1,\"c\":2}}", "{\"a\":{\"b\":\"M\",\"c\":2}}"},
		{MASK("'*'", "a.b"), "{\"a\":[{\"b\":1}],\"b\":1}", "{\"a\":[{\"b\":1}],\"b\":1}"},
		{MASK("'*'", "a.b"), "{\"a\":1}", "{\"a\":1}"},
		{MASK("'*'", "a.*"), "{\"a\":{\"x\":1,\"y\":[2]}}",
			"{\"a\":{\"x\":\"M\",\"y\":\"M\"}}"},
		{MASK("'*'", "a.*"), "{\"a\":[1,\"x\",{}]}", "{\"a\":[\"M\",\"M\",\"M\"]}"},
		{MASK("'*'", "a.*.b"), "{\"a\":[{\"b\":1},{\"c\":1}]}",
			"{\"a\":[{\"b\":\"M\"},{\"c\":1}]}"},
		{MASK("'*'", "**.b"), "{\"b\":1,\"a\":[[{\"b\":2}]],\"c\":{\"b\":3}}",
			"{\"b\":\"M\",\"a\":[[{\"b\":\"M\"}]],\"c\":{\"b\":\"M\"}}"},
		{MASK("'*'", "a.**.b"), "{\"b\":1,\"a\":{\"b\":1,\"c\":{\"b\":2}}}",
			"{\"b\":1,\"a\":{\"b\":\"M\",\"c\":{\"b\":\"M\"}}}"},
		{MASK("'*'", "a.**"), "{\"b\":1,\"a\":{\"b\":1}}", "{\"b\":1,\"a\":\"M\"}"},
		{MASK("'*'", "**.a.**.b"), "{\"x\":{\"a\":{\"y\":{\"b\":1}}}}",
			"{\"x\":{\"a\":{\"y\":{\"b\":\"M\"}}}}"},
		{MASK("'*'", "**.**.b"), "{\"a\":{\"b\":1}}", "{\"a\":{\"b\":\"M\"}}"},
		{MASK("'*'", "*.b"), "{\"a\":{\"b\":1},\"b\":1}", "{\"a\":{\"b\":\"M\"},\"b\":1}"},
		{MASK("'*'", "**.*.b"), "{\"b\":1,\"a\":{\"b\":1}}",
			"{\"b\":1,\"a\":{\"b\":\"M\"}}"},
		{MASK("'*'", "data") MASK("'*'", "data.x"), "{\"data\":{\"x\":1}}",
			"{\"data\":\"M\"}"},
	};
	check_rows(rows, ARRAY_SIZE(rows));
}

static void predicates_look_at_the_object_wherever_the_member_stands(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{MASK("'*'", "**[k=t].x"), "{\"k\":\"t\",\"x\":1}", "{\"k\":\"t\",\"x\":\"M\"}"},
		{MASK("'*'", "**[k=t].x"), "{\"x\":1,\"k\":\"t\"}", "{\"x\":\"M\",\"k\":\"t\"}"},
		{MASK("'*'", "**[k=t].x"), "{\"a\":[{\"x\":1,\"k\":\"t\"},{\"x\":2,\"k\":\"u\"}]}",
			"{\"a\":[{\"x\":\"M\",\"k\":\"t\"},{\"x\":2,\"k\":\"u\"}]}"},
		{MASK("'*'", "**[k=t].x"), "{\"k\":[\"t\"],\"x\":1}", "{\"k\":[\"t\"],\"x\":1}"},
		{MASK("'*'", "**[k=t].x"), "{\"k\":\"u\",\"k\":\"t\",\"x\":1}",
			"{\"k\":\"u\",\"k\":\"t\",\"x\":\"M\"}"},
		{MASK("'*'", "**[k=t].x"), "{\"\\u006b\":\"\\u0074\",\"x\":1}",
			"{\"\\u006b\":\"\\u0074\",\"x\":\"M\"}"},
		{MASK("'*'", "**[k=t*].x"), "{\"k\":\"tuv\",\"x\":1}",
			"{\"k\":\"tuv\",\"x\":\"M\"}"},
		{MASK("'*'", "**[k=t?].x"), "{\"k\":\"t\xc3\xa9\",\"x\":1}",
			"{\"k\":\"t\xc3\xa9\",\"x\":\"M\"}"},
		{MASK("'*'", "a.*[k=t]"), "{\"a\":[{\"k\":\"t\"},{\"k\":\"u\"},\"t\",[\"t\"]]}",
			"{\"a\":[\"M\",{\"k\":\"u\"},\"t\",[\"t\"]]}"},
		{MASK("'*'", "a[k=t].b.c"), "{\"a\":{\"b\":{\"c\":1},\"k\":\"t\"}}",
			"{\"a\":{\"b\":{\"c\":\"M\"},\"k\":\"t\"}}"},
		{MASK("'*'", "a[k=t].**.c"), "{\"a\":{\"b\":[{\"c\":1}],\"k\":\"t\"}}",
			"{\"a\":{\"b\":[{\"c\":\"M\"}],\"k\":\"t\"}}"},
		{MASK("'*'", "**[k=t].**.c"), "{\"a\":{\"b\":[{\"c\":1}],\"k\":\"t\"},\"c\":1}",
			"{\"a\":{\"b\":[{\"c\":\"M\"}],\"k\":\"t\"},\"c\":1}"},
		{MASK("'*'", "**[k=t].**[l=u].c"),
			"{\"k\":\"t\",\"a\":{\"l\":\"u\",\"c\":1},\"b\":{\"l\":\"v\",\"c\":1}}",
			"{\"k\":\"t\",\"a\":{\"l\":\"u\",\"c\":\"M\"},\"b\":{\"l\":\"v\",\"c\":1}"
			"}"},
		{REMOVE("'*'", "**[k=t]"), "{\"a\":{\"k\":\"t\"},\"b\":[{\"k\":\"t\"},1]}",
			"{\"b\":[1]}"},
	};
	check_rows(rows, ARRAY_SIZE(rows));
}

static void keys_are_compared_unescaped_and_every_duplicate_is_matched(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{MASK("'*'", "cwd"), "{\"\\u0063wd\":1}", "{\"\\u0063wd\":\"M\"}"},
		{MASK("'*'", "cwd"), "{\"\\u0063\\u0077\\u0064\":1}",
			"{\"\\u0063\\u0077\\u0064\":\"M\"}"},
		{MASK("'*'", "cwd"), "{\"\\\\u0063wd\":1}", "{\"\\\\u0063wd\":1}"},
		{MASK("'*'", "cwd"), "{\"cwd\":1,\"cwd\":[2],\"x\":0,\"\\u0063wd\":{}}",
			"{\"cwd\":\"M\",\"cwd\":\"M\",\"x\":0,\"\\u0063wd\":\"M\"}"},
		{MASK("'*'", "cwd"), "{\"cwd\\u0000\":1,\"CWD\":2,\" cwd\":3,\"cw\":4}",
			"{\"cwd\\u0000\":1,\"CWD\":2,\" cwd\":3,\"cw\":4}"},
		{MASK("'*'", "a/b"), "{\"a\\/b\":1}", "{\"a\\/b\":\"M\"}"},
		{MASK("'*'", "\xc3\xa9"), "{\"\\u00e9\":1,\"\xc3\xa9\":2}",
			"{\"\\u00e9\":\"M\",\"\xc3\xa9\":\"M\"}"},
		{MASK("'*'", "\xf0\x9f\x98\x80"), "{\"\\ud83d\\uDE00\":1}",
			"{\"\\ud83d\\uDE00\":\"M\"}"},
	};
	check_rows(rows, ARRAY_SIZE(rows));
}

static void removal_takes_one_comma_along(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{REMOVE("'*'", "a"), "{\"a\":1}", "{}"},
		{REMOVE("'*'", "a"), "{ \"a\" : 1 }", "{  }"},
		{REMOVE("'*'", "a"), "{\"a\":1,\"b\":2}", "{\"b\":2}"},
		{REMOVE("'*'", "a"), "{\"b\":2,\"a\":1}", "{\"b\":2}"},
		{REMOVE("'*'", "a"), "{\"b\":2 , \"a\" : 1 , \"c\":3}", "{\"b\":2 , \"c\":3}"},
		{REMOVE("'*'", "a"), "{\"a\":1,\"a\":2}", "{}"},
		{REMOVE("'*'", "a"), "{\"a\":1,\"a\":2,\"b\":3}", "{\"b\":3}"},
		{REMOVE("'*'", "a"), "{\"b\":1,\"a\":2,\"a\":3}", "{\"b\":1}"},
		{REMOVE("'*'", "a"), "{\"b\":1,\"a\":2,\"c\":3,\"a\":4,\"d\":5}",
			"{\"b\":1,\"c\":3,\"d\":5}"},
		{REMOVE("'*'", "l.*[k=t]"), "{\"l\":[{\"k\":\"t\"},{\"k\":\"t\"}]}", "{\"l\":[]}"},
		{REMOVE("'*'", "l.*[k=t]"), "{\"l\":[{\"k\":\"t\"},2,{\"k\":\"t\"},4]}",
			"{\"l\":[2,4]}"},
		{REMOVE("'*'", "l.*[k=t]"), "{\"l\":[1,{\"k\":\"t\"}]}", "{\"l\":[1]}"},
		{REMOVE("'*'", "**.a") MASK("'*'", "**.b"),
			"{\"x\":{\"b\":1,\"a\":2},\"a\":3,\"b\":{\"a\":4}}",
			"{\"x\":{\"b\":\"M\"},\"b\":\"M\"}"},
	};
	check_rows(rows, ARRAY_SIZE(rows));
}

static void texts_are_rewritten_at_component_boundaries(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{REWRITE("p"), "{\"p\":\"/srv/a\"}", "{\"p\":\"/w\"}"},
		{REWRITE("p"), "{\"p\":\"/srv/a/b\"}", "{\"p\":\"/w/b\"}"},
		{REWRITE("p"), "{\"p\":\"/srv/a-x/b\"}", "{\"p\":\"/srv/a-x/b\"}"},
		{REWRITE("p"), "{\"p\":\"/srv/a.x\"}", "{\"p\":\"/srv/a.x\"}"},
		{REWRITE("p"), "{\"p\":\"x/srv/a/b\"}", "{\"p\":\"x/srv/a/b\"}"},
		{REWRITE("p"), "{\"p\":\"\\/srv\\u002fa\\/\\\"b\"}", "{\"p\":\"/w/\\\"b\"}"},
		{REWRITE("p"), "{\"p\":[\"/srv/a/b\",{\"q\":\"/srv/a\"}],\"q\":\"/srv/a\"}",
			"{\"p\":[\"/w/b\",{\"q\":\"/w\"}],\"q\":\"/srv/a\"}"},
		{REWRITE("p"), "{\"p\":1}", "{\"p\":1}"},
		{ANYWHERE("p"), "{\"p\":\"cd /srv/a/b; ls /srv/a:/srv/a\"}",
			"{\"p\":\"cd /w/b; ls /w:/w\"}"},
		{ANYWHERE("p"), "{\"p\":\"/srv/a-x /srv/ab /srv/a.b /x/srv/a\"}",
			"{\"p\":\"/srv/a-x /srv/ab /srv/a.b /x/srv/a\"}"},
		{ANYWHERE("p"), "{\"p\":\"in /srv/a. -I/srv/a/b file:///srv/a\"}",
			"{\"p\":\"in /w. -I/w/b file:///w\"}"},
		{ANYWHERE("p"), "{\"p\":\"\xe3\x81\xaf/srv/a\xe3\x81\xab\\n/srv/a\"}",
			"{\"p\":\"\xe3\x81\xaf/w\xe3\x81\xab\\n/w\"}"},
		{ANYWHERE("p"), "{\"p\":\"/srv/a/srv/a\"}", "{\"p\":\"/w/srv/a\"}"},
	};
	check_rows(rows, ARRAY_SIZE(rows));
}

static void texts_are_truncated_by_characters(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{TRUNCATE("t", "3"), "{\"t\":\"abc\"}", "{\"t\":\"abc\"}"},
		{TRUNCATE("t", "3"), "{\"t\":\"abcd\"}", "{\"t\":\"abc…\"}"},
		{TRUNCATE("t", "0"), "{\"t\":\"abcd\"}", "{\"t\":\"…\"}"},
		{TRUNCATE("t", "0"), "{\"t\":\"\"}", "{\"t\":\"\"}"},
		{TRUNCATE("t", "2"), "{\"t\":\"\xc3\xa9\xf0\x9f\x98\x80x\"}",
			"{\"t\":\"\xc3\xa9\xf0\x9f\x98\x80…\"}"},
		{TRUNCATE("t", "2"), "{\"t\":\"\\u00e9\\n\\\"\"}", "{\"t\":\"\xc3\xa9\\n…\"}"},
		{TRUNCATE("t", "2"), "{\"t\":\"\\u00e9\\n\"}", "{\"t\":\"\\u00e9\\n\"}"},
		{TRUNCATE("t", "2"), "{\"t\":{\"a\":\"xyz\",\"b\":[\"xyz\",12345]}}",
			"{\"t\":{\"a\":\"xy…\",\"b\":[\"xy…\",12345]}}"},
		{TRUNCATE("**", "2"), "{\"t\":\"xyz\",\"u\":[\"xyz\"]}",
			"{\"t\":\"xy…\",\"u\":[\"xy…\"]}"},
		{TRUNCATE("t", "4") REWRITE("t"), "{\"t\":\"/srv/a/bcdef\"}", "{\"t\":\"/w/b…\"}"},
	};
	check_rows(rows, ARRAY_SIZE(rows));
}

static void the_strongest_of_several_rules_counts(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{TRUNCATE("a", "1") MASK("'*'", "a"), "{\"a\":\"xy\"}", "{\"a\":\"M\"}"},
		{MASK("'*'", "a") REMOVE("'*'", "*"), "{\"a\":\"xy\"}", "{}"},
		{MASK("'*'", "a.b") REMOVE("'*'", "a"), "{\"a\":{\"b\":1},\"c\":1}", "{\"c\":1}"},
	};
	check_rows(rows, ARRAY_SIZE(rows));
}

static void kinds_decide_what_is_denied_and_which_rules_begin(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{MASK("t", "x"), "{\"event\":\"t\",\"x\":1}", "{\"event\":\"t\",\"x\":\"M\"}"},
		{MASK("t", "x"), "{\"event\":\"u\",\"x\":1}", "{\"event\":\"u\",\"x\":1}"},
		{MASK("t", "x"), "{\"type\":\"t\",\"x\":1}", "{\"type\":\"t\",\"x\":\"M\"}"},
		{MASK("t", "x"), "{\"x\":1,\"event\":\"u\",\"type\":\"t\"}",
			"{\"x\":1,\"event\":\"u\",\"type\":\"t\"}"},
		{MASK("t", "x"), "{\"x\":1,\"event\":\"u\",\"event\":\"t\"}",
			"{\"x\":\"M\",\"event\":\"u\",\"event\":\"t\"}"},
		{MASK("t", "x"), "{\"x\":1,\"event\":1,\"type\":\"t\"}",
			"{\"x\":\"M\",\"event\":1,\"type\":\"t\"}"},
		{MASK("t", "x"), "{\"x\":1,\"event\":1,\"event\":\"u\",\"type\":\"t\"}",
			"{\"x\":\"M\",\"event\":1,\"event\":\"u\",\"type\":\"t\"}"},
		{MASK("t, u", "x"), "{\"event\":\"u\",\"x\":1}", "{\"event\":\"u\",\"x\":\"M\"}"},
		{MASK("t", "x"), "{\"event\":\"secret_a\"}", NULL},
		{MASK("t", "x"), "{\"type\":\"secret_a\"}", NULL},
		{MASK("t", "x"), "{\"event\":\"u\",\"event\":\"secret_a\"}", NULL},
		{MASK("t", "x"), "{\"\\u0065vent\":\"secret\\u005fa\"}", NULL},
		{MASK("t", "x"), "{\"event\":{},\"type\":\"secret_a\"}", NULL},
		{MASK("t", "x"), "{\"event\":\"u\",\"type\":\"secret_a\"}",
			"{\"event\":\"u\",\"type\":\"secret_a\"}"},
		{MASK("'*'", "**"), "{\"event\":\"u\"}", NULL},
		{REMOVE("'*'", "**[k=t]"), "{\"k\":\"t\"}", NULL},
	};
	check_rows(rows, ARRAY_SIZE(rows));
}

static void nested_events_follow_their_own_kind(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{MASK("t", "data.x"),
			"{\"event\":\"w\",\"data\":{\"event\":{\"event\":\"t\",\"data\":{\"x\":1}}}"
			"}",
			"{\"event\":\"w\",\"data\":{\"event\":{\"event\":\"t\",\"data\":{\"x\":"
			"\"M\"}}}}"},
		{MASK("t", "data.x"),
			"{\"event\":\"w\",\"data\":{\"event\":{\"event\":\"u\",\"data\":{\"x\":1}}}"
			"}",
			"{\"event\":\"w\",\"data\":{\"event\":{\"event\":\"u\",\"data\":{\"x\":1}}}"
			"}"},
		{MASK("t", "x"), "{\"event\":\"w\",\"data\":{\"event\":\"t\",\"x\":1}}",
			"{\"event\":\"w\",\"data\":{\"event\":\"t\",\"x\":1}}"},
		{MASK("t", "x"), "{\"event\":\"w\",\"data\":{\"type\":\"t\",\"data\":{},\"x\":1}}",
			"{\"event\":\"w\",\"data\":{\"type\":\"t\",\"data\":{},\"x\":1}}"},
		{MASK("t", "x"), "{\"a\":[{\"x\":1,\"data\":{},\"event\":\"t\"}]}",
			"{\"a\":[{\"x\":\"M\",\"data\":{},\"event\":\"t\"}]}"},
		{MASK("t", "x"), "{\"a\":[{\"event\":\"secret_b\",\"data\":{}},1]}", "{\"a\":[1]}"},
		{MASK("t", "x"), "{\"a\":{\"event\":\"secret_b\",\"data\":{}},\"b\":1}",
			"{\"b\":1}"},
		{MASK("t", "x"), "{\"a\":{\"event\":\"secret_b\",\"data\":[]}}",
			"{\"a\":{\"event\":\"secret_b\",\"data\":[]}}"},
		{MASK("t", "x"),
			"{\"a\":{\"event\":\"u\",\"event\":\"secret_b\",\"data\":1,\"data\":{}}}",
			"{}"},
	};
	check_rows(rows, ARRAY_SIZE(rows));
}

static void what_no_allow_names_is_denied_and_long_kinds_count_as_none(void **state)
{
	(void)state;
	struct fixture f;
	char long_kind[512];
	/* An empty kind matches a glob only if that matches the empty text. */
	for (size_t len = 250; len <= 260; len++) {
		snprintf(long_kind, sizeof(long_kind), "{\"event\":\"a%0*d\"}", (int)len - 1, 0);
		open_fixture(&f, "{allow: ['a*']}", MASK("b", "x"));
		check(&f, long_kind, len <= KIND_BYTES_MAX ? long_kind : NULL);
		check(&f, "{\"event\":\"b\"}", NULL);
		check(&f, "{\"event\":\"\"}", NULL);
		check(&f, "{}", NULL);
		close_fixture(&f);
		open_fixture(&f, "{allow: ['*'], deny: ['a*']}", MASK("b", "x"));
		check(&f, long_kind, NULL);
		check(&f, "{}", "{}");
		close_fixture(&f);
	}
	open_fixture(&f, "{allow: []}", MASK("b", "x"));
	check(&f, "{\"event\":\"a\"}", NULL);
	close_fixture(&f);
}

static void hash_keeps_equal_values_equal(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, "{allow: ['*']}", "      - {in: ['*'], path: '*', action: hash}\n");
	const char event[] = "{\"a\":\"x\",\"b\":\"\\u0078\",\"c\":\"y\",\"d\":[1],\"e\":\"[1]\"}";
	const uint8_t *out;
	size_t len;
	assert_int_equal(project(&f, event, strlen(event), &out, &len), VERDICT_REWRITE);
	char values[5][RULES_HASH_TEXT_BYTES];
	assert_int_equal(len, strlen("{\"a\":\"\",\"b\":\"\",\"c\":\"\",\"d\":\"\",\"e\":\"\"}") +
				      sizeof(values));
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		memcpy(values[i], out + 6 + i * (RULES_HASH_TEXT_BYTES + 7), RULES_HASH_TEXT_BYTES);
	assert_memory_equal(values[0], values[1], RULES_HASH_TEXT_BYTES);
	assert_memory_not_equal(values[0], values[2], RULES_HASH_TEXT_BYTES);
	assert_memory_not_equal(values[3], values[4], RULES_HASH_TEXT_BYTES);
	close_fixture(&f);
}

static void what_is_no_event_is_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {"", "{", "[]", "1", "{\"a\":\"\xff\"}", "{} {}",
		"\xef\xbb\xbf{}", "{\"a\":\"\\ud800\"}", "{'a':1}", "null"};
	struct fixture f;
	open_fixture(&f, "{allow: ['*']}", MASK("'*'", "a"));
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		const uint8_t *out;
		size_t len;
		assert_int_equal(
			project(&f, texts[i], strlen(texts[i]), &out, &len), VERDICT_REFUSED);
		assert_non_null(f.engine.refusal.reason);
	}
	close_fixture(&f);
}

static void deep_and_large_events_are_judged_in_linear_time(void **state)
{
	(void)state;
	enum { MEMBERS = 100000, LONG = 8 * 1024 * 1024 };
	struct fixture f;
	open_fixture(&f, "{allow: ['*']}",
		MASK("'*'", "**[k=t*t*t*].a") MASK("'*'", "**.a.**.a.**.a.**.b")
			REMOVE("'*'", "**.d") ANYWHERE("**.p"));
	const uint8_t *out;
	size_t len;
	_cleanup_buf_ struct buf text = {0};
	/* Duplicates, every one removed. */
	assert_int_equal(buf_append_str(&text, "{"), 0);
	for (int i = 0; i < MEMBERS; i++)
		assert_int_equal(buf_append_str(&text, "\"d\":[1,{\"d\":2}],"), 0);
	assert_int_equal(buf_append_str(&text, "\"x\":1}"), 0);
	assert_int_equal(project(&f, text.data, text.len, &out, &len), VERDICT_REWRITE);
	assert_int_equal(len, strlen("{\"x\":1}"));
	/* As deep as JSON may be, every level matching. */
	text.len = 0;
	for (int i = 0; i < JSON_DEPTH_MAX; i++)
		assert_int_equal(buf_append_str(&text, "{\"k\":\"ttt\",\"b\":1,\"x\":"), 0);
	assert_int_equal(buf_append_str(&text, "1"), 0);
	for (int i = 0; i < JSON_DEPTH_MAX; i++)
		assert_int_equal(buf_append_str(&text, "}"), 0);
	assert_int_equal(project(&f, text.data, text.len, &out, &len), VERDICT_PASS);
	/* One long text full of beginnings. */
	text.len = 0;
	assert_int_equal(buf_append_str(&text, "{\"p\":\""), 0);
	while (text.len < LONG)
		assert_int_equal(buf_append_str(&text, "/srv/srv/a/"), 0);
	assert_int_equal(buf_append_str(&text, "\"}"), 0);
	assert_int_equal(project(&f, text.data, text.len, &out, &len), VERDICT_PASS);
	memset(text.data, '[', text.len);
	assert_int_equal(project(&f, text.data, text.len, &out, &len), VERDICT_REFUSED);
	close_fixture(&f);
}

static void output_beyond_its_limit_is_refused_and_the_engine_goes_on(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, "{allow: ['*']}", "      - {in: ['*'], path: 'l.*', action: mask}\n");
	_cleanup_buf_ struct buf text = {0};
	assert_int_equal(buf_append_str(&text, "{\"l\":[1"), 0);
	while (text.len < EVENT_BYTES_MAX - 2)
		assert_int_equal(buf_append_str(&text, ",1"), 0);
	assert_int_equal(buf_append_str(&text, "]}"), 0);
	const uint8_t *out;
	size_t len;
	assert_int_equal(project(&f, text.data, text.len, &out, &len), VERDICT_REFUSED);
	check(&f, "{\"l\":[1]}", "{\"l\":[\"[redacted]\"]}");
	close_fixture(&f);
}

static void nothing_of_one_event_reaches_the_next(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, "{allow: ['*'], deny: [s]}",
		MASK("t", "x") MASK("'*'", "**[k=t].y") REWRITE("p"));
	for (int i = 0; i < 1000; i++) {
		check(&f, "{\"event\":\"t\",\"x\":1}", "{\"event\":\"t\",\"x\":\"M\"}");
		check(&f, "{\"event\":\"u\",\"x\":1}", "{\"event\":\"u\",\"x\":1}");
		check(&f, "{\"event\":\"s\"}", NULL);
		check(&f, "{\"k\":\"t\",\"y\":1}", "{\"k\":\"t\",\"y\":\"M\"}");
		check(&f, "{\"k\":\"u\",\"y\":1}", "{\"k\":\"u\",\"y\":1}");
		char event[64];
		snprintf(event, sizeof(event), "{\"event\":\"kind_%d\",\"x\":1}", i);
		check(&f, event, event);
	}
	close_fixture(&f);
}

/* More rules than fit one word of bits, so that steps cross from word to word. */
static void many_rules_work_together(void **state)
{
	(void)state;
	enum { RULES = 60 };
	static char redact[8192];
	size_t len = 0;
	for (int i = 0; i < RULES; i++)
		len += (size_t)snprintf(redact + len, sizeof(redact) - len,
			"      - {in: ['*'], path: '**[k=t%d].a.b%d', action: mask, with: M%d}\n",
			i, i, i);
	struct fixture f;
	open_fixture(&f, "{allow: ['*']}", redact);
	for (int i = 0; i < RULES; i++) {
		char event[128], expected[128];
		snprintf(event, sizeof(event),
			"{\"x\":[{\"a\":{\"b%d\":1,\"b%d\":2},\"k\":\"t%d\"}]}", i, i + 1, i);
		snprintf(expected, sizeof(expected),
			"{\"x\":[{\"a\":{\"b%d\":\"M%d\",\"b%d\":2},\"k\":\"t%d\"}]}", i, i, i + 1,
			i);
		check(&f, event, expected);
	}
	close_fixture(&f);
}

#define SECRETS(in) "      - {in: [" in "], secrets: [aws, url_credentials], action: mask}\n"
#define KEY "AKIAIOSFODNN7EXAMPLE"

static void secrets_are_masked_where_they_stand(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{SECRETS("'*'"), "{\"a\":\"x " KEY " y\"}", "{\"a\":\"x AKIA[redacted] y\"}"},
		{SECRETS("'*'"), "{\"a\":[{\"b\":\"" KEY "\"}, \"u://a:b@c\"]}",
			"{\"a\":[{\"b\":\"AKIA[redacted]\"}, \"u://a:[redacted]@c\"]}"},
		{SECRETS("'*'"),
			"{\"a\":\"\\u00e9\\n\\/\\ud83d\\ude00 "
			"\\u0041KIAIOSFODNN7EX\\u0041MPLE\\t\"}",
			"{\"a\":\"\\u00e9\\n\\/\\ud83d\\ude00 \\u0041KIA[redacted]\\t\"}"},
		{SECRETS("'*'"), "{\"" KEY "\":1}", "{\"" KEY "\":1}"},
		{SECRETS("t"), "{\"a\":\"" KEY "\"}", "{\"a\":\"" KEY "\"}"},
		{SECRETS("t"),
			"{\"a\":{\"event\":\"t\",\"data\":{\"b\":\"" KEY "\"}},\"b\":\"" KEY "\"}",
			"{\"a\":{\"event\":\"t\",\"data\":{\"b\":\"AKIA[redacted]\"}},\"b\":\"" KEY
			"\"}"},
		{"      - {in: ['*'], path: a, secrets: [aws], action: mask, with: ''}\n",
			"{\"a\":\"" KEY "\",\"b\":\"" KEY "\"}",
			"{\"a\":\"AKIA\",\"b\":\"" KEY "\"}"},
		{SECRETS("'*'") MASK("'*'", "a"), "{\"a\":\"" KEY "\"}", "{\"a\":\"M\"}"},
		{TRUNCATE("a", "8") SECRETS("'*'"), "{\"a\":\"" KEY " \"}",
			"{\"a\":\"AKIA[red…\"}"},
		{REWRITE("a") SECRETS("'*'"), "{\"a\":\"/srv/a/" KEY "\"}",
			"{\"a\":\"/w/AKIA[redacted]\"}"},
	};
	check_rows(rows, ARRAY_SIZE(rows));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_reach_what_they_name),
		cmocka_unit_test(predicates_look_at_the_object_wherever_the_member_stands),
		cmocka_unit_test(keys_are_compared_unescaped_and_every_duplicate_is_matched),
		cmocka_unit_test(removal_takes_one_comma_along),
		cmocka_unit_test(texts_are_rewritten_at_component_boundaries),
		cmocka_unit_test(texts_are_truncated_by_characters),
		cmocka_unit_test(the_strongest_of_several_rules_counts),
		cmocka_unit_test(kinds_decide_what_is_denied_and_which_rules_begin),
		cmocka_unit_test(nested_events_follow_their_own_kind),
		cmocka_unit_test(what_no_allow_names_is_denied_and_long_kinds_count_as_none),
		cmocka_unit_test(hash_keeps_equal_values_equal),
		cmocka_unit_test(what_is_no_event_is_refused),
		cmocka_unit_test(deep_and_large_events_are_judged_in_linear_time),
		cmocka_unit_test(output_beyond_its_limit_is_refused_and_the_engine_goes_on),
		cmocka_unit_test(nothing_of_one_event_reaches_the_next),
		cmocka_unit_test(many_rules_work_together),
		cmocka_unit_test(secrets_are_masked_where_they_stand),
	};
	return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
