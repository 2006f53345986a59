#include "backend-relay/identity/token_table.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* One entry as it is written. */
struct entry {
	char *subject, *role, *hash;
};

static const struct config_key entry_keys[] = {
	{.name = "subject",
		.type = CONFIG_STRING,
		.offset = offsetof(struct entry, subject),
		.required = true},
	{.name = "role",
		.type = CONFIG_STRING,
		.offset = offsetof(struct entry, role),
		.required = true},
	{.name = "hash",
		.type = CONFIG_STRING,
		.offset = offsetof(struct entry, hash),
		.required = true},
	{0},
};

bool token_subject_is_valid(const char *subject)
{
	size_t len = strlen(subject);
	if (len == 0 || len > TOKEN_SUBJECT_BYTES_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (subject[i] <= ' ' || subject[i] > '~' || strchr("\"'\\,{}[]", subject[i]))
			return false;
	}
	return true;
}

static bool parse_hash(const char *text, uint8_t out[TOKEN_HASH_BYTES])
{
	size_t len = 0;
	return strlen(text) == 2 * TOKEN_HASH_BYTES &&
	       sodium_hex2bin(out, TOKEN_HASH_BYTES, text, strlen(text), NULL, &len, NULL) == 0 &&
	       len == TOKEN_HASH_BYTES;
}

static int fill_entry(struct token_entry *out, const struct entry *entry, struct yaml_tree *tree,
	const yaml_node_t *node, struct yaml_error *error)
{
	if (!token_subject_is_valid(entry->subject))
		return yaml_fail(error, tree, yaml_lookup(tree, node, "subject"),
			"\"subject\" must be 1 to %d visible characters without quotes",
			TOKEN_SUBJECT_BYTES_MAX);
	if (!id_set(&out->role, entry->role, strlen(entry->role)))
		return yaml_fail(error, tree, yaml_lookup(tree, node, "role"),
			"\"role\" must be 1 to %d of A-Z a-z 0-9 _ . : -", ID_BYTES_MAX);
	if (!parse_hash(entry->hash, out->hash))
		return yaml_fail(error, tree, yaml_lookup(tree, node, "hash"),
			"\"hash\" must be %d hexadecimal digits", 2 * TOKEN_HASH_BYTES);
	out->subject = strdup(entry->subject);
	return out->subject != NULL ? 0 : -ENOMEM;
}

static int read_entry(struct token_table *table, struct yaml_tree *tree, const yaml_node_t *node,
	struct yaml_error *error)
{
	struct entry entry = {0};
	struct token_entry filled = {0};
	int r = config_read_mapping(entry_keys, &entry, tree, node, error);
	if (r == 0)
		r = fill_entry(&filled, &entry, tree, node, error);
	if (r == 0 && token_table_find_hash(table, filled.hash) != NULL) {
		free(filled.subject);
		r = yaml_fail(
			error, tree, yaml_lookup(tree, node, "hash"), "this hash is there twice");
	}
	if (r == 0)
		table->entries[table->count++] = filled;
	config_free_strings(entry_keys, &entry);
	return r;
}

static int read_entries(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct token_table *table = target;
	if (node->type != YAML_SEQUENCE_NODE)
		return yaml_fail(error, tree, node, "\"tokens\" must be a list");
	size_t count = 0;
	while (yaml_item(tree, node, count) != NULL)
		count++;
	if (count > TOKENS_MAX)
		return yaml_fail(error, tree, node, "more than %d tokens", TOKENS_MAX);
	table->entries = calloc(count + 1, sizeof(*table->entries));
	if (table->entries == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		int r = read_entry(table, tree, yaml_item(tree, node, i), error);
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct config_key table_keys[] = {
	{.name = "tokens", .type = CONFIG_CUSTOM, .required = true, .read = read_entries},
	{0},
};

int token_table_load(struct token_table *table, const char *path, struct yaml_error *error)
{
	*table = (struct token_table){0};
	int r = config_load(table_keys, table, path, error);
	if (r < 0)
		token_table_free(table);
	return r;
}

void token_table_free(struct token_table *table)
{
	for (size_t i = 0; i < table->count; i++)
		free(table->entries[i].subject);
	free(table->entries);
	*table = (struct token_table){0};
}

static void hash_token(const char *token, size_t len, uint8_t out[TOKEN_HASH_BYTES])
{
	crypto_generichash(out, TOKEN_HASH_BYTES, (const uint8_t *)token, len, NULL, 0);
}

const struct token_entry *token_table_find_hash(
	const struct token_table *table, const uint8_t hash[TOKEN_HASH_BYTES])
{
	const struct token_entry *found = NULL;
	for (size_t i = 0; i < table->count; i++) {
		if (sodium_memcmp(table->entries[i].hash, hash, TOKEN_HASH_BYTES) == 0)
			found = &table->entries[i];
	}
	return found;
}

const struct token_entry *token_table_find(
	const struct token_table *table, const char *token, size_t len)
{
	if (len == 0 || len > TOKEN_TEXT_MAX)
		return NULL;
	uint8_t hash[TOKEN_HASH_BYTES];
	hash_token(token, len, hash);
	return token_table_find_hash(table, hash);
}

void token_generate(char out[TOKEN_TEXT_BYTES + 1], uint8_t hash[TOKEN_HASH_BYTES])
{
	uint8_t random[32];
	randombytes_buf(random, sizeof(random));
	sodium_bin2base64(out, TOKEN_TEXT_BYTES + 1, random, sizeof(random),
		sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	hash_token(out, TOKEN_TEXT_BYTES, hash);
	sodium_memzero(random, sizeof(random));
}
