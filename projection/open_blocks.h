/*
 * The state of one pass: the blocks of text that come in pieces and of which something is not
 * decided yet, because it may be the beginning of a secret or is in the middle of one.
 *
 * A block that has nothing open takes no place here. What is kept depends on the events since
 * open_blocks_since() alone, so a reader that begins again feeds those and is where it was.
 *
 * At most OPEN_BLOCKS_MAX blocks are open at once: for one more the one that has been open longest
 * is given up, and what it held back is not shown.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "projection/secret_text.h"
#include "proto/base/attributes.h"

enum { OPEN_BLOCKS_MAX = 64, BLOCK_KEY_BYTES = 32 };

/* Which block: the number of its rule in the policy, and the text of its key. */
struct block_name {
	size_t rule;
	uint8_t key_len; /* UINT8_MAX: the key is a digest of a longer one */
	uint8_t key[BLOCK_KEY_BYTES];
};

void block_name_set(struct block_name *name, size_t rule, const uint8_t *key, size_t len);

struct open_block;

/* Zero-initialise it. */
struct open_blocks {
	struct open_block *block[OPEN_BLOCKS_MAX];
	size_t count;
};

void open_blocks_free(struct open_blocks *blocks);

/* Takes a piece of a block from the event `ticket`; appends to `out` what can be shown. 0 or
 * -ENOMEM or -EMSGSIZE. */
_must_check_ int open_blocks_take(struct open_blocks *blocks, const struct block_name *name,
	uint64_t ticket, const struct secret_search *search, const uint8_t *piece, size_t len,
	struct buf *out);

/* The block is complete, or begins anew. */
void open_blocks_drop(struct open_blocks *blocks, const struct block_name *name);
/* All blocks of a rule. */
void open_blocks_drop_rule(struct open_blocks *blocks, size_t rule);

/* Whether anything is open, and since which event. */
bool open_blocks_since(const struct open_blocks *blocks, uint64_t *ticket);
