/*
 * Events that stream one text in pieces: which block an event belongs to, and what becomes of its
 * piece.
 */
#include <string.h>

#include "projection/engine_private.h"

static void mark_piece(struct engine *engine, uint32_t value, size_t rule, uint16_t number)
{
	if (engine->piece_texts == EVENT_PIECES_MAX) {
		open_blocks_give_up(engine->open_blocks, rule, engine->ticket);
		number = TOKEN_PIECE_UNNAMED;
	} else {
		engine->piece_texts++;
	}
	engine->tape.token[value].user = number;
}

/* Marks every string at the place as a piece of a block; one level for each step. */
static int mark_pieces(
	struct engine *engine, uint32_t object, size_t rule, size_t step, uint16_t number)
{
	const struct json_token *token = engine->tape.token;
	const struct path *path = &engine->rules->role->block[rule].text;
	int r = 0;
	if (token[object].type != JSON_OBJECT)
		return 0;
	for (uint32_t key = object + 1; key < token[object].next && r == 0;
		key = token[key + 1].next) {
		bool same;
		r = engine_key_is(engine, &token[key], path->step[step].name, &same);
		if (r < 0 || !same)
			continue;
		if (step + 1 < path->count)
			r = mark_pieces(engine, key + 1, rule, step + 1, number);
		else if (token[key + 1].type == JSON_STRING)
			mark_piece(engine, key + 1, rule, number);
	}
	return r;
}

/* The value at a path of names from an object on, 0 where there is none, or -errno. */
static int64_t find_place(struct engine *engine, uint32_t object, const struct path *path)
{
	int64_t value = path->count > 0 ? object : 0;
	for (size_t i = 0; i < path->count && (i == 0 || value > 0); i++)
		value = engine_find_member(engine, (uint32_t)value, path->step[i].name);
	return value;
}

static int name_block(struct engine *engine, uint32_t object, size_t rule, const uint8_t *within,
	struct block_name *name)
{
	const uint8_t *text;
	size_t len;
	int64_t value = find_place(engine, object, &engine->rules->role->block[rule].key);
	int r = value < 0 ? (int)value : engine_scalar_of(engine, (uint32_t)value, &text, &len);
	if (r == 0)
		block_name_set(name, rule, within, text, len);
	return r;
}

/* ---- what an event is to the blocks ---- */

/* Takes every string member of this name for the kind. *first: whether the first is one. */
static int note_kinds(struct engine *engine, uint32_t object, const char *name,
	struct kind_parts *parts, bool *first)
{
	const struct json_token *token = engine->tape.token;
	bool any = false;
	*first = false;
	for (uint32_t key = object + 1; key < token[object].next; key = token[key + 1].next) {
		const uint8_t *kind;
		size_t len;
		bool same;
		int r = engine_key_is(engine, &token[key], name, &same);
		if (r < 0)
			return r;
		if (!same)
			continue;
		*first = any ? *first : token[key + 1].type == JSON_STRING;
		any = true;
		if (token[key + 1].type != JSON_STRING)
			continue;
		r = engine_text_of(engine, &token[key + 1], &kind, &len);
		if (r < 0)
			return r;
		rules_find_parts(engine->rules, kind, len, parts);
	}
	return 0;
}

static int begin_piece(struct engine *engine, uint32_t object, size_t rule, const uint8_t *within)
{
	if (engine->piece_count == EVENT_PIECES_MAX)
		return mark_pieces(engine, object, rule, 0, TOKEN_PIECE_UNNAMED);
	struct block_name *name = &engine->piece[engine->piece_count++];
	int r = name_block(engine, object, rule, within, name);
	return r < 0 ? r : mark_pieces(engine, object, rule, 0, (uint16_t)engine->piece_count);
}

/* Where there is room for what the block held back: an object without such a member. */
static int place_rest(struct engine *engine, uint32_t object, const struct path *path)
{
	int64_t value = find_place(engine, object, path);
	struct path above = *path;
	above.count--;
	int64_t parent = above.count > 0 ? find_place(engine, object, &above) : object;
	bool is_root = above.count == 0 && object == 0;
	if (value < 0 || parent < 0)
		return value < 0 ? (int)value : (int)parent;
	if (value != 0 || (parent == 0 && !is_root) ||
		engine->tape.token[parent].type != JSON_OBJECT)
		engine->rest.len = 0;
	engine->rest_in = (uint32_t)parent;
	engine->rest_name = path->step[above.count].name;
	return 0;
}

/* Of several blocks that one event ends, one can have a rest. */
static int end_block(struct engine *engine, uint32_t object, size_t rule, const uint8_t *within)
{
	const struct path *rest = &engine->rules->role->block[rule].rest;
	const struct secret_search search = {
		.matcher = engine->rules->secrets, .findings = &engine->findings};
	struct block_name name;
	int r = name_block(engine, object, rule, within, &name);
	if (r < 0)
		return r;
	if (rest->count == 0 || engine->rest.len > 0) {
		open_blocks_drop(engine->open_blocks, &name);
		return 0;
	}
	r = open_blocks_end(engine->open_blocks, &name, &search, &engine->rest);
	return r < 0 || engine->rest.len == 0 ? r : place_rest(engine, object, rest);
}

static void end_all(struct engine *engine, size_t rule, const uint8_t *within)
{
	struct block_name name;
	block_name_set(&name, rule, within, NULL, 0);
	open_blocks_drop_within(engine->open_blocks, &name);
}

/* At a snapshot of the stream, also the blocks of workers whose events are nested. */
static void begin_anew(struct engine *engine, size_t rule, const uint8_t *within)
{
	if (within == NULL)
		open_blocks_drop_rule(engine->open_blocks, rule);
	else
		end_all(engine, rule, within);
}

int engine_begin_block_event(struct engine *engine, uint32_t object, const uint8_t *within)
{
	struct kind_parts parts = {0};
	bool has_kind, has_piece = false;
	int r = note_kinds(engine, object, "event", &parts, &has_kind);
	if (r == 0 && object == 0 && !has_kind)
		r = note_kinds(engine, object, "type", &parts, &has_kind);
	bool is_part = (parts.snapshot | parts.delta | parts.done | parts.all_done) != 0;
	for (size_t i = 0; is_part && i < engine->rules->role->block_count && r == 0; i++) {
		if ((parts.snapshot >> i & 1) != 0)
			begin_anew(engine, i, within);
		if ((parts.all_done >> i & 1) != 0)
			end_all(engine, i, within);
		if ((parts.delta >> i & 1) != 0 && !has_piece) {
			has_piece = true;
			r = begin_piece(engine, object, i, within);
		} else if ((parts.done >> i & 1) != 0) {
			r = end_block(engine, object, i, within);
		}
	}
	return r;
}

/* ---- pieces and what snapshots show of a block ---- */

int engine_take_piece(struct engine *engine, uint16_t number, bool is_shown,
	const struct secret_search *search, const uint8_t *text, size_t len)
{
	if (number == TOKEN_PIECE_UNNAMED) {
		int r = len > 0 ? buf_append_str(&engine->changed, search->mask) : 0;
		return r < 0 ? r : len > 0;
	}
	const struct block_piece piece = {.of = engine->piece[number - 1],
		.ticket = engine->ticket,
		.text = text,
		.len = len,
		.is_shown = is_shown};
	int r = open_blocks_take(engine->open_blocks, &piece, search, &engine->changed);
	if (r < 0)
		return r;
	return engine->changed.len != len ||
	       (len > 0 && memcmp(engine->changed.data, text, len) != 0);
}

/* The member beside the text that has the name of the key; looked for once in each object. */
static int name_in_flight(struct engine *engine, size_t rule, struct block_name *name)
{
	const struct path *path = &engine->rules->role->block[rule].key;
	struct frame *above = engine->above;
	const uint8_t *text = NULL;
	size_t len = 0;
	if ((above->keys_told >> rule & 1) == 0) {
		int64_t value = 0;
		if (path->count > 0)
			value = engine_find_member(
				engine, above->container, path->step[path->count - 1].name);
		if (value < 0)
			return (int)value;
		above->key[rule] = (uint32_t)value;
		above->keys_told |= UINT32_C(1) << rule;
	}
	int r = engine_scalar_of(engine, above->key[rule], &text, &len);
	if (r == 0)
		block_name_set(name, rule, above->within, text, len);
	return r;
}

int engine_take_in_flight(struct engine *engine, size_t rule, const struct secret_search *search,
	const uint8_t *text, size_t len)
{
	struct block_piece piece = {.ticket = engine->ticket, .text = text, .len = len};
	/* Keys are unescaped into engine->text, which may hold the text. */
	struct buf text_of_string = engine->text;
	engine->text = (struct buf){0};
	int r = name_in_flight(engine, rule, &piece.of);
	buf_free(&engine->text);
	engine->text = text_of_string;
	if (r < 0)
		return r;
	open_blocks_drop(engine->open_blocks, &piece.of);
	engine->changed.len = 0;
	return open_blocks_take(engine->open_blocks, &piece, search, &engine->changed);
}
