/*
 * Whose a nested event is: what in the objects around it tells workers apart, as a digest that goes
 * into the names of their blocks.
 */
#include <sodium.h>

#include "projection/engine_private.h"
#include "proto/base/bytes.h"

static void digest_text(crypto_generichash_state *state, const uint8_t *text, size_t len)
{
	uint8_t prefix[8];
	put_le64(prefix, len);
	crypto_generichash_update(state, prefix, sizeof(prefix));
	crypto_generichash_update(state, text, len);
}

/* The first of the members that `nested_by` names. */
static int look_by_name(struct engine *engine, struct frame *frame, crypto_generichash_state *state)
{
	const struct glob_list *names = engine->rules->role->nested_by;
	for (size_t i = 0; i < names->count && !frame->tells; i++) {
		const uint8_t *text;
		size_t len;
		int64_t value = engine_find_member(engine, frame->container, names->glob[i]);
		int r = value < 0 ? (int)value
				  : engine_scalar_of(engine, (uint32_t)value, &text, &len);
		if (r < 0)
			return r;
		if (len == 0)
			continue;
		digest_text(state, text, len);
		frame->tells = true;
	}
	return 0;
}

/* All texts that stand in the object. */
static int look_at_texts(
	struct engine *engine, struct frame *frame, crypto_generichash_state *state)
{
	const struct json_token *token = engine->tape.token;
	frame->tells = true;
	for (uint32_t key = frame->container + 1; key < frame->end; key = token[key + 1].next) {
		if (token[key + 1].type != JSON_STRING)
			continue;
		for (uint32_t i = key; i <= key + 1; i++) {
			const uint8_t *text;
			size_t len;
			int r = engine_text_of(engine, &token[i], &text, &len);
			if (r < 0)
				return r;
			digest_text(state, text, len);
		}
	}
	return 0;
}

/* Each object is looked at once, however many events are nested in it. */
static int look_for_teller(struct engine *engine, struct frame *frame)
{
	crypto_generichash_state state;
	if (frame->told)
		return 0;
	frame->told = true;
	if (!frame->is_object)
		return 0;
	crypto_generichash_init(&state, NULL, 0, sizeof(frame->teller));
	int r = engine->rules->role->nested_by->count > 0 ? look_by_name(engine, frame, &state)
							  : look_at_texts(engine, frame, &state);
	if (r == 0 && frame->tells)
		crypto_generichash_final(&state, frame->teller, sizeof(frame->teller));
	return r;
}

int engine_tell_nested(
	struct engine *engine, unsigned int depth, uint8_t within[BLOCK_WITHIN_BYTES])
{
	const struct frame *above = &engine->frame[depth - 1];
	crypto_generichash_state state;
	crypto_generichash_init(&state, NULL, 0, BLOCK_WITHIN_BYTES);
	crypto_generichash_update(&state, above->within, sizeof(above->within));
	for (unsigned int at = depth; at-- > 0;) {
		struct frame *frame = &engine->frame[at];
		int r = look_for_teller(engine, frame);
		if (r < 0)
			return r;
		if (frame->tells)
			crypto_generichash_update(&state, frame->teller, sizeof(frame->teller));
		if (frame->tells || frame->is_nested)
			break;
	}
	crypto_generichash_final(&state, within, BLOCK_WITHIN_BYTES);
	return 0;
}
