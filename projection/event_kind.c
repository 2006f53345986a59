/* The members of an object: numbers of their names, predicates, and the kind of an event. */
#include <string.h>

#include "projection/engine_private.h"
#include "proto/ids.h"

static int number_of_key(struct engine *engine, const struct json_token *key, uint16_t *number)
{
	enum { LONGEST_ESCAPE = 6 };
	const struct names *names = &engine->rules->names;
	const uint8_t *text;
	size_t len = key->end - key->start - 2;
	*number = NAME_UNKNOWN;
	if (len > names->longest * (key->escaped ? LONGEST_ESCAPE : 1))
		return 0;
	int r = engine_text_of(engine, key, &text, &len);
	if (r == 0)
		*number = names_find(names, text, len);
	return r;
}

int engine_key_is(struct engine *engine, const struct json_token *key, const char *name, bool *same)
{
	const uint8_t *text;
	size_t len = key->end - key->start - 2;
	*same = false;
	if (!key->escaped && len != strlen(name))
		return 0;
	int r = engine_text_of(engine, key, &text, &len);
	if (r == 0)
		*same = len == strlen(name) && memcmp(text, name, len) == 0;
	return r;
}

int64_t engine_find_member(struct engine *engine, uint32_t object, const char *name)
{
	const struct json_token *token = engine->tape.token;
	if (token[object].type != JSON_OBJECT)
		return 0;
	for (uint32_t key = object + 1; key < token[object].next; key = token[key + 1].next) {
		bool same;
		int r = engine_key_is(engine, &token[key], name, &same);
		if (r < 0)
			return r;
		if (same)
			return key + 1;
	}
	return 0;
}

int engine_scalar_of(struct engine *engine, uint32_t value, const uint8_t **text, size_t *len)
{
	const struct json_token *token = &engine->tape.token[value];
	*text = engine->payload + token->start;
	*len = 0;
	if (value == 0 || token->type == JSON_OBJECT || token->type == JSON_ARRAY)
		return 0;
	if (token->type == JSON_STRING)
		return engine_text_of(engine, token, text, len);
	*len = token->end - token->start;
	return 0;
}

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
	int r = engine_text_of(engine, value, &text, &len);
	if (r < 0)
		return r;
	for (size_t i = 0; i < rules->predicate_count; i++) {
		const struct predicate *predicate = &rules->predicate[i];
		if (predicate->name == name &&
			glob_matches(predicate->pattern, strlen(predicate->pattern),
				(const char *)text, len))
			pass_predicate(rules, i, engine_set(engine, SET_PASSABLE));
	}
	return 0;
}

static void note_candidate(struct candidate *candidate, const struct json_token *value)
{
	bool is_text = value->type == JSON_STRING;
	if (!candidate->exists)
		candidate->first_is_text = is_text;
	candidate->exists = true;
	candidate->any_is_text |= is_text;
}

int engine_look_at_members(struct engine *engine, uint32_t object, struct look *look)
{
	struct json_token *token = engine->tape.token;
	*look = (struct look){0};
	memcpy(engine_set(engine, SET_PASSABLE), engine->rules->unchecked,
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

static void note_denial(struct engine *engine, const uint8_t *kind, size_t len)
{
	const struct policy_role *role = engine->rules->role;
	const char *text = (const char *)kind;
	if (!glob_list_matches(&role->events_allow, text, len))
		engine->trace->unnamed = true;
	for (size_t i = 0; i < role->events_deny.count; i++)
		engine->trace->deny[i] |= glob_list_matches_at(&role->events_deny, i, text, len);
}

static bool judge_kind(struct engine *engine, const uint8_t *kind, size_t len)
{
	bool allowed = rules_judge_kind(engine->rules, kind, len, engine_set(engine, SET_START));
	if (!allowed && engine->trace != NULL)
		note_denial(engine, kind, len);
	return allowed;
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
		int r = engine_text_of(engine, &token[key + 1], &text, &len);
		if (r < 0)
			return r;
		*allowed = judge_kind(engine, text, len) && *allowed;
	}
	return 0;
}

int engine_judge_event(struct engine *engine, uint32_t object, const struct look *look,
	uint64_t *set, bool *allowed)
{
	uint64_t *start = engine_set(engine, SET_START);
	memset(start, 0, engine->rules->words * sizeof(*start));
	*allowed = true;
	int r = judge_members(engine, object, NAME_EVENT, allowed);
	bool by_type = object == 0 && !look->event.first_is_text;
	if (r == 0 && by_type)
		r = judge_members(engine, object, NAME_TYPE, allowed);
	if (r < 0)
		return r;
	if (by_type && !look->type.first_is_text)
		*allowed = judge_kind(engine, (const uint8_t *)"", 0) && *allowed;
	for (size_t i = 0; i < engine->rules->words; i++)
		set[i] |= start[i];
	return 0;
}
