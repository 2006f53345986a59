/*
 * projection/open_blocks: each line of the input is an event of one stream. Whatever the events, an
 * output is an event, and a reader that begins again anywhere, fed from where open_since says, gets
 * the same bytes as one that has been there from the beginning.
 */
#include <stdlib.h>
#include <string.h>

#include "projection/engine.h"

enum { EVENTS_MAX = 24 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const char policy_text[] =
	"version: 1\n"
	"nested_by: [w]\n"
	"blocks:\n"
	"  - {delta: t, text: data.t, done: d, rest: data.r, all_done: [a], snapshot: s, "
	"in_flight: '**.f'}\n"
	"  - {delta: k, text: data.t, key: data.k, done: d, snapshot: s, in_flight: '**[k=*].g'}\n"
	"roles:\n"
	"  r:\n"
	"    events: {allow: ['*'], deny: [x]}\n"
	"    redact:\n"
	"      - {in: [s], path: '**.p', action: remove}\n"
	"      - {in: ['*'], secrets: [aws, private_key, jwt, bearer, password_assignment, "
	"url_credentials], action: mask, with: '#'}\n";

struct event {
	const uint8_t *bytes;
	size_t len;
};

/* What a reader got for an event. */
struct answer {
	int verdict;
	uint8_t *out;
	size_t len;
	bool is_open;
	uint64_t since;
};

struct reader {
	struct engine engine;
	struct open_blocks blocks;
};

static void expect(bool claim)
{
	if (!claim)
		abort();
}

static struct rules *rules(void)
{
	static struct policy policy;
	static struct rules *compiled;
	struct projection_key key = {{1}};
	struct yaml_error error;
	if (compiled == NULL) {
		expect(policy_parse(&policy, "p", policy_text, strlen(policy_text), &error) == 0);
		expect(rules_compile(&compiled, &policy.role[0], &key) == 0);
	}
	return compiled;
}

static void read_event(
	struct reader *reader, const struct event *event, uint64_t ticket, struct answer *answer)
{
	const uint8_t *out = NULL;
	size_t len = 0;
	*answer = (struct answer){0};
	answer->verdict = engine_project_next(&reader->engine, rules(), &reader->blocks, ticket,
		event->bytes, event->len, &out, &len);
	answer->is_open = open_blocks_since(&reader->blocks, &answer->since);
	expect(answer->verdict >= 0 && (!answer->is_open || answer->since <= ticket));
	if (answer->verdict != VERDICT_REWRITE)
		return;
	struct json_event_info info;
	expect(json_check_event(out, len, &info) == JSON_OK);
	answer->out = malloc(len);
	expect(answer->out != NULL);
	memcpy(answer->out, out, len);
	answer->len = len;
}

static void compare(const struct answer *a, const struct answer *b)
{
	expect(a->verdict == b->verdict && a->len == b->len && a->is_open == b->is_open);
	expect(a->len == 0 || memcmp(a->out, b->out, a->len) == 0);
	expect(!a->is_open || a->since == b->since);
}

/* Begins behind the event `at` as a client does that comes back with its cursor. */
static void resume(const struct event *event, size_t count, const struct answer *live, size_t at)
{
	struct reader reader = {0};
	struct answer answer;
	expect(engine_init(&reader.engine) == 0);
	for (size_t i = live[at].is_open ? live[at].since : at + 1; i < count; i++) {
		read_event(&reader, &event[i], i, &answer);
		if (i > at)
			compare(&answer, &live[i]);
		free(answer.out);
	}
	open_blocks_free(&reader.blocks);
	engine_free(&reader.engine);
}

static size_t split(const uint8_t *bytes, size_t len, struct event event[EVENTS_MAX])
{
	size_t count = 0;
	while (len > 0 && count < EVENTS_MAX) {
		const uint8_t *end = memchr(bytes, '\n', len);
		size_t n = end != NULL ? (size_t)(end - bytes) : len;
		event[count++] = (struct event){bytes, n};
		n += end != NULL ? 1 : 0;
		bytes += n;
		len -= n;
	}
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct event event[EVENTS_MAX];
	struct answer live[EVENTS_MAX];
	struct reader reader = {0};
	size_t count = split(bytes, len, event);
	expect(engine_init(&reader.engine) == 0);
	for (size_t i = 0; i < count; i++)
		read_event(&reader, &event[i], i, &live[i]);
	for (size_t i = 0; i < count; i++)
		resume(event, count, live, i);
	for (size_t i = 0; i < count; i++)
		free(live[i].out);
	open_blocks_free(&reader.blocks);
	engine_free(&reader.engine);
	return 0;
}
