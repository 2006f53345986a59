#include "projection/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "projection/transform.h"
#include "proto/ids.h"

enum {
	KEEP_TOKENS = 64 * 1024,
	KEEP_BYTES = 1024 * 1024,
	/* Besides one set for each depth. */
	SET_START = JSON_DEPTH_MAX + 1, /* where rules for the kind of the event begin */
	SET_PASSABLE, /* what can be reached at the object that is being entered */
	SET_EMPTY,
	SET_COUNT,
};

/* An array or object that the walk is in. Its set of positions is set_of(depth). */
struct frame {
	uint32_t child, end; /* tokens: the next key or element, and what is behind the last */
	uint32_t done_bytes; /* where the member or element before ends */
	bool is_object;
	bool has_kept; /* one before stays in the output */
};

/* What becomes of a value; negative errno besides. */
enum fate { FATE_STAYS, FATE_ENTERED, FATE_REMOVED };

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
	free(engine->frame);
	free(engine->sets);
	*engine = (struct engine){0};
}

/* ---- sets of positions ---- */

static uint64_t *set_of(const struct engine *engine, size_t number)
{
	return engine->sets + number * engine->rules->words;
}

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
	memset(set_of(engine, SET_EMPTY), 0, rules->words * sizeof(uint64_t));
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

/* ---- texts ---- */

/* The text of a key or string; borrowed from the payload or from engine->text. */
static int text_of(
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

static int number_of_key(struct engine *engine, const struct json_token *key, uint16_t *number)
{
	enum { LONGEST_ESCAPE = 6 };
	const struct names *names = &engine->rules->names;
	const uint8_t *text;
	size_t len = key->end - key->start - 2;
	*number = NAME_UNKNOWN;
	if (len > names->longest * (key->escaped ? LONGEST_ESCAPE : 1))
		return 0;
	int r = text_of(engine, key, &text, &len);
	if (r == 0)
		*number = names_find(names, text, len);
	return r;
}

/* ---- entering an object: its keys, predicates, and kind ---- */

static void pass_predicate(const struct rules *rules, size_t number, uint64_t *passable)
{
	for (size_t i = 0; i < rules->words; i++)
		passable[i] |= rules->by_predicate[number * rules->words + i];
}

/* Lets pass what this member satisfies the predicate of. */
static int check_member(struct engine *engine, uint16_t name, const struct json_token *value)
{
	const struct rules *rules = engine->rules;
	const uint8_t *text;
	size_t len;
	if (!rules->is_member_of_predicate[name] || value->type != JSON_STRING)
		return 0;
	int r = text_of(engine, value, &text, &len);
	if (r < 0)
		return r;
	for (size_t i = 0; i < rules->predicate_count; i++) {
		const struct predicate *predicate = &rules->predicate[i];
		if (predicate->name == name &&
			glob_matches(predicate->pattern, strlen(predicate->pattern),
				(const char *)text, len))
			pass_predicate(rules, i, set_of(engine, SET_PASSABLE));
	}
	return 0;
}

/* What the members of one name are that may hold the kind. */
struct candidate {
	bool exists;
	bool first_is_text; /* the first of them is a string: what others take for the kind */
	bool any_is_text;
};

struct look {
	struct candidate event, type;
	bool has_data; /* an object member `data` */
};

static void note_candidate(struct candidate *candidate, const struct json_token *value)
{
	bool is_text = value->type == JSON_STRING;
	if (!candidate->exists)
		candidate->first_is_text = is_text;
	candidate->exists = true;
	candidate->any_is_text |= is_text;
}

/* Numbers the keys of an object, and looks at what its members make of it. */
static int look_at_members(struct engine *engine, uint32_t object, struct look *look)
{
	struct json_token *token = engine->tape.token;
	*look = (struct look){0};
	memcpy(set_of(engine, SET_PASSABLE), engine->rules->unchecked,
		engine->rules->words * sizeof(uint64_t));
	uint32_t end = token[object].next;
	for (uint32_t key = object + 1; key < end; key = token[key + 1].next) {
		const struct json_token *value = &token[key + 1];
		uint16_t name;
		int r = number_of_key(engine, &token[key], &name);
		if (r == 0)
			r = check_member(engine, name, value);
		if (r < 0)
			return r;
		token[key].user = name;
		if (name == NAME_EVENT)
			note_candidate(&look->event, value);
		else if (name == NAME_TYPE)
			note_candidate(&look->type, value);
		else if (name == NAME_DATA)
			look->has_data |= value->type == JSON_OBJECT;
	}
	return 0;
}

/* Judges every string member of this name as the kind. */
static int judge_members(struct engine *engine, uint32_t object, uint16_t name, bool *allowed)
{
	const struct json_token *token = engine->tape.token;
	for (uint32_t key = object + 1; key < token[object].next; key = token[key + 1].next) {
		const uint8_t *text;
		size_t len;
		if (token[key].user != name || token[key + 1].type != JSON_STRING)
			continue;
		int r = text_of(engine, &token[key + 1], &text, &len);
		if (r < 0)
			return r;
		*allowed = rules_judge_kind(engine->rules, text, len, set_of(engine, SET_START)) &&
			   *allowed;
	}
	return 0;
}

/* An event, at the root or nested: begins the rules of its kind; `allowed` whether it is. */
static int judge_event(struct engine *engine, uint32_t object, const struct look *look,
	uint64_t *set, bool *allowed)
{
	uint64_t *start = set_of(engine, SET_START);
	memset(start, 0, engine->rules->words * sizeof(*start));
	*allowed = true;
	int r = judge_members(engine, object, NAME_EVENT, allowed);
	bool by_type = object == 0 && !look->event.first_is_text;
	if (r == 0 && by_type)
		r = judge_members(engine, object, NAME_TYPE, allowed);
	if (r < 0)
		return r;
	if (by_type && !look->type.first_is_text)
		*allowed = rules_judge_kind(engine->rules, (const uint8_t *)"", 0, start) &&
			   *allowed;
	for (size_t i = 0; i < engine->rules->words; i++)
		set[i] |= start[i];
	return 0;
}

/* ---- acting on a value ---- */

static void note_hit(struct engine *engine, uint32_t rule)
{
	if (engine->rule_hit != NULL)
		engine->rule_hit[rule] = true;
}

/* Lets one rule change the text in engine->text or the payload. 0, 1 if it did, or -errno. */
static int transform(
	struct engine *engine, const struct redact_rule *rule, const uint8_t **text, size_t *len)
{
	int r;
	engine->changed.len = 0;
	if (rule->action == REDACT_TRUNCATE)
		r = transform_truncate(*text, *len, rule->keep, &engine->changed);
	else if (rule->anywhere)
		r = transform_rewrite_prefix_anywhere(
			*text, *len, rule->from, rule->to, &engine->changed);
	else
		r = transform_rewrite_prefix(*text, *len, rule->from, rule->to, &engine->changed);
	if (r != TRANSFORM_CHANGED)
		return r;
	struct buf swap = engine->text;
	engine->text = engine->changed;
	engine->changed = swap;
	*text = engine->text.data;
	*len = engine->text.len;
	return TRANSFORM_CHANGED;
}

/* Rewrites come before truncation, so that what is cut off can't hide what is to be rewritten. */
static int transform_string(
	struct engine *engine, const struct json_token *token, const uint64_t *set)
{
	static const enum redact_action order[] = {REDACT_REWRITE_PREFIX, REDACT_TRUNCATE};
	const struct rules *rules = engine->rules;
	const uint8_t *text;
	size_t len;
	bool changed = false;
	int r = text_of(engine, token, &text, &len);
	for (size_t k = 0; k < ARRAY_SIZE(order) && r >= 0; k++) {
		for (size_t i = 0; i < rules->words; i++) {
			for (uint64_t hit = set[i] & rules->accept[i]; hit != 0 && r >= 0;
				hit &= hit - 1) {
				uint32_t number =
					rules->rule_at[i * 64 + (size_t)__builtin_ctzll(hit)];
				const struct redact_rule *rule = &rules->role->redact[number];
				if (rule->action != order[k])
					continue;
				r = transform(engine, rule, &text, &len);
				if (r == TRANSFORM_CHANGED) {
					changed = true;
					note_hit(engine, number);
				}
			}
		}
	}
	if (r < 0 || !changed)
		return r < 0 ? r : FATE_STAYS;
	engine->quoted.len = 0;
	r = json_append_quoted(&engine->quoted, (const char *)text, len);
	if (r == 0)
		r = splice_replace(&engine->splice, token->start, token->end, engine->quoted.data,
			engine->quoted.len);
	return r < 0 ? r : FATE_STAYS;
}

static int replace_by_hash(struct engine *engine, const struct json_token *token)
{
	const uint8_t *bytes = engine->payload + token->start;
	size_t len = token->end - token->start;
	if (token->type == JSON_STRING) {
		int r = text_of(engine, token, &bytes, &len);
		if (r < 0)
			return r;
	}
	char text[RULES_HASH_TEXT_BYTES + 3];
	rules_hash_value(engine->rules, token->type, bytes, len, text + 1);
	text[0] = text[sizeof(text) - 2] = '"';
	return splice_replace(
		&engine->splice, token->start, token->end, text, RULES_HASH_TEXT_BYTES + 2);
}

/* The strongest rule whose target this value is, or NULL; of several the first in the file. */
static const struct redact_rule *strongest_hit(
	const struct engine *engine, const uint64_t *set, uint32_t *number)
{
	const struct rules *rules = engine->rules;
	const struct redact_rule *strongest = NULL;
	for (size_t i = 0; i < rules->words; i++) {
		for (uint64_t hit = set[i] & rules->accept[i]; hit != 0; hit &= hit - 1) {
			uint32_t at = rules->rule_at[i * 64 + (size_t)__builtin_ctzll(hit)];
			const struct redact_rule *rule = &rules->role->redact[at];
			if (strongest == NULL || rule->action < strongest->action) {
				strongest = rule;
				*number = at;
			}
		}
	}
	return strongest;
}

/* Does what the rules say to the value itself. enum fate: stays or removed; or -errno. */
static int act_on(struct engine *engine, uint32_t value, const uint64_t *set, bool *replaced)
{
	const struct json_token *token = &engine->tape.token[value];
	uint32_t number;
	*replaced = false;
	const struct redact_rule *rule = strongest_hit(engine, set, &number);
	if (rule == NULL)
		return FATE_STAYS;
	if (rule->action == REDACT_REWRITE_PREFIX || rule->action == REDACT_TRUNCATE)
		return token->type == JSON_STRING ? transform_string(engine, token, set)
						  : FATE_STAYS;
	note_hit(engine, number);
	*replaced = true;
	if (rule->action == REDACT_REMOVE || value == 0)
		return FATE_REMOVED;
	if (rule->action == REDACT_HASH)
		return replace_by_hash(engine, token);
	const struct buf *mask = &engine->rules->mask[number];
	return splice_replace(&engine->splice, token->start, token->end, mask->data, mask->len);
}

/* ---- the walk ---- */

static void enter_container(struct engine *engine, uint32_t value, unsigned int depth)
{
	const struct json_token *token = &engine->tape.token[value];
	engine->frame[depth] = (struct frame){
		.child = value + 1, .end = token->next, .is_object = token->type == JSON_OBJECT};
}

/*
 * One value, with set_of(depth) as a step has left it; `above` is the set that the step came from.
 * enum fate or -errno. FATE_ENTERED: frame[depth] is ready.
 */
static int visit(struct engine *engine, uint32_t value, const uint64_t *above, unsigned int depth)
{
	uint64_t *set = set_of(engine, depth);
	const struct json_token *token = &engine->tape.token[value];
	bool is_object = token->type == JSON_OBJECT, allowed = true, replaced;
	const uint64_t *passable = engine->rules->unchecked;
	struct look look;
	if (is_object) {
		passable = set_of(engine, SET_PASSABLE);
		int r = look_at_members(engine, value, &look);
		if (r < 0)
			return r;
	}
	complete_set(engine->rules, above, passable, set);
	if (is_object && (value == 0 || (look.event.any_is_text && look.has_data))) {
		int r = judge_event(engine, value, &look, set, &allowed);
		if (r < 0)
			return r;
		if (!allowed)
			return FATE_REMOVED;
		complete_set(engine->rules, above, passable, set);
	}
	int fate = act_on(engine, value, set, &replaced);
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
	const uint64_t *above = set_of(engine, depth);
	step_down(engine->rules, above, frame->is_object ? token[start].user : NAME_UNKNOWN,
		set_of(engine, depth + 1));
	frame->child = token[value].next;
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
	memset(set_of(engine, 0), 0, engine->rules->words * sizeof(uint64_t));
	int fate = visit(engine, 0, set_of(engine, SET_EMPTY), 0);
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
	engine->payload = payload;
	engine->rules = rules;
	json_tape_reset(&engine->tape, KEEP_TOKENS);
	buf_reset(&engine->splice.out, KEEP_BYTES);
	buf_reset(&engine->text, KEEP_BYTES);
	buf_reset(&engine->changed, KEEP_BYTES);
	buf_reset(&engine->quoted, KEEP_BYTES);
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
	int verdict = walk(engine);
	if (verdict == -EMSGSIZE)
		return refuse(engine, 0, "the output would be too long");
	if (verdict == VERDICT_REWRITE) {
		*out = engine->splice.out.data;
		*out_len = engine->splice.out.len;
	}
	return verdict;
}
