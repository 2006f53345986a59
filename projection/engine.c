#include "projection/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "projection/engine_private.h"

enum { KEEP_TOKENS = 64 * 1024, KEEP_BYTES = 1024 * 1024, KEEP_FINDINGS = 16 * 1024 };

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
	buf_free(&engine->rest);
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

/* `within`: of a nested event of a pass; else NULL. */
static void enter_container(
	struct engine *engine, uint32_t value, unsigned int depth, const uint8_t *within)
{
	static const uint8_t nobody[BLOCK_WITHIN_BYTES];
	const struct json_token *token = &engine->tape.token[value];
	struct frame *frame = &engine->frame[depth];
	frame->container = value;
	frame->child = value + 1;
	frame->end = token->next;
	frame->done_bytes = 0;
	frame->is_object = token->type == JSON_OBJECT;
	frame->has_kept = false;
	if (engine->open_blocks == NULL)
		return;
	frame->is_nested = within != NULL;
	frame->told = frame->tells = false;
	frame->keys_told = 0;
	if (within == NULL)
		within = engine->above != NULL ? engine->above->within : nobody;
	memcpy(frame->within, within, sizeof(frame->within));
}

/* Judges an event, the root or nested. `within`: whose it is, told for a nested one of a pass. */
static int begin_event(struct engine *engine, uint32_t value, const struct look *look,
	unsigned int depth, bool *allowed, uint8_t within[BLOCK_WITHIN_BYTES])
{
	int r = engine_judge_event(engine, value, look, engine_set(engine, depth), allowed);
	if (r < 0 || !*allowed || value == 0 || engine->open_blocks == NULL)
		return r;
	r = engine_tell_nested(engine, depth, within);
	return r < 0 ? r : engine_begin_block_event(engine, value, within);
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
	uint8_t within[BLOCK_WITHIN_BYTES];
	if (is_object) {
		passable = engine_set(engine, SET_PASSABLE);
		int r = engine_look_at_members(engine, value, &look);
		if (r < 0)
			return r;
	}
	complete_set(engine->rules, above, passable, set);
	bool is_nested = is_object && value != 0 && look.event.any_is_text && look.has_data;
	if (is_nested || (is_object && value == 0)) {
		int r = begin_event(engine, value, &look, depth, &allowed, within);
		if (r < 0)
			return r;
		if (!allowed)
			return FATE_REMOVED;
		complete_set(engine->rules, above, passable, set);
	}
	int fate = engine_act_on(engine, value, set, &replaced);
	if (fate != FATE_STAYS || replaced || (!is_object && token->type != JSON_ARRAY))
		return fate;
	enter_container(engine, value, depth, is_nested ? within : NULL);
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
	engine->above = frame;
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

static bool is_reached_by_path_rule(const struct rules *rules, const uint64_t *set)
{
	for (size_t i = 0; i < rules->words; i++) {
		for (uint64_t hit = set[i] & rules->accept[i]; hit != 0; hit &= hit - 1) {
			uint32_t number = rules->rule_at[i * 64 + (size_t)__builtin_ctzll(hit)];
			if (rules->role->redact[number].action < REDACT_SECRETS)
				return true;
		}
	}
	return false;
}

/*
 * Makes what a block held back the last member of the object that the walk leaves; not where a rule
 * would change it, since what it would come to then has not been shown in pieces either.
 */
static int insert_rest(struct engine *engine, unsigned int depth)
{
	const struct rules *rules = engine->rules;
	const struct frame *frame = &engine->frame[depth];
	const uint64_t *above = engine_set(engine, depth);
	uint64_t *set = engine_set(engine, depth + 1);
	size_t at = engine->tape.token[frame->container].end - 1;
	const char *name = engine->rest_name;
	step_down(
		rules, above, names_find(&rules->names, (const uint8_t *)name, strlen(name)), set);
	complete_set(rules, above, rules->unchecked, set);
	if (is_reached_by_path_rule(rules, set))
		return 0;
	struct buf *member = &engine->quoted;
	member->len = 0;
	int r = frame->has_kept ? buf_append_str(member, ",") : 0;
	if (r == 0)
		r = json_append_quoted(member, name, strlen(name));
	if (r == 0)
		r = buf_append_str(member, ":");
	if (r == 0)
		r = json_append_quoted(member, (const char *)engine->rest.data, engine->rest.len);
	return r < 0 ? r : splice_replace(&engine->splice, at, at, member->data, member->len);
}

static int leave_container(struct engine *engine, unsigned int depth)
{
	if (engine->rest.len == 0 || engine->frame[depth].container != engine->rest_in)
		return 0;
	int r = insert_rest(engine, depth);
	engine->rest.len = 0;
	return r;
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
			int r = leave_container(engine, open);
			if (r < 0)
				return r;
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

static void reset(struct engine *engine, const uint8_t *payload, size_t len)
{
	json_tape_reset(&engine->tape, KEEP_TOKENS);
	buf_reset(&engine->splice.out, KEEP_BYTES);
	buf_reset(&engine->text, KEEP_BYTES);
	buf_reset(&engine->changed, KEEP_BYTES);
	buf_reset(&engine->quoted, KEEP_BYTES);
	buf_reset(&engine->rest, KEEP_BYTES);
	secret_findings_reset(&engine->findings, KEEP_FINDINGS);
	splice_begin(&engine->splice, payload, len);
	engine->payload = payload;
	engine->above = NULL;
	engine->piece_count = engine->piece_texts = 0;
}

/* What the event would have left open is not known. */
static void give_up_blocks(struct engine *engine)
{
	size_t count = engine->open_blocks != NULL ? engine->rules->role->block_count : 0;
	for (size_t i = 0; i < count; i++)
		open_blocks_give_up(engine->open_blocks, i, engine->ticket);
}

int engine_project_next(struct engine *engine, struct rules *rules, struct open_blocks *blocks,
	uint64_t ticket, const uint8_t *payload, size_t len, const uint8_t **out, size_t *out_len)
{
	engine->open_blocks = rules->role->block_count > 0 ? blocks : NULL;
	engine->ticket = ticket;
	engine->rules = rules;
	reset(engine, payload, len);
	if (len == 0) {
		give_up_blocks(engine);
		return refuse(engine, 0, "missing");
	}
	int r = make_room_for_sets(engine);
	if (r == 0)
		r = json_tape_build(&engine->tape, payload, len, &engine->refusal);
	if (r == JSON_INVALID)
		return VERDICT_REFUSED;
	if (r == 0 && engine->tape.token[0].type != JSON_OBJECT)
		return refuse(engine, engine->tape.token[0].start, "not an object");
	if (r == 0 && engine->open_blocks != NULL)
		r = engine_begin_block_event(engine, 0, NULL);
	int verdict = r < 0 ? r : walk(engine);
	if (verdict < 0)
		give_up_blocks(engine);
	if (verdict == -EMSGSIZE)
		return refuse(engine, 0, "the output would be too long");
	if (verdict == VERDICT_REWRITE) {
		*out = engine->splice.out.data;
		*out_len = engine->splice.out.len;
	}
	return verdict;
}
