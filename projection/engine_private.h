/*
 * What the parts of the engine share: engine.c walks over the tape, event_kind.c looks at the
 * members of an object and judges events, redaction.c does to a value what the rules say,
 * block_events.c knows texts that come in pieces, nested_event.c whose nested ones are.
 */
#pragma once

#include "projection/engine.h"
#include "projection/secret_text.h"

/* Sets of positions besides one for each depth. */
enum {
	SET_START = JSON_DEPTH_MAX + 1, /* where rules for the kind of the event begin */
	SET_PASSABLE,                   /* what can be reached at the object that is entered */
	SET_EMPTY,
	SET_COUNT,
};

/* An array or object that the walk is in. Its set of positions is engine_set(depth). */
struct frame {
	uint32_t container;  /* its token */
	uint32_t child, end; /* tokens: the next key or element, and what is behind the last */
	uint32_t done_bytes; /* where the member or element before ends */
	bool is_object;
	bool has_kept; /* one before stays in the output */

	/* The rest is there for an event of a pass alone. */
	bool is_nested;                     /* it is an event, but for the root */
	uint8_t within[BLOCK_WITHIN_BYTES]; /* whose it is, as in struct block_name */
	/* What in it tells whose the events nested in it are, once that has been looked for. */
	bool told, tells;
	uint8_t teller[BLOCK_WITHIN_BYTES];
	/* Of texts of blocks in flight in it: the token of the key by rule, once looked for. */
	uint32_t keys_told;              /* bit r: of rule r */
	uint32_t key[POLICY_BLOCKS_MAX]; /* 0: there is none */
};

/* In `user` of a string's token: the number of its piece from 1 on; 0: it is none. */
enum { TOKEN_PIECE_UNNAMED = UINT16_MAX /* one of too many */ };

/* What becomes of a value; negative errno besides. */
enum fate { FATE_STAYS, FATE_ENTERED, FATE_REMOVED };

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

static inline uint64_t *engine_set(const struct engine *engine, size_t number)
{
	return engine->sets + number * engine->rules->words;
}

/* The text of a key or string; borrowed from the payload or from engine->text. 0 or -errno. */
_must_check_ int engine_text_of(
	struct engine *engine, const struct json_token *token, const uint8_t **text, size_t *len);

/* Whether this is the text of a key. 0 or -errno. */
_must_check_ int engine_key_is(
	struct engine *engine, const struct json_token *key, const char *name, bool *same);

/* The first member of this name of an object as a token, 0 if there is none, or -errno. */
_must_check_ int64_t engine_find_member(struct engine *engine, uint32_t object, const char *name);

/* The text of a string, the bytes of another scalar; nothing of others and of token 0. 0 or
 * -errno. Borrowed as by engine_text_of(). */
_must_check_ int engine_scalar_of(
	struct engine *engine, uint32_t value, const uint8_t **text, size_t *len);

/*
 * Numbers the keys of an object, says what could be its kind, and fills SET_PASSABLE with what its
 * members satisfy the predicates of. 0 or -errno.
 */
_must_check_ int engine_look_at_members(struct engine *engine, uint32_t object, struct look *look);

/*
 * For an event, at the root or nested: adds to `set` where the rules of its kind begin, and says
 * whether the role may see it. 0 or -errno.
 */
_must_check_ int engine_judge_event(struct engine *engine, uint32_t object, const struct look *look,
	uint64_t *set, bool *allowed);

/*
 * Does to the value what the rules of this complete set say. enum fate, FATE_STAYS or FATE_REMOVED,
 * or -errno. `replaced`: what is inside the value is gone.
 */
_must_check_ int engine_act_on(
	struct engine *engine, uint32_t value, const uint64_t *set, bool *replaced);

/*
 * Of an event of a pass, the root or nested: which block it belongs to, begins or ends. `within` as
 * in struct block_name; NULL for the root. 0 or -errno.
 */
_must_check_ int engine_begin_block_event(
	struct engine *engine, uint32_t object, const uint8_t *within);

/* Whose the nested event is that the walk has come to, `depth` containers deep. 0 or -errno. */
_must_check_ int engine_tell_nested(
	struct engine *engine, unsigned int depth, uint8_t within[BLOCK_WITHIN_BYTES]);

/*
 * Puts what can be shown of the piece into engine->changed; `is_shown` as in struct block_piece. 0,
 * 1 if that is another text, or -errno.
 */
_must_check_ int engine_take_piece(struct engine *engine, uint16_t number, bool is_shown,
	const struct secret_search *search, const uint8_t *text, size_t len);

/* A block as a snapshot shows it: the events that follow go on from there. 0 or -errno. */
_must_check_ int engine_take_in_flight(struct engine *engine, size_t rule,
	const struct secret_search *search, const uint8_t *text, size_t len);
