/*
 * Events that stream one text in pieces: which block an event belongs to, and what becomes of its
 * piece.
 */
#include <string.h>

#include "projection/engine_private.h"
#include "proto/ids.h"

static int key_is(struct engine *engine, const struct json_token *key, const char *name, bool *same)
{
	const uint8_t *text;
	size_t len;
	int r = engine_text_of(engine, key, &text, &len);
	if (r == 0)
		*same = len == strlen(name) && memcmp(text, name, len) == 0;
	return r;
}

/* The first member of this name as a token, 0 if there is none, or -errno. */
static int64_t find_member(struct engine *engine, uint32_t object, const char *name)
{
	const struct json_token *token = engine->tape.token;
	if (token[object].type != JSON_OBJECT)
		return 0;
	for (uint32_t key = object + 1; key < token[object].next; key = token[key + 1].next) {
		bool same;
		int r = key_is(engine, &token[key], name, &same);
		if (r < 0)
			return r;
		if (same)
			return key + 1;
	}
	return 0;
}

/* Marks every string at the place as a piece of a block; one level for each step. */
static int mark_pieces(struct engine *engine, uint32_t object, const struct path *path, size_t step)
{
	struct json_token *token = engine->tape.token;
	if (token[object].type != JSON_OBJECT)
		return 0;
	int r = 0;
	for (uint32_t key = object + 1; key < token[object].next && r == 0;
		key = token[key + 1].next) {
		bool same;
		r = key_is(engine, &token[key], path->step[step].name, &same);
		if (r < 0 || !same)
			continue;
		if (step + 1 < path->count)
			r = mark_pieces(engine, key + 1, path, step + 1);
		else if (token[key + 1].type == JSON_STRING)
			token[key + 1].user = TOKEN_IS_PIECE;
	}
	return r;
}

/* The text of a string, the bytes of another scalar, else nothing. */
static int read_key(struct engine *engine, uint32_t value, struct block_name *name, size_t rule)
{
	const struct json_token *token = &engine->tape.token[value];
	const uint8_t *text = NULL;
	size_t len = 0;
	int r = 0;
	if (value != 0 && token->type == JSON_STRING) {
		r = engine_text_of(engine, token, &text, &len);
	} else if (value != 0 && token->type != JSON_OBJECT && token->type != JSON_ARRAY) {
		text = engine->payload + token->start;
		len = token->end - token->start;
	}
	block_name_set(name, rule, text, len);
	return r;
}

static int name_block(struct engine *engine, size_t rule, struct block_name *name)
{
	const struct path *path = &engine->rules->role->block[rule].key;
	int64_t value = 0;
	for (size_t i = 0; i < path->count; i++) {
		value = find_member(engine, (uint32_t)value, path->step[i].name);
		if (value < 0)
			return (int)value;
		if (value == 0)
			break;
	}
	return read_key(engine, (uint32_t)value, name, rule);
}

/* The kind as others read it: the first `event` if that is a string, else the first `type`. */
static int read_kind(struct engine *engine, const uint8_t **kind, size_t *len)
{
	static const char *const names[] = {"event", "type"};
	*len = 0;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int64_t value = find_member(engine, 0, names[i]);
		if (value < 0)
			return (int)value;
		if (value > 0 && engine->tape.token[value].type == JSON_STRING)
			return engine_text_of(engine, &engine->tape.token[value], kind, len);
	}
	return 0;
}

static bool is_kind(const char *glob, const uint8_t *kind, size_t len)
{
	return glob != NULL && glob_matches(glob, strlen(glob), (const char *)kind, len);
}

int engine_begin_block_event(struct engine *engine)
{
	const struct policy_role *role = engine->rules->role;
	bool is_delta[POLICY_BLOCKS_MAX], is_done[POLICY_BLOCKS_MAX],
		is_snapshot[POLICY_BLOCKS_MAX];
	const uint8_t *kind = (const uint8_t *)"";
	size_t len;
	int r = read_kind(engine, &kind, &len);
	for (size_t i = 0; i < role->block_count && r == 0; i++) {
		const struct block_rule *block = &role->block[i];
		is_delta[i] = is_kind(block->delta, kind, len);
		is_done[i] = is_kind(block->done, kind, len);
		is_snapshot[i] = is_kind(block->snapshot, kind, len);
	}
	engine->has_piece = false;
	for (size_t i = 0; i < role->block_count && r == 0; i++) {
		struct block_name name;
		if (is_snapshot[i])
			open_blocks_drop_rule(engine->open_blocks, i);
		if (is_delta[i] && !engine->has_piece) {
			engine->has_piece = true;
			r = name_block(engine, i, &engine->piece_of);
			if (r == 0)
				r = mark_pieces(engine, 0, &role->block[i].text, 0);
		} else if (is_done[i]) {
			r = name_block(engine, i, &name);
			if (r == 0)
				open_blocks_drop(engine->open_blocks, &name);
		}
	}
	return r;
}

int engine_take_piece(
	struct engine *engine, const struct secret_search *search, const uint8_t *text, size_t len)
{
	int r = open_blocks_take(engine->open_blocks, &engine->piece_of, engine->ticket, search,
		text, len, &engine->changed);
	if (r < 0)
		return r;
	return engine->changed.len != len ||
	       (len > 0 && memcmp(engine->changed.data, text, len) != 0);
}

int engine_take_in_flight(struct engine *engine, size_t rule, const struct secret_search *search,
	const uint8_t *text, size_t len)
{
	const struct path *path = &engine->rules->role->block[rule].key;
	struct block_name name;
	int64_t key = 0;
	/* Keys are unescaped into engine->text, which may hold the text. */
	struct buf text_of_string = engine->text;
	engine->text = (struct buf){0};
	if (path->count > 0)
		key = find_member(engine, engine->parent, path->step[path->count - 1].name);
	int r = key < 0 ? (int)key : read_key(engine, (uint32_t)key, &name, rule);
	buf_free(&engine->text);
	engine->text = text_of_string;
	if (r < 0)
		return r;
	open_blocks_drop(engine->open_blocks, &name);
	engine->changed.len = 0;
	return open_blocks_take(
		engine->open_blocks, &name, engine->ticket, search, text, len, &engine->changed);
}
