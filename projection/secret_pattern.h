/*
 * What secrets look like: the table behind `secrets:` in a policy. docs/policy.md says where each
 * pattern comes from and what it can miss.
 *
 * A pattern is written in a small part of the usual notation of regular expressions: bytes,
 * [classes], counts {m,n} {m,} and ?, and one group, which is the secret: what stands before the
 * group says that a secret follows, and stays. There is no choice between texts: each has a line.
 *
 * Rules that keep matching simple, checked when it is compiled:
 *	the four positions from `anchor` on are always there, and before the group has a repetition:
 *	the search looks for them first;
 *	once the group can end, every byte that goes on matching belongs to the secret;
 *	nothing is asked of the byte before or behind, so that whether a secret begins at a place
 *	depends on nothing that came earlier.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum secret_set {
	SECRETS_AWS,
	SECRETS_GITHUB,
	SECRETS_GITLAB,
	SECRETS_SLACK,
	SECRETS_GOOGLE,
	SECRETS_OPENAI,
	SECRETS_ANTHROPIC,
	SECRETS_PRIVATE_KEY,
	SECRETS_JWT,
	SECRETS_BEARER,
	SECRETS_PASSWORD_ASSIGNMENT,
	SECRETS_URL_CREDENTIALS,
	SECRETS_SETS,
};

/* One bit for each set. */
typedef uint32_t secret_sets;

struct secret_pattern {
	enum secret_set set;
	bool any_case;
	uint8_t anchor;   /* position */
	const char *text; /* the pattern */
	const char *end;  /* the secret goes on up to and including this; NULL: to the last match */
};

extern const struct secret_pattern secret_patterns[];
extern const size_t secret_pattern_count;

/* As in a policy, NULL-terminated, by enum secret_set. */
extern const char *const secret_set_names[];
