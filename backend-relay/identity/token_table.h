/*
 * Who clients are: tokens that stand for a subject and its role.
 *
 *	tokens:
 *	  - {subject: alice@example.org, role: operator, hash: "64 hexadecimal digits"}
 *
 * A token is 256 random bits in base64url, made by `backend-relay --new-token` and printed once;
 * the file keeps only its BLAKE2b-256. A presented token is hashed and its hash compared with every
 * entry in constant time, so neither content nor position in the file shows in how long it takes.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "backend-relay/identity/identity.h"
#include "proto/base/yaml_config.h"

enum {
	TOKEN_TEXT_BYTES = 43, /* of ours; without the NUL */
	TOKEN_TEXT_MAX = 512,  /* a longer one is wrong, whatever it holds */
	TOKEN_HASH_BYTES = IDENTITY_HASH_BYTES,
	TOKEN_SUBJECT_BYTES_MAX = IDENTITY_SUBJECT_BYTES_MAX,
	TOKENS_MAX = 16384,
};

struct token_entry {
	uint8_t hash[TOKEN_HASH_BYTES];
	char *subject;
	struct id role;
};

struct token_table {
	struct token_entry *entries;
	size_t count;
};

/* 0; -EINVAL with "file:line:column: what"; another -errno with `error` too. */
_must_check_ int token_table_load(
	struct token_table *table, const char *path, struct yaml_error *error);
void token_table_free(struct token_table *table);

/* The entry of this token, or NULL. */
const struct token_entry *token_table_find(
	const struct token_table *table, const char *token, size_t len);

/* The entry with this hash, or NULL: whether a session goes on after a reload. */
const struct token_entry *token_table_find_hash(
	const struct token_table *table, const uint8_t hash[TOKEN_HASH_BYTES]);

/* Makes a token. */
void token_generate(char out[TOKEN_TEXT_BYTES + 1], uint8_t hash[TOKEN_HASH_BYTES]);

/* 1 to 255 of visible ASCII without quotes, backslash and comma. */
bool token_subject_is_valid(const char *subject);
