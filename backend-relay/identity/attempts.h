/*
 * Attempts: how often a peer may present a credential that is wrong.
 *
 * A bucket of `burst` failures for each peer, refilled by one every `interval`. Whoever has used
 * it up is refused before the credential is looked at, so that guessing on gains nothing, and is
 * not told whether it was right.
 *
 * A table of fixed size: ATTEMPTS_SETS sets of ATTEMPTS_WAYS, found by a hash under a random key,
 * so that nobody can choose whom to push out. In a full set the one that owes least makes room.
 */
#pragma once

#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>

#include "backend-relay/identity/network.h"

enum { ATTEMPTS_SETS = 2048, ATTEMPTS_WAYS = 4 };

struct attempt {
	struct network_address peer;
	uint64_t full_at_ns; /* monotonic; from then on its bucket is full again */
};

struct attempts {
	uint64_t burst, interval_ns;
	uint8_t key[crypto_shorthash_KEYBYTES];
	struct attempt sets[ATTEMPTS_SETS][ATTEMPTS_WAYS];
};

void attempts_init(struct attempts *attempts, uint64_t burst, uint64_t interval_ns);

/* Whether a credential of this peer is looked at. */
bool attempts_may_try(
	const struct attempts *attempts, const struct network_address *peer, uint64_t now_ns);
/* It was wrong. */
void attempts_note_failure(
	struct attempts *attempts, const struct network_address *peer, uint64_t now_ns);
