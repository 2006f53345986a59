/*
 * Identity: who a client is, by what right, and until when.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#include "proto/ids.h"

#define IDENTITY_ANONYMOUS_ROLE "anonymous"

enum {
	IDENTITY_SUBJECT_BYTES_MAX = 255,
	IDENTITY_HASH_BYTES = 32,
	IDENTITY_PEER_BYTES = 64,
	IDENTITY_WHO_BYTES = 16,
};

enum identity_kind {
	IDENTITY_ANONYMOUS,
	IDENTITY_TOKEN, /* of the tokens file; `hash` is the token's */
	IDENTITY_JWT,   /* `hash` is that of the key that signed it */
};

struct identity {
	enum identity_kind kind;
	char subject[IDENTITY_SUBJECT_BYTES_MAX + 1]; /* empty: anonymous */
	struct id role;
	uint8_t hash[IDENTITY_HASH_BYTES];
	int64_t expires_s; /* since 1970: from then on it is no longer good; 0: never */
	char peer[IDENTITY_PEER_BYTES]; /* where it comes from, for the audit */
	/* The same for all that one subject does, and for all strangers of one site. */
	uint8_t who[IDENTITY_WHO_BYTES];
};

static inline struct identity identity_anonymous(void)
{
	struct identity identity = {.kind = IDENTITY_ANONYMOUS};
	strcpy(identity.role.text, IDENTITY_ANONYMOUS_ROLE);
	return identity;
}
