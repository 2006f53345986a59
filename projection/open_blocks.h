/*
 * The state of one pass: the blocks of text that come in pieces and of which something is not
 * decided yet, because it may be the beginning of a secret or is in the middle of one.
 *
 * A block that has nothing open takes no place here. What is kept depends on the events since
 * open_blocks_since() alone, so a reader that begins again feeds those and is where it was.
 *
 * At most OPEN_BLOCKS_MAX blocks of one rule are open at once. With one more the rule is given up:
 * which of its blocks are in the middle of a secret is not known any more, so every piece of every
 * one is a mask, until a snapshot shows them anew. Other rules go on; were the bound a common one,
 * a reader that begins later could give up another rule than one who has been there.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "projection/policy.h"
#include "projection/secret_text.h"
#include "proto/base/attributes.h"

enum { OPEN_BLOCKS_MAX = 64, BLOCK_KEY_BYTES = 32, BLOCK_WITHIN_BYTES = 16 };

/* Which block: the number of its rule in the policy, whose it is, and the text of its key. */
struct block_name {
	size_t rule;
	uint8_t within[BLOCK_WITHIN_BYTES]; /* of events nested in others; zeros: of the stream */
	uint8_t key_len;                    /* UINT8_MAX: the key is a digest of a longer one */
	uint8_t key[BLOCK_KEY_BYTES];
};

/* `within` NULL: of the stream itself. */
void block_name_set(struct block_name *name, size_t rule, const uint8_t *within, const uint8_t *key,
	size_t len);

struct block_piece {
	struct block_name of;
	uint64_t ticket; /* of its event */
	const uint8_t *text;
	size_t len;
	bool is_shown; /* what is found to be no secret is; else other rules work on it too */
};

struct open_block;

/* Zero-initialise it. */
struct open_blocks {
	struct open_block **block;
	size_t count, allocated;
	uint32_t given_up; /* bit r: rule r is */
	uint64_t given_up_since[POLICY_BLOCKS_MAX];
};

void open_blocks_free(struct open_blocks *blocks);

/* Takes a piece of a block; appends to `out` what can be shown. 0, or -ENOMEM or -EMSGSIZE: then
 * the rule is given up. */
_must_check_ int open_blocks_take(struct open_blocks *blocks, const struct block_piece *piece,
	const struct secret_search *search, struct buf *out);

/*
 * The block is complete: appends to `rest` what of it was held back and is shown after all, and
 * forgets it. `search` as for its pieces, but for sets and mask. 0 or as open_blocks_take().
 */
_must_check_ int open_blocks_end(struct open_blocks *blocks, const struct block_name *name,
	const struct secret_search *search, struct buf *rest);

/* The block begins anew. */
void open_blocks_drop(struct open_blocks *blocks, const struct block_name *name);
/* All blocks of a rule do. */
void open_blocks_drop_rule(struct open_blocks *blocks, size_t rule);
/* All blocks of a rule that are within what `name` is. */
void open_blocks_drop_within(struct open_blocks *blocks, const struct block_name *name);

/*
 * From the event `ticket` on, where it is not known any more what of the rule's blocks is open; as
 * if since the oldest that was.
 */
void open_blocks_give_up(struct open_blocks *blocks, size_t rule, uint64_t ticket);

/* Whether anything is open, and since which event. */
bool open_blocks_since(const struct open_blocks *blocks, uint64_t *ticket);
