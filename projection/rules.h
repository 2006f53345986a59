/*
 * The rules of one role, compiled for the engine.
 *
 * All paths of all rules together are one automaton whose state is a set of positions, one bit for
 * each step of each path: a bit is set at a value when that path has been followed up to that step.
 * Going down to a member or element is a few operations on whole words of bits, whatever the number
 * of rules that match there, so the cost of an event is its size times the words, never more.
 *
 *	position p      before step p of some path
 *	by_name[id]     positions whose step takes a member of that name; by_name[NAME_UNKNOWN] and
 *	                elements of arrays: only `*`
 *	deep            positions whose step is `**`: it stays where it is at any depth, and
 *	                matches no depth too
 *	stay            positions that what lies within a value keeps: those, what follows a `**`
 *	                without a predicate, and the end of a path whose action works on every
 *	                text within
 *	unchecked       positions that are reached anywhere; the others (by_predicate[number]) only
 *	                at objects where their predicate holds
 *	accept          positions behind the last step: the value is a target of rule_at[position]
 *
 * Which rules begin at an event, and whether the role may see it, depends on its kind alone and is
 * remembered for the kinds seen last.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "projection/names.h"
#include "projection/policy.h"
#include "projection/secret_matcher.h"
#include "proto/base/attributes.h"
#include "proto/base/buf.h"

#define RULES_DEFAULT_MASK "[redacted]"

enum { VIEW_REVISION_BYTES = 16, PROJECTION_KEY_BYTES = 32 };

/* Keyed digests come from it. All zero without --key; a policy with `hash` needs a real one. */
struct projection_key {
	uint8_t bytes[PROJECTION_KEY_BYTES];
};

struct predicate {
	uint16_t name;
	const char *pattern; /* the policy's */
};

struct rules {
	const struct policy_role *role; /* must outlive the rules */
	struct projection_key key;
	struct names names;

	size_t words;                               /* 64 positions each */
	uint64_t *by_name;                          /* [names.count][words] */
	uint64_t *deep, *stay, *unchecked, *accept; /* [words] */
	uint32_t *rule_at;                          /* by position; for those in `accept` */
	struct predicate *predicate;
	size_t predicate_count;
	uint64_t *by_predicate;       /* [predicate_count][words] */
	bool *is_member_of_predicate; /* by name */

	struct buf *mask;               /* by rule: what stands instead, as JSON */
	struct secret_matcher *secrets; /* of all sets that rules name; NULL: of none */
	struct kind_cache *cache;
};

_must_check_ int rules_compile(
	struct rules **out, const struct policy_role *role, const struct projection_key *key);
void rules_free(struct rules *rules);

/*
 * Adds to `start` the first positions of the rules that apply to events of this kind, and answers
 * whether the role may see such an event. A kind longer than KIND_BYTES_MAX is judged as it is and
 * as none.
 */
bool rules_judge_kind(struct rules *rules, const uint8_t *kind, size_t len, uint64_t *start);

/* What a kind is to which rules for blocks: bit r, of the policy's rule r. */
struct kind_parts {
	uint32_t delta, done, all_done, snapshot;
};

/* Adds to `parts` what events of this kind are. */
void rules_find_parts(
	struct rules *rules, const uint8_t *kind, size_t len, struct kind_parts *parts);

/* Digest of all that decides what this role sees of this stream: equal if and only if that is. */
void rules_view_revision(const struct rules *rules, const char *runtime_id, const char *worker_id,
	uint8_t out[VIEW_REVISION_BYTES]);

/* The text that `hash` puts in place of a value, NUL-terminated. */
enum { RULES_HASH_TEXT_BYTES = 32 };
void rules_hash_value(const struct rules *rules, uint8_t type, const uint8_t *bytes, size_t len,
	char out[RULES_HASH_TEXT_BYTES + 1]);
