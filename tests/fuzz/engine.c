/*
 * projection/engine: the first byte chooses a policy, the rest is an event. Whatever the event, the
 * output is an event, what the rules name is not in it, and nothing else is missing from it.
 */
#include <stdlib.h>
#include <string.h>

#include "projection/engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const char *const policies[] = {
	/* everything passes */
	"version: 1\nroles: {r: {events: {allow: ['*']}}}",
	/* what is named here is looked for in the output */
	"version: 1\nroles:\n  r:\n    events: {allow: ['*'], deny: ['s*']}\n    redact:\n"
	"      - {in: ['*'], path: '**.gone', action: remove}\n"
	"      - {in: ['*'], path: '**.masked', action: mask}\n",
	/* a bit of everything */
	"version: 1\nroles:\n  r:\n    events: {allow: ['*'], deny: ['s*', '?']}\n    redact:\n"
	"      - {in: ['t*'], path: 'data.a', action: hash}\n"
	"      - {in: ['*'], path: '**[k=t*].a', action: mask, with: ''}\n"
	"      - {in: ['*'], path: '**[k=r].*', action: remove}\n"
	"      - {in: ['*'], path: '*.b.**.c', action: truncate, truncate: 2}\n"
	"      - {in: ['*'], path: '**.p', action: rewrite_prefix, from: /a/b, to: /c}\n"
	"      - {in: ['*'], path: '**.q', action: rewrite_prefix, from: /a, to: '', anywhere: "
	"true}\n"
	"      - {in: ['*'], secrets: [aws, github, gitlab, slack, google, openai, anthropic, "
	"private_key, jwt, bearer, password_assignment, url_credentials], action: mask}\n",
};

enum { POLICIES = sizeof(policies) / sizeof(policies[0]) };

struct view {
	struct policy policy;
	struct rules *rules;
};

static void expect(bool claim)
{
	if (!claim)
		abort();
}

static struct view *views(void)
{
	static struct view view[POLICIES];
	if (view[0].rules != NULL)
		return view;
	struct projection_key key = {{1}};
	for (size_t i = 0; i < POLICIES; i++) {
		struct yaml_error error;
		expect(policy_parse(&view[i].policy, "p", policies[i], strlen(policies[i]),
			       &error) == 0);
		expect(rules_compile(&view[i].rules, &view[i].policy.role[0], &key) == 0);
	}
	return view;
}

static bool text_is(const uint8_t *bytes, const struct json_token *token, const char *text)
{
	size_t len = token->end - token->start;
	uint8_t *plain = malloc(len);
	expect(plain != NULL);
	size_t n = json_unescape(bytes + token->start, len, plain);
	bool same = n == strlen(text) && memcmp(plain, text, n) == 0;
	free(plain);
	return same;
}

/* For the second policy: nothing that it names is left. */
static void look_for_what_must_be_gone(const uint8_t *out, const struct json_tape *tape)
{
	for (uint32_t i = 0; i < tape->count; i++) {
		const struct json_token *token = &tape->token[i];
		if (token->type != JSON_KEY)
			continue;
		expect(!text_is(out, token, "gone"));
		if (text_is(out, token, "masked"))
			expect(token[1].type == JSON_STRING &&
				text_is(out, &token[1], "[redacted]"));
	}
}

static void look_at_output(size_t policy, const uint8_t *out, size_t len)
{
	struct json_tape tape = {0};
	struct json_error error;
	expect(json_tape_build(&tape, out, len, &error) == JSON_OK);
	expect(tape.token[0].type == JSON_OBJECT);
	if (policy == 1)
		look_for_what_must_be_gone(out, &tape);
	json_tape_free(&tape);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	if (len == 0)
		return 0;
	size_t policy = bytes[0] % POLICIES;
	bytes++;
	len--;
	struct engine engine;
	expect(engine_init(&engine) == 0);
	const uint8_t *out = bytes;
	size_t out_len = len;
	int verdict = engine_project(&engine, views()[policy].rules, bytes, len, &out, &out_len);
	struct json_event_info info;
	bool is_event = json_check_event(bytes, len, &info) == JSON_OK;
	expect(verdict >= 0 && is_event == (verdict != VERDICT_REFUSED));
	expect(policy != 0 || verdict == VERDICT_PASS || verdict == VERDICT_REFUSED);
	if (verdict == VERDICT_PASS || verdict == VERDICT_REWRITE)
		look_at_output(policy, out, out_len);
	engine_free(&engine);
	return 0;
}
