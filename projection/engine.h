/*
 * What of one event a role may see.
 *
 * One pass makes a tape of the payload, one walk over the tape follows the rules, and the output is
 * the payload with splices: outside of them it is the input, byte for byte. Without a splice
 * nothing is copied. Time and memory are linear in the payload, whatever is in it.
 *
 *	Keys are compared after unescaping; of duplicate members every one is matched.
 *	A nested event is an object with a string member `event` and an object member `data`. Rules
 *	for its kind begin at it, and it is removed when the role may not see that kind.
 *	What may be read as the kind of an event in more than one way (duplicates of `event`, or
 *	`type` beside an `event` that is no string) is judged in every way: one denial is enough.
 *	A value that is removed, masked or hashed is gone with all in it. rewrite_prefix,
 *	truncate and secrets work on a string, and in an object or array on every string within it.
 *	Where remove, mask or hash reach the event itself it is denied: an event is an object.
 *
 * A payload that is not a JSON object, or whose output would be longer than PROJECTED_BYTES_MAX, is
 * refused.
 *
 * What a role sees of an event depends on that event alone, but for texts that come in pieces
 * (`blocks:` in the policy) where rules ask for secrets: then it depends on the open blocks of the
 * pass too, which the caller keeps. After an error of such an event nothing more is shown of its
 * blocks. The engine itself keeps nothing of one event for the next.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "projection/open_blocks.h"
#include "projection/rules.h"
#include "projection/splice.h"
#include "proto/base/attributes.h"
#include "proto/json.h"
#include "proto/limits.h"

#define PROJECTED_BYTES_MAX (4u * EVENT_BYTES_DEFAULT)

/* Texts in an event, itself and those nested in it, that are pieces. The rule of one more is given
 * up, since each is searched with what its block holds back. */
enum { EVENT_PIECES_MAX = 64 };

enum verdict {
	VERDICT_PASS = 0,    /* as it is */
	VERDICT_REWRITE = 1, /* the output */
	VERDICT_DENY = 2,
	VERDICT_REFUSED = 3, /* could not be judged: `refusal` says why */
};

/* "pass", "rewrite", "deny", "refused", as on the wire. */
const char *verdict_name(enum verdict verdict);

/* What was at work, for --explain. */
struct engine_trace {
	bool *rule;   /* by redact rule */
	bool *deny;   /* by glob of `deny` */
	bool unnamed; /* a kind that no `allow` names */
};

struct engine {
	struct json_tape tape;
	struct splice splice;
	struct buf text, changed, quoted; /* of the string that is being changed */
	struct secret_findings findings;  /* in it */
	struct frame *frame;              /* [JSON_DEPTH_MAX + 1] */
	uint64_t *sets;                   /* one set of positions for each frame, and scratch */
	size_t sets_words;
	struct engine_trace *trace; /* NULL: not recorded */

	const uint8_t *payload;
	struct rules *rules;
	struct open_blocks *open_blocks; /* of the pass; NULL: every event is judged alone */
	uint64_t ticket;
	struct frame *above; /* the container that the walk is in; NULL at the root */

	/* Of the event: the blocks that its pieces belong to, by TOKEN_PIECE. */
	struct block_name piece[EVENT_PIECES_MAX];
	size_t piece_count, piece_texts;
	/* What a block that it ends held back, to become a member of an object; empty: nothing. */
	struct buf rest;
	uint32_t rest_in;
	const char *rest_name;
	struct json_error refusal;
};

_must_check_ int engine_init(struct engine *engine); /* 0 or -ENOMEM */
void engine_free(struct engine *engine);

/*
 * enum verdict, or -ENOMEM. For VERDICT_REWRITE `out` and `out_len` are set; they are borrowed
 * until the next call.
 */
_must_check_ int engine_project(struct engine *engine, struct rules *rules, const uint8_t *payload,
	size_t len, const uint8_t **out, size_t *out_len);

/*
 * The same for an event of a pass, whose open blocks follow; `ticket` names the event. Without
 * bytes it stands for events that nobody has: refused, and nothing is shown of a text that they may
 * have been part of.
 */
_must_check_ int engine_project_next(struct engine *engine, struct rules *rules,
	struct open_blocks *blocks, uint64_t ticket, const uint8_t *payload, size_t len,
	const uint8_t **out, size_t *out_len);
