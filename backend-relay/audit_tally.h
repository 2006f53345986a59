/*
 * Audit tally: which sessions get lines of their own, and the sums of those that don't.
 *
 * Whoever may come in could fill the journal by coming and going all the time, until it drops what
 * others did. So each subject has a bucket of TALLY_BURST sessions, refilled by one every
 * TALLY_REFILL_NS; sessions beyond are added up by subject and stream. At most TALLY_SUMS_MAX sums
 * are kept between two flushes; what finds no room is added to one sum of all others, whose
 * subject and stream are empty.
 *
 * The buckets are a table of fixed size, found by a hash under a random key, so that nobody can
 * choose whom to push out; in a full set the one that owes least makes room.
 *
 * Pure: time comes in.
 */
#pragma once

#include <sodium.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend-relay/identity/identity.h"
#include "proto/base/clock.h"
#include "proto/ids.h"

enum {
	TALLY_BURST = 200,
	TALLY_SUMS_MAX = 64,
	TALLY_SETS = 256,
	TALLY_WAYS = 4,
};

#define TALLY_REFILL_NS (500 * NS_PER_MS)

/* Of events. */
struct audit_counts {
	uint64_t delivered;
	uint64_t redacted;         /* of these, not as they were published */
	uint64_t denied, withheld; /* passed over */
};

/* Texts that are not known are empty. */
struct audit_sum {
	char subject[IDENTITY_SUBJECT_BYTES_MAX + 1];
	struct id role, runtime_id, worker_id;
	uint64_t begun, ended; /* sessions */
	struct audit_counts counts;
};

struct audit_bucket {
	uint8_t hash[crypto_shorthash_BYTES];
	uint64_t full_at_ns; /* monotonic; from then on it is full again */
};

struct audit_tally {
	uint8_t key[crypto_shorthash_KEYBYTES];
	struct audit_bucket buckets[TALLY_SETS][TALLY_WAYS];
	struct audit_sum sums[TALLY_SUMS_MAX + 1]; /* the last one: all others */
	size_t count;                              /* of sums, without the last one */
	uint64_t flushed_ns;
};

void audit_tally_init(struct audit_tally *tally);

/* Whether one more session of `name` gets lines of its own. */
bool audit_tally_has_room(struct audit_tally *tally, const char *name, uint64_t now_ns);

/* The sum to add to; NULL texts are not known. Borrowed until the next call. */
struct audit_sum *audit_tally_sum(struct audit_tally *tally, const char *subject, const char *role,
	const char *runtime_id, const char *worker_id);

/* Hands on each sum in which there is something, and begins anew. */
void audit_tally_flush(struct audit_tally *tally, void (*take)(const struct audit_sum *sum));
