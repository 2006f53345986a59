#include "projection/open_blocks.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

struct open_block {
	struct block_name name;
	uint64_t since;
	struct secret_text text;
};

void block_name_set(struct block_name *name, size_t rule, const uint8_t *key, size_t len)
{
	*name = (struct block_name){.rule = rule};
	if (len <= BLOCK_KEY_BYTES) {
		name->key_len = (uint8_t)len;
		if (len > 0)
			memcpy(name->key, key, len);
	} else {
		name->key_len = UINT8_MAX;
		crypto_generichash(name->key, sizeof(name->key), key, len, NULL, 0);
	}
}

static bool same_name(const struct block_name *a, const struct block_name *b)
{
	return a->rule == b->rule && a->key_len == b->key_len &&
	       memcmp(a->key, b->key, sizeof(a->key)) == 0;
}

/* Its place, or `count`. */
static size_t find(const struct open_blocks *blocks, const struct block_name *name)
{
	size_t i = 0;
	while (i < blocks->count && !same_name(&blocks->block[i]->name, name))
		i++;
	return i;
}

static void remove_at(struct open_blocks *blocks, size_t place)
{
	struct open_block *block = blocks->block[place];
	blocks->count--;
	memmove(blocks->block + place, blocks->block + place + 1,
		(blocks->count - place) * sizeof(*blocks->block));
	secret_text_free(&block->text);
	free(block);
}

void open_blocks_free(struct open_blocks *blocks)
{
	while (blocks->count > 0)
		remove_at(blocks, blocks->count - 1);
}

static size_t find_longest_open(const struct open_blocks *blocks)
{
	size_t oldest = 0;
	for (size_t i = 1; i < blocks->count; i++) {
		if (blocks->block[i]->since < blocks->block[oldest]->since)
			oldest = i;
	}
	return oldest;
}

static struct open_block *add(
	struct open_blocks *blocks, const struct block_name *name, uint64_t ticket)
{
	struct open_block *block = calloc(1, sizeof(*block));
	if (block == NULL)
		return NULL;
	block->name = *name;
	block->since = ticket;
	if (blocks->count == OPEN_BLOCKS_MAX)
		remove_at(blocks, find_longest_open(blocks));
	blocks->block[blocks->count++] = block;
	return block;
}

int open_blocks_take(struct open_blocks *blocks, const struct block_name *name, uint64_t ticket,
	const struct secret_search *search, const uint8_t *piece, size_t len, struct buf *out)
{
	size_t place = find(blocks, name);
	struct open_block new = {.name = *name, .since = ticket};
	struct open_block *block = place < blocks->count ? blocks->block[place] : &new;
	bool is_recent;
	int r = secret_text_take(&block->text, search, piece, len, out, &is_recent);
	if (r == 0 && is_recent)
		block->since = ticket;
	if (r == 0 && block == &new && !secret_text_is_empty(&new.text)) {
		struct open_block *added = add(blocks, name, ticket);
		if (added != NULL) {
			added->text = new.text;
			return 0;
		}
		r = -ENOMEM;
	}
	if (block == &new)
		secret_text_free(&new.text);
	else if (r < 0 || secret_text_is_empty(&block->text))
		remove_at(blocks, place);
	return r;
}

void open_blocks_drop(struct open_blocks *blocks, const struct block_name *name)
{
	size_t place = find(blocks, name);
	if (place < blocks->count)
		remove_at(blocks, place);
}

void open_blocks_drop_rule(struct open_blocks *blocks, size_t rule)
{
	for (size_t i = blocks->count; i-- > 0;) {
		if (blocks->block[i]->name.rule == rule)
			remove_at(blocks, i);
	}
}

bool open_blocks_since(const struct open_blocks *blocks, uint64_t *ticket)
{
	if (blocks->count == 0)
		return false;
	*ticket = blocks->block[find_longest_open(blocks)]->since;
	return true;
}
