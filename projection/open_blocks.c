#include "projection/open_blocks.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

struct open_block {
	struct block_name name;
	uint64_t since;
	struct secret_text text;
	/* How it was searched last, for its end. */
	secret_sets sets;
	const char *mask;
	bool is_shown;
};

void block_name_set(
	struct block_name *name, size_t rule, const uint8_t *within, const uint8_t *key, size_t len)
{
	*name = (struct block_name){.rule = rule};
	if (within != NULL)
		memcpy(name->within, within, sizeof(name->within));
	if (len <= BLOCK_KEY_BYTES) {
		name->key_len = (uint8_t)len;
		if (len > 0)
			memcpy(name->key, key, len);
	} else {
		name->key_len = UINT8_MAX;
		crypto_generichash(name->key, sizeof(name->key), key, len, NULL, 0);
	}
}

static bool same_within(const struct block_name *a, const struct block_name *b)
{
	return a->rule == b->rule && memcmp(a->within, b->within, sizeof(a->within)) == 0;
}

static bool same_name(const struct block_name *a, const struct block_name *b)
{
	return same_within(a, b) && a->key_len == b->key_len &&
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
	free(blocks->block);
	*blocks = (struct open_blocks){0};
}

/* ---- rules that are given up ---- */

static bool is_given_up(const struct open_blocks *blocks, size_t rule)
{
	return (blocks->given_up >> rule & 1) != 0;
}

static size_t count_of_rule(const struct open_blocks *blocks, size_t rule)
{
	size_t count = 0;
	for (size_t i = 0; i < blocks->count; i++)
		count += blocks->block[i]->name.rule == rule ? 1 : 0;
	return count;
}

static void remove_rule(struct open_blocks *blocks, size_t rule)
{
	for (size_t i = blocks->count; i-- > 0;) {
		if (blocks->block[i]->name.rule == rule)
			remove_at(blocks, i);
	}
}

void open_blocks_give_up(struct open_blocks *blocks, size_t rule, uint64_t ticket)
{
	for (size_t i = 0; i < blocks->count; i++) {
		const struct open_block *block = blocks->block[i];
		if (block->name.rule == rule && block->since < ticket)
			ticket = block->since;
	}
	remove_rule(blocks, rule);
	blocks->given_up |= UINT32_C(1) << rule;
	blocks->given_up_since[rule] = ticket;
}

/* ---- pieces ---- */

static int add(struct open_blocks *blocks, const struct open_block *block)
{
	static_assert(POLICY_BLOCKS_MAX <= 32, "a bit for each rule");
	if (blocks->count == blocks->allocated) {
		size_t wanted = blocks->allocated != 0 ? 2 * blocks->allocated : 4;
		struct open_block **grown = realloc(blocks->block, wanted * sizeof(*grown));
		if (grown == NULL)
			return -ENOMEM;
		blocks->block = grown;
		blocks->allocated = wanted;
	}
	struct open_block *added = malloc(sizeof(*added));
	if (added == NULL)
		return -ENOMEM;
	*added = *block;
	blocks->block[blocks->count++] = added;
	return 0;
}

/* A piece of a block of which nothing was open; for one block too many it is masked. */
static int take_first(struct open_blocks *blocks, const struct block_piece *piece,
	const struct secret_search *search, struct buf *out)
{
	struct open_block new = {.name = piece->of,
		.since = piece->ticket,
		.sets = search->sets,
		.mask = search->mask,
		.is_shown = piece->is_shown};
	size_t before = out->len;
	bool is_recent;
	int r = secret_text_take(&new.text, search, piece->text, piece->len, out, &is_recent);
	if (r == 0 && !secret_text_is_empty(&new.text)) {
		if (count_of_rule(blocks, piece->of.rule) == OPEN_BLOCKS_MAX) {
			open_blocks_give_up(blocks, piece->of.rule, piece->ticket);
			out->len = before;
			r = buf_append_str(out, search->mask);
		} else {
			r = add(blocks, &new);
			if (r == 0)
				return 0;
		}
	}
	secret_text_free(&new.text);
	if (r < 0)
		open_blocks_give_up(blocks, piece->of.rule, piece->ticket);
	return r;
}

int open_blocks_take(struct open_blocks *blocks, const struct block_piece *piece,
	const struct secret_search *search, struct buf *out)
{
	if (is_given_up(blocks, piece->of.rule))
		return piece->len > 0 ? buf_append_str(out, search->mask) : 0;
	size_t place = find(blocks, &piece->of);
	if (place == blocks->count)
		return take_first(blocks, piece, search, out);
	struct open_block *block = blocks->block[place];
	bool is_recent;
	int r = secret_text_take(&block->text, search, piece->text, piece->len, out, &is_recent);
	if (r == 0 && is_recent)
		block->since = piece->ticket;
	block->sets = search->sets;
	block->mask = search->mask;
	block->is_shown = piece->is_shown;
	if (r < 0)
		open_blocks_give_up(blocks, piece->of.rule, piece->ticket);
	else if (secret_text_is_empty(&block->text))
		remove_at(blocks, place);
	return r;
}

int open_blocks_end(struct open_blocks *blocks, const struct block_name *name,
	const struct secret_search *search, struct buf *rest)
{
	size_t place = find(blocks, name);
	if (place == blocks->count)
		return 0;
	struct open_block *block = blocks->block[place];
	struct secret_search again = *search;
	again.sets = block->sets;
	again.mask = block->mask;
	int r = block->is_shown ? secret_text_end(&block->text, &again, rest) : 0;
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
	remove_rule(blocks, rule);
	blocks->given_up &= ~(UINT32_C(1) << rule);
}

void open_blocks_drop_within(struct open_blocks *blocks, const struct block_name *name)
{
	for (size_t i = blocks->count; i-- > 0;) {
		if (same_within(&blocks->block[i]->name, name))
			remove_at(blocks, i);
	}
}

bool open_blocks_since(const struct open_blocks *blocks, uint64_t *ticket)
{
	uint64_t since = UINT64_MAX;
	if (blocks->count == 0 && blocks->given_up == 0)
		return false;
	for (size_t i = 0; i < blocks->count; i++) {
		if (blocks->block[i]->since < since)
			since = blocks->block[i]->since;
	}
	for (uint32_t rules = blocks->given_up; rules != 0; rules &= rules - 1) {
		uint64_t given_up_since = blocks->given_up_since[__builtin_ctz(rules)];
		if (given_up_since < since)
			since = given_up_since;
	}
	*ticket = since;
	return true;
}
