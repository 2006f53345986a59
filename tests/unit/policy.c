/* projection/policy: what is read, and every mistake with its line and column. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "projection/policy.h"

static int parse(struct policy *policy, const char *text, struct yaml_error *error)
{
	error->text[0] = '\0';
	return policy_parse(policy, "p", text, strlen(text), error);
}

#define HEAD "version: 1\nroles:\n  r:\n"
#define BLOCK(block) "version: 1\nroles: {}\nblocks:\n  - " block "\n"
#define RULE(text) HEAD "    redact:\n      - " text "\n"

static const struct {
	const char *text, *error; /* ending in ": ": what follows is libyaml's */
} mistakes[] = {
	{"", "p:1:1: the policy is empty"},
	{"roles: {}", "p:1:1: \"version\" is missing"},
	{"version: 1", "p:1:1: \"roles\" is missing"},
	{"version: 2\nroles: {}", "p:1:10: version must be 1"},
	{"version: [1]\nroles: {}", "p:1:10: version must be 1"},
	{"- a", "p:1:1: expected keys and values here"},
	{"version: 1\nroles: []", "p:2:8: roles must be role names with their rules"},
	{"version: 1\nroles: {}\nblocks: {}", "p:3:9: blocks must be a list"},
	{BLOCK("{text: a}"), "p:4:5: \"delta\" is missing"},
	{BLOCK("{delta: a}"), "p:4:5: \"text\" is missing"},
	{BLOCK("{delta: a, text: b, kind: c}"), "p:4:25: unknown key \"kind\""},
	{BLOCK("{delta: [a], text: b}"), "p:4:13: delta must be a text"},
	{BLOCK("{delta: a, text: b.*}"), "p:4:22: text must be a path of names"},
	{BLOCK("{delta: a, text: b, key: '**.c'}"), "p:4:30: key must be a path of names"},
	{BLOCK("{delta: a, text: b, key: 'c[d=e]'}"), "p:4:30: key must be a path of names"},
	{BLOCK("{delta: a, text: b, in_flight: c}"), "p:4:5: snapshot and in_flight go together"},
	{BLOCK("{delta: a, text: b, snapshot: c}"), "p:4:5: snapshot and in_flight go together"},
	{BLOCK("{delta: a, text: b, rest: c}"), "p:4:5: rest goes with done"},
	{BLOCK("{delta: a, text: b, all_done: c}"), "p:4:35: all_done must be a list"},
	{BLOCK("{delta: a, text: b, done: c, rest: d.*}"), "p:4:40: rest must be a path of names"},
	{"version: 1\nroles: {}\nnested_by: a", "p:3:12: nested_by must be a list"},
	{"version: 1\nroles: {}\nnested_by: []", "p:3:12: nested_by must name 1 to 8 members"},
	{"version: 1\nroles: {}\nnested_by: [a, [b]]", "p:3:16: a member's name must be a text"},
	{BLOCK("{delta: a, text: b, snapshot: s, in_flight: c..}"),
		"p:4:49: in_flight \"c..\": a step without a name, at character 3"},
	{"version: 1\nroles: {a: {}, a: {}}", "p:2:16: duplicate key \"a\""},
	{"version: 1\nroles:\n  r: {}\n  r: {}", "p:4:3: duplicate key \"r\""},
	{"version: 1\nroles:\n  r: {}\nroles: {}", "p:4:1: duplicate key \"roles\""},
	{"version: 1\nroles:\n  r:\n", "p:3:5: a value is missing here; a text goes in quotes"},
	{"version: 1\nroles: {a: *x}", "p:2:12: aliases are not supported"},
	{"version: 1\nroles: {a: {}", "p:3:1: "},
	{"version: 1\nroles: {a: {}, <<: *x}", "p:2:20: aliases are not supported"},
	{"version: 1\nroles: {<<: {a: {}}}", "p:2:14: unknown key \"a\""},
	{"version: 1\nroles: {}\n---\nversion: 1\n", "p:3:1: more than one document in the file"},
	{"version: 1\nroles: {? [a] : {}}", "p:2:11: a key must be a word"},
	{"version: 1\nroles: {a: {}}\n\tb: 1\n", "p:3:1: "},
	{"version: 1\nroles: {\"a\\0b\": {}}", "p:2:9: NUL in a value"},
	{"version: 1\nroles: {\xc3\xa9\xff: {}}", "p:2:10: "},
	{"version: 1\nroles: {a\xed\xa0\x80: {}}", "p:2:10: "},
	{"\x7f"
	 "ELF\x02\x01\x01",
		"p:1:1: "},
	{"version: 1\nroles: {\"\": {}}", "p:2:9: a role's name must be a text"},
	{HEAD "    color: blue", "p:4:5: unknown key \"color\""},
	{HEAD "    observe: all", "p:4:14: observe must be a list"},
	{HEAD "    observe: [all]", "p:4:15: expected keys and values here"},
	{HEAD "    observe: [{runtime: a}]", "p:4:15: \"worker\" is missing"},
	{HEAD "    observe: [{runtime: [a], worker: b}]", "p:4:25: runtime must be a text"},
	{HEAD "    observe: [{runtime: a, worker: b, except: c}]", "p:4:47: except must be a list"},
	{HEAD "    observe: [{runtime: a, worker: b, exept: [c]}]",
		"p:4:39: unknown key \"exept\""},
	{HEAD "    observe: [{runtime: a/b, worker: c}]",
		"p:4:25: runtime \"a/b\" matches no id, for its character 2"},
	{HEAD "    observe: [{runtime: a, worker: 'w[12]'}]",
		"p:4:36: worker \"w[12]\" matches no id, for its character 2"},
	{HEAD "    observe: [{runtime: a, worker: b, except: ['*-x', '{a,b}*']}]",
		"p:4:55: a glob \"{a,b}*\" matches no id, for its character 1"},
	{HEAD "    events: {deny: [a]}", "p:4:13: \"allow\" is missing"},
	{HEAD "    events: {allow: a}", "p:4:21: allow must be a list"},
	{HEAD "    events: {allow: [a, {}]}", "p:4:25: a glob must be a text"},
	{HEAD "    events: {allow: [a, \"\"]}", "p:4:25: a glob must be a text"},
	{HEAD "    events: {allow: [a, ~]}",
		"p:4:25: a value is missing here; a text goes in quotes"},
	{HEAD "    events: {allow: [a, null]}",
		"p:4:25: a value is missing here; a text goes in quotes"},
	{HEAD "    events: {allow: [5]}",
		"p:4:22: a glob must be a text; what looks like something else goes in quotes"},
	{HEAD "    events: {allow: [True]}",
		"p:4:22: a glob must be a text; what looks like something else goes in quotes"},
	{HEAD "    observe: [{runtime: 1e5, worker: b}]",
		"p:4:25: runtime must be a text; what looks like something else goes in quotes"},
	{HEAD "    observe: [{runtime: !!str a, worker: b}]", "p:4:25: tags are not supported"},
	{HEAD "    observe: !x [{runtime: a, worker: b}]", "p:4:14: tags are not supported"},
	{HEAD "    events: !!map {allow: [a]}", "p:4:13: tags are not supported"},
	{RULE("{in: [a], path: b, action: mask, with: }"),
		"p:5:48: a value is missing here; a text goes in quotes"},
	{HEAD "    commands: {allow: [a], grant: [b]}", "p:4:28: unknown key \"grant\""},
	{HEAD "    redact: {}", "p:4:13: redact must be a list"},
	{RULE("mask"), "p:5:9: expected keys and values here"},
	{RULE("{path: a, action: mask}"), "p:5:9: \"in\" is missing"},
	{RULE("{in: [a], action: mask}"), "p:5:9: \"path\" is missing"},
	{RULE("{in: [a], path: b}"), "p:5:9: \"action\" is missing"},
	{RULE("{in: [], path: b, action: mask}"), "p:5:14: in must name at least one kind"},
	{RULE("{in: a, path: b, action: mask}"), "p:5:14: in must be a list"},
	{RULE("{in: [a], path: b, action: blank}"),
		"p:5:36: \"action\" must be one of: remove, mask, hash, rewrite_prefix, "
		"truncate"},
	{RULE("{in: [a], path: b, action: mask, with: [x]}"), "p:5:48: with must be a text"},
	{RULE("{in: [a], path: b, action: mask, from: x}"),
		"p:5:48: action mask takes no \"from\""},
	{RULE("{in: [a], path: b, action: remove, with: x}"),
		"p:5:50: action remove takes no \"with\""},
	{RULE("{in: [a], path: b, action: truncate}"), "p:5:9: action truncate needs \"truncate\""},
	{RULE("{in: [a], path: b, action: truncate, truncate: many}"),
		"p:5:56: \"truncate\" must be a number"},
	{RULE("{in: [a], path: b, action: truncate, truncate: -1}"),
		"p:5:56: \"truncate\" must be a number"},
	{RULE("{in: [a], path: b, action: mask, truncate: 3}"),
		"p:5:52: action mask takes no \"truncate\""},
	{RULE("{in: [a], path: b, action: rewrite_prefix, from: x}"),
		"p:5:9: action rewrite_prefix needs \"to\""},
	{RULE("{in: [a], path: b, action: rewrite_prefix, to: x}"),
		"p:5:9: action rewrite_prefix needs \"from\""},
	{RULE("{in: [a], path: b, action: rewrite_prefix, from: '', to: x}"),
		"p:5:58: from must be a text"},
	{RULE("{in: [a], path: b, action: rewrite_prefix, from: a, to: b, anywhere: "
	      "1}"),
		"p:5:78: \"anywhere\" must be one of: false, true"},
	{RULE("{in: [a], secrets: [aws], action: remove}"),
		"p:5:28: action remove takes no \"secrets\""},
	{RULE("{in: [a], secrets: [], action: mask}"), "p:5:28: secrets must be a list of sets"},
	{RULE("{in: [a], secrets: aws, action: mask}"), "p:5:28: secrets must be a list of sets"},
	{RULE("{in: [a], secrets: [aws, asw], action: mask}"),
		"p:5:34: \"asw\" is no set of secrets"},
	{RULE("{in: [a], path: '', action: mask}"), "p:5:25: path must be a text"},
	{RULE("{in: [a], path: a..b, action: mask}"),
		"p:5:25: path \"a..b\": a step without a name, at character 3"},
	{RULE("{in: [a], path: .a, action: mask}"),
		"p:5:25: path \".a\": a step without a name, at character 1"},
	{RULE("{in: [a], path: a., action: mask}"),
		"p:5:25: path \"a.\": a step without a name, at character 3"},
	{RULE("{in: [a], path: a*, action: mask}"),
		"p:5:25: path \"a*\": expected a dot between steps, at character 2"},
	{RULE("{in: [a], path: '***', action: mask}"),
		"p:5:25: path \"***\": expected a dot between steps, at character 3"},
	{RULE("{in: [a], path: 'a[b=c', action: mask}"),
		"p:5:25: path \"a[b=c\": a predicate without its closing bracket, at "
		"character 6"},
	{RULE("{in: [a], path: 'a[b]', action: mask}"),
		"p:5:25: path \"a[b]\": a predicate must be [name=glob], at character 4"},
	{RULE("{in: [a], path: 'a[=c]', action: mask}"),
		"p:5:25: path \"a[=c]\": a predicate must be [name=glob], at character 3"},
	{RULE("{in: [a], path: 'a[b=c]d', action: mask}"),
		"p:5:25: path \"a[b=c]d\": expected a dot between steps, at character 7"},
	{RULE("{in: [a], path: '[b=c]', action: mask}"),
		"p:5:25: path \"[b=c]\": a step without a name, at character 1"},
	{RULE("{in: [a], path: a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q, action: mask}"),
		"p:5:25: path \"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q\": too many steps, at "
		"character 33"},
};

static void mistakes_are_told_with_line_and_column(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
		struct policy policy;
		struct yaml_error error;
		int r = parse(&policy, mistakes[i].text, &error);
		if (r != -EINVAL)
			fail_msg("accepted: %s", mistakes[i].text);
		assert_int_equal(policy.role_count, 0);
		const char *expected = mistakes[i].error;
		size_t len = strlen(expected);
		if (strcmp(expected + len - 2, ": ") != 0)
			assert_string_equal(error.text, expected);
		else if (strncmp(error.text, expected, len) != 0)
			fail_msg("%s and not %s", error.text, expected);
	}
}

static void texts_that_look_like_something_else_are_read_when_they_are_none(void **state)
{
	(void)state;
	static const char *const words[] = {"'5'", "\"5\"", "'~'", "'null'", "'true'", "a5", "5a",
		"1.2.3", "yes", "truly", "nulls", "-.-", "'-1'", "e5", "./5", "'0x1f'"};
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		char text[256];
		snprintf(text, sizeof(text), HEAD "    events: {allow: [%s]}", words[i]);
		struct policy policy;
		struct yaml_error error;
		if (parse(&policy, text, &error) != 0)
			fail_msg("%s: %s", text, error.text);
		const char *glob = policy.role[0].events_allow.glob[0];
		const char *word = words[i] + (words[i][0] == '\'' || words[i][0] == '"');
		assert_memory_equal(glob, word, strlen(glob));
		policy_free(&policy);
	}
}

static void texts_that_are_too_long_are_refused(void **state)
{
	(void)state;
	char long_text[2048], policy_text[4096];
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	static const char *const formats[] = {
		HEAD "    events: {allow: [\"%s\"]}",
		"version: 1\nroles: {\"%.300s\": {}}",
		RULE("{in: [a], path: \"%s\", action: mask}"),
		RULE("{in: [a], path: b, action: mask, with: \"%s\"}"),
		RULE("{in: [\"%s\"], path: b, action: mask}"),
	};
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		struct policy policy;
		struct yaml_error error;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(policy_text, sizeof(policy_text), formats[i], long_text);
#pragma GCC diagnostic pop
		assert_int_equal(parse(&policy, policy_text, &error), -EINVAL);
		assert_non_null(strstr(error.text, "longer than"));
	}
}

static void everything_that_is_written_is_read(void **state)
{
	(void)state;
	static const char text[] =
		"version: 1\n"
		"roles:\n"
		"  viewer:\n"
		"    observe:\n"
		"      - {runtime: \"prod-*\", worker: \"a*\", except: [\"*-x\", \"*-y\"]}\n"
		"      - {runtime: other, worker: w}\n"
		"    events: {allow: [\"*\"], deny: [\"thinking_*\"]}\n"
		"    commands: {allow: [input], deny: [stop]}\n"
		"    redact:\n"
		"      - {in: [a, b], path: \"**[k=v*].x.*\", action: mask, with: \"\"}\n"
		"      - {in: [\"*\"], path: c, action: rewrite_prefix, from: /a, to: \"\", "
		"anywhere: true}\n"
		"      - {in: [\"*\"], path: d, action: truncate, truncate: 80}\n"
		"      - {in: [\"*\"], secrets: [aws, jwt], action: mask, with: S}\n"
		"  empty: {}\n"
		"nested_by: [worker, id]\n"
		"blocks:\n"
		"  - {delta: d, text: data.t}\n"
		"  - {delta: e, text: x, key: data.k, done: f, all_done: [g, h], rest: data.r, "
		"snapshot: s, "
		"in_flight: '**.t'}\n";
	struct policy policy;
	struct yaml_error error;
	assert_int_equal(parse(&policy, text, &error), 0);
	assert_int_equal(policy.role_count, 2);
	const struct policy_role *viewer = policy_find_role(&policy, "viewer", 6);
	assert_non_null(viewer);
	assert_int_equal(viewer->observe_count, 2);
	assert_int_equal(viewer->observe[0].except.count, 2);
	assert_int_equal(viewer->redact_count, 5);
	const struct redact_rule *rule = viewer->redact;
	assert_int_equal(rule[0].path.count, 3);
	assert_int_equal(rule[0].path.step[0].kind, PATH_DEEP);
	assert_string_equal(rule[0].path.step[0].member, "k");
	assert_string_equal(rule[0].path.step[0].pattern, "v*");
	assert_string_equal(rule[0].path.step[1].name, "x");
	assert_int_equal(rule[0].path.step[2].kind, PATH_ANY);
	assert_string_equal(rule[0].with, "");
	assert_string_equal(rule[0].place, "10:9 mask **[k=v*].x.*");
	assert_true(rule[1].anywhere);
	assert_string_equal(rule[1].to, "");
	assert_int_equal(rule[2].keep, 80);
	assert_int_equal(rule[3].action, REDACT_SECRETS);
	assert_int_equal(rule[3].secrets, 1u << SECRETS_AWS | 1u << SECRETS_JWT);
	assert_int_equal(rule[3].path.count, 0);
	assert_string_equal(rule[3].place, "13:9 secrets **");
	assert_int_equal(rule[4].action, REDACT_IN_FLIGHT);
	assert_int_equal(rule[4].block, 1);
	assert_string_equal(rule[4].place, "18:5 in_flight **.t");
	assert_int_equal(viewer->block_count, 2);
	assert_int_equal(viewer->block[0].key.count, 0);
	assert_string_equal(viewer->block[1].key.step[1].name, "k");
	assert_string_equal(viewer->block[1].rest.step[1].name, "r");
	assert_string_equal(viewer->block[1].all_done.glob[1], "h");
	assert_string_equal(viewer->nested_by->glob[1], "id");
	assert_int_equal(policy_find_role(&policy, "empty", 5)->block_count, 0);
	assert_null(policy_needs_key(&policy));
	policy_free(&policy);
}

static void names_alone_decide_what_may_be_observed_and_done(void **state)
{
	(void)state;
	static const char text[] =
		"version: 1\nroles:\n"
		"  v:\n"
		"    observe: [{runtime: \"p-*\", worker: \"*\", except: [\"*-private\"]},\n"
		"              {runtime: \"t\", worker: \"w?\"}]\n"
		"    commands: {allow: [\"a*\"], deny: [ab]}\n"
		"  none: {}\n";
	struct policy policy;
	struct yaml_error error;
	assert_int_equal(parse(&policy, text, &error), 0);
	const struct policy_role *role = policy_find_role(&policy, "v", 1);
	assert_true(policy_may_observe(role, "p-1", "w"));
	assert_false(policy_may_observe(role, "p-1", "w-private"));
	assert_false(policy_may_observe(role, "q-1", "w"));
	assert_true(policy_may_observe(role, "t", "w1"));
	assert_false(policy_may_observe(role, "t", "w"));
	assert_false(policy_may_observe(role, "t", "w12"));
	assert_true(policy_may_command(role, "p-1", "w", "a", 1));
	assert_false(policy_may_command(role, "p-1", "w", "ab", 2));
	assert_false(policy_may_command(role, "p-1", "w", "b", 1));
	assert_false(policy_may_command(role, "q", "w", "a", 1));
	const struct policy_role *none = policy_find_role(&policy, "none", 4);
	assert_non_null(none);
	assert_false(policy_may_observe(none, "p-1", "w"));
	assert_null(policy_find_role(&policy, "V", 1));
	assert_null(policy_find_role(&policy, "*", 1));
	assert_false(policy_may_observe(NULL, "p-1", "w"));
	assert_false(policy_may_command(NULL, "p-1", "w", "a", 1));
	policy_free(&policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mistakes_are_told_with_line_and_column),
		cmocka_unit_test(texts_that_look_like_something_else_are_read_when_they_are_none),
		cmocka_unit_test(texts_that_are_too_long_are_refused),
		cmocka_unit_test(everything_that_is_written_is_read),
		cmocka_unit_test(names_alone_decide_what_may_be_observed_and_done),
	};
	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
