#include "projection/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "projection/engine_private.h"

enum { KEEP_TOKENS = 64 * 1024, KEEP_BYTES = 1024 * 1024, KEEP_FINDINGS = 16 * 1024 };

/* An array or object that the walk is in. Its set of positions is engine_set(depth). */
struct frame {
	uint32_t container;  /* its token */
	uint32_t child, end; /* tokens: the next key or element, and what is behind the last */
	uint32_t done_bytes; /* where the member or element before ends */
	bool is_object;
	bool has_kept; /* one before stays in the output */
};

const char *verdict_name(enum verdict verdict)
{
	static const char *const names[] = {
		[VERDICT_PASS] = "pass",
		[VERDICT_REWRITE] = "rewrite",
		[VERDICT_DENY] = "deny",
		[VERDICT_REFUSED] = "refused",
	};
	return names[verdict];
}

int engine_init(struct engine *engine)
{
	*engine = (struct engine){0};
	buf_init(&engine->splice.out, PROJECTED_BYTES_MAX);
	engine->frame = calloc(JSON_DEPTH_MAX + 1, sizeof(*engine->frame));
	return engine->frame != NULL ? 0 : -ENOMEM;
}

void engine_free(struct engine *engine)
{
	json_tape_free(&engine->tape);
	buf_free(&engine->splice.out);
	buf_free(&engine->text);
	buf_free(&engine->changed);
	buf_free(&engine->quoted);
	secret_findings_free(&engine->findings);
	free(engine->frame);
	free(engine->sets);
	*engine = (struct engine){0};
}

/* ---- sets of positions ---- */

static int make_room_for_sets(struct engine *engine)
{
	const struct rules *rules = engine->rules;
	if (rules->words > engine->sets_words) {
		uint64_t *sets = realloc(engine->sets, SET_COUNT * rules->words * sizeof(*sets));
		if (sets == NULL)
			return -ENOMEM;
		engine->sets = sets;
		engine->sets_words = rules->words;
	}
	memset(engine_set(engine, SET_EMPTY), 0, rules->words * sizeof(uint64_t));
	return 0;
}

/* Positions that the step to a member (its name's number) or element (NAME_UNKNOWN) reaches. */
static void step_down(const struct rules *rules, const uint64_t *from, uint16_t name, uint64_t *to)
{
	const uint64_t *match = rules->by_name + name * rules->words;
	uint64_t carry = 0;
	for (size_t i = 0; i < rules->words; i++) {
		uint64_t moved = from[i] & match[i];
		to[i] = moved << 1 | carry;
		carry = moved >> 63;
	}
}

/*
 * Completes the set at a value: what a step has reached where its predicate holds (`passable`),
 * what stays from above, and the positions behind a `**` that matches no depth here.
 */
static void complete_set(
	const struct rules *rules, const uint64_t *above, const uint64_t *passable, uint64_t *set)
{
	bool added = false;
	uint64_t carry = 0;
	for (size_t i = 0; i < rules->words; i++) {
		set[i] = (set[i] & passable[i]) | (above[i] & rules->stay[i]);
		uint64_t deep = set[i] & rules->deep[i];
		added = added || ((deep << 1 | carry) & passable[i] & ~set[i]) != 0;
		carry = deep >> 63;
	}
	while (added) {
		added = false;
		carry = 0;
		for (size_t i = 0; i < rules->words; i++) {
			uint64_t deep = set[i] & rules->deep[i];
			uint64_t reached = (deep << 1 | carry) & passable[i] & ~set[i];
			carry = deep >> 63;
			set[i] |= reached;
			added = added || reached != 0;
		}
	}
}

int engine_text_of(
	struct engine *engine, const struct json_token *token, const uint8_t **text, size_t *len)
{
	*text = engine->payload + token->start + 1;
	*len = token->end - token->start - 2;
	if (!token->escaped)
		return 0;
	engine->text.len = 0;
	int r = buf_reserve(&engine->text, *len);
	if (r < 0)
		return r;
	engine->text.len = json_unescape(
		engine->payload + token->start, token->end - token->start, engine->text.data);
	*text = engine->text.data;
	*len = engine->text.len;
	return 0;
}

/* ---- the walk ---- */

static void enter_container(struct engine *engine, uint32_t value, unsigned int depth)
{
	const struct json_token *token = &engine->tape.token[value];
	engine->frame[depth] = (struct frame){.container = value,
		.child = value + 1,
		.end = token->next,
		.is_object = token->type == JSON_OBJECT};
}

/*
 * One value, with engine_set(depth) as a step has left it; `above` is the set that the step came
 * from. enum fate or -errno. FATE_ENTERED: frame[depth] is ready.
 */
static int visit(struct engine *engine, uint32_t value, const uint64_t *above, unsigned int depth)
{
	uint64_t *set = engine_set(engine, depth);
	const struct json_token *token = &engine->tape.token[value];
	bool is_object = token->type == JSON_OBJECT, allowed = true, replaced;
	const uint64_t *passable = engine->rules->unchecked;
	struct look look;
	if (is_object) {
		passable = engine_set(engine, SET_PASSABLE);
		int r = engine_look_at_members(engine, value, &look);
		if (r < 0)
			return r;
	}
	complete_set(engine->rules, above, passable, set);
	bool is_nested = is_object && value != 0 && look.event.any_is_text && look.has_data;
	if (is_nested && value >= engine->nested_end)
		engine->nested_end = token->next;
	if (is_nested || (is_object && value == 0)) {
		int r = engine_judge_event(engine, value, &look, set, &allowed);
		if (r < 0)
			return r;
		if (!allowed)
			return FATE_REMOVED;
		complete_set(engine->rules, above, passable, set);
	}
	int fate = engine_act_on(engine, value, set, &replaced);
	if (fate != FATE_STAYS || replaced || (!is_object && token->type != JSON_ARRAY))
		return fate;
	enter_container(engine, value, depth);
	return FATE_ENTERED;
}

/* Removes a member (with its key) or element, and the comma that held it. */
static int remove_from(
	struct engine *engine, const struct frame *frame, uint32_t start_token, uint32_t value)
{
	const struct json_token *token = engine->tape.token;
	uint32_t next = token[value].next;
	if (frame->has_kept) /* with the comma before it */
		return splice_cut(&engine->splice, frame->done_bytes, token[value].end);
	if (next < frame->end) /* with the comma behind it */
		return splice_cut(&engine->splice, token[start_token].start, token[next].start);
	return splice_cut(&engine->splice, token[start_token].start, token[value].end);
}

/* The next child of the frame at `depth`. enum fate or -errno. */
static int visit_next_child(struct engine *engine, unsigned int depth)
{
	struct frame *frame = &engine->frame[depth];
	const struct json_token *token = engine->tape.token;
	uint32_t start = frame->child;
	uint32_t value = frame->is_object ? start + 1 : start;
	const uint64_t *above = engine_set(engine, depth);
	step_down(engine->rules, above, frame->is_object ? token[start].user : NAME_UNKNOWN,
		engine_set(engine, depth + 1));
	frame->child = token[value].next;
	engine->parent = frame->container;
	int fate = visit(engine, value, above, depth + 1);
	if (fate == FATE_REMOVED) {
		int r = remove_from(engine, frame, start, value);
		if (r < 0)
			return r;
	} else if (fate >= 0) {
		frame->has_kept = true;
	}
	frame->done_bytes = token[value].end;
	return fate;
}

/* VERDICT_PASS, VERDICT_REWRITE, VERDICT_DENY or -errno. */
static int walk(struct engine *engine)
{
	memset(engine_set(engine, 0), 0, engine->rules->words * sizeof(uint64_t));
	int fate = visit(engine, 0, engine_set(engine, SET_EMPTY), 0);
	if (fate == FATE_REMOVED)
		return VERDICT_DENY;
	unsigned int open = fate == FATE_ENTERED ? 1 : 0;
	while (fate >= 0 && open > 0) {
		if (engine->frame[open - 1].child == engine->frame[open - 1].end) {
			open--;
			continue;
		}
		fate = visit_next_child(engine, open - 1);
		if (fate == FATE_ENTERED)
			open++;
	}
	if (fate < 0)
		return fate;
	if (engine->splice.count == 0)
		return VERDICT_PASS;
	int r = splice_end(&engine->splice);
	return r < 0 ? r : VERDICT_REWRITE;
}

static int refuse(struct engine *engine, size_t offset, const char *reason)
{
	engine->refusal = (struct json_error){offset, reason};
	return VERDICT_REFUSED;
}

int engine_project(struct engine *engine, struct rules *rules, const uint8_t *payload, size_t len,
	const uint8_t **out, size_t *out_len)
{
	return engine_project_next(engine, rules, NULL, 0, payload, len, out, out_len);
}

int engine_project_next(struct engine *engine, struct rules *rules, struct open_blocks *blocks,
	uint64_t ticket, const uint8_t *payload, size_t len, const uint8_t **out, size_t *out_len)
{
	engine->open_blocks = rules->role->block_count > 0 ? blocks : NULL;
	engine->ticket = ticket;
	engine->nested_end = 0;
	engine->payload = payload;
	engine->rules = rules;
	json_tape_reset(&engine->tape, KEEP_TOKENS);
	buf_reset(&engine->splice.out, KEEP_BYTES);
	buf_reset(&engine->text, KEEP_BYTES);
	buf_reset(&engine->changed, KEEP_BYTES);
	buf_reset(&engine->quoted, KEEP_BYTES);
	secret_findings_reset(&engine->findings, KEEP_FINDINGS);
	splice_begin(&engine->splice, payload, len);
	int r = make_room_for_sets(engine);
	if (r == 0)
		r = json_tape_build(&engine->tape, payload, len, &engine->refusal);
	if (r < 0)
		return r;
	if (r == JSON_INVALID)
		return VERDICT_REFUSED;
	if (engine->tape.token[0].type != JSON_OBJECT)
		return refuse(engine, engine->tape.token[0].start, "not an object");
	if (engine->open_blocks != NULL)
		r = engine_begin_block_event(engine);
	if (r < 0)
		return r;
	int verdict = walk(engine);
	if (verdict == -EMSGSIZE)
		return refuse(engine, 0, "the output would be too long");
	if (verdict == VERDICT_REWRITE) {
		*out = engine->splice.out.data;
		*out_len = engine->splice.out.len;
	}
	return verdict;
}
