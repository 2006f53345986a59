#include "projection/rules.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/ids.h"
#include "proto/json.h"
#include "proto/limits.h"

enum { CACHE_ENTRIES = 256, CACHED_KIND_BYTES = 62 };

struct kind_entry {
	bool used, allowed;
	struct kind_parts parts;
	uint8_t len;
	uint8_t kind[CACHED_KIND_BYTES];
};

/* Each kind has one place, by its hash; a kind that comes by evicts what was there. */
struct kind_cache {
	struct kind_entry entry[CACHE_ENTRIES];
	uint64_t start[]; /* [CACHE_ENTRIES][words] */
};

static void set_bit(uint64_t *set, size_t position)
{
	set[position / 64] |= UINT64_C(1) << (position % 64);
}

/* ---- compiling ---- */

/* Two `**` in a row mean one. */
static bool is_repeated_deep(const struct path *path, size_t i)
{
	return i > 0 && path->step[i].kind == PATH_DEEP && path->step[i - 1].kind == PATH_DEEP &&
	       path->step[i - 1].member == NULL;
}

static size_t positions_of(const struct path *path)
{
	size_t count = 1;
	for (size_t i = 0; i < path->count; i++)
		count += is_repeated_deep(path, i) ? 0 : 1;
	return count;
}

static int add_names(struct rules *rules)
{
	for (size_t i = 0; i < rules->role->redact_count; i++) {
		const struct path *path = &rules->role->redact[i].path;
		for (size_t j = 0; j < path->count; j++) {
			const char *const texts[] = {path->step[j].name, path->step[j].member};
			for (size_t k = 0; k < ARRAY_SIZE(texts); k++) {
				uint16_t number;
				int r = texts[k] != NULL
						? names_add(&rules->names, texts[k], &number)
						: 0;
				if (r < 0)
					return r;
			}
		}
	}
	return 0;
}

static size_t steps_with_predicate(const struct policy_role *role)
{
	size_t count = 0;
	for (size_t i = 0; i < role->redact_count; i++) {
		for (size_t j = 0; j < role->redact[i].path.count; j++)
			count += role->redact[i].path.step[j].member != NULL ? 1 : 0;
	}
	return count;
}

static int allocate(struct rules *rules, size_t positions)
{
	size_t names = rules->names.count;
	rules->words = (positions + 63) / 64;
	if (rules->words == 0)
		rules->words = 1;
	size_t words = rules->words;
	rules->by_name = calloc(names * words, sizeof(uint64_t));
	rules->deep = calloc(words, sizeof(uint64_t));
	rules->stay = calloc(words, sizeof(uint64_t));
	rules->unchecked = calloc(words, sizeof(uint64_t));
	rules->accept = calloc(words, sizeof(uint64_t));
	rules->rule_at = calloc(words * 64, sizeof(uint32_t));
	rules->predicate = calloc(steps_with_predicate(rules->role) + 1, sizeof(struct predicate));
	rules->by_predicate = calloc(
		steps_with_predicate(rules->role) * words + 1, sizeof(uint64_t));
	rules->is_member_of_predicate = calloc(names, sizeof(bool));
	rules->mask = calloc(rules->role->redact_count + 1, sizeof(*rules->mask));
	rules->cache = calloc(1, sizeof(*rules->cache) + CACHE_ENTRIES * words * sizeof(uint64_t));
	bool complete = rules->by_name != NULL && rules->deep != NULL && rules->stay != NULL &&
			rules->unchecked != NULL && rules->accept != NULL &&
			rules->rule_at != NULL && rules->by_predicate != NULL &&
			rules->predicate != NULL && rules->is_member_of_predicate != NULL &&
			rules->mask != NULL && rules->cache != NULL;
	return complete ? 0 : -ENOMEM;
}

static uint16_t number_of(const struct rules *rules, const char *name)
{
	return names_find(&rules->names, (const uint8_t *)name, strlen(name));
}

/* Equal predicates share a number. */
static size_t add_predicate(struct rules *rules, const struct path_step *step)
{
	uint16_t name = number_of(rules, step->member);
	for (size_t i = 0; i < rules->predicate_count; i++) {
		if (rules->predicate[i].name == name &&
			strcmp(rules->predicate[i].pattern, step->pattern) == 0)
			return i;
	}
	rules->is_member_of_predicate[name] = true;
	rules->predicate[rules->predicate_count] = (struct predicate){name, step->pattern};
	return rules->predicate_count++;
}

static void add_step(struct rules *rules, const struct path_step *step, size_t position)
{
	if (step->kind == PATH_DEEP)
		set_bit(rules->deep, position);
	else if (step->kind == PATH_NAME)
		set_bit(rules->by_name + number_of(rules, step->name) * rules->words, position);
	for (size_t i = 0; step->kind == PATH_ANY && i < rules->names.count; i++)
		set_bit(rules->by_name + i * rules->words, position);
	if (step->member != NULL)
		set_bit(rules->by_predicate + add_predicate(rules, step) * rules->words,
			position + 1);
}

/* What follows from the others. */
static void finish_sets(struct rules *rules)
{
	uint64_t carry = 0;
	for (size_t i = 0; i < rules->words; i++) {
		uint64_t checked = 0;
		for (size_t j = 0; j < rules->predicate_count; j++)
			checked |= rules->by_predicate[j * rules->words + i];
		rules->unchecked[i] = ~checked;
		uint64_t behind_deep = rules->deep[i] << 1 | carry;
		carry = rules->deep[i] >> 63;
		rules->stay[i] |= rules->deep[i] | (behind_deep & ~checked);
	}
}

static void add_rules(struct rules *rules)
{
	size_t position = 0;
	for (size_t i = 0; i < rules->role->redact_count; i++) {
		const struct redact_rule *rule = &rules->role->redact[i];
		for (size_t j = 0; j < rule->path.count; j++) {
			if (is_repeated_deep(&rule->path, j))
				position--; /* the later one may have a predicate */
			add_step(rules, &rule->path.step[j], position++);
		}
		set_bit(rules->accept, position);
		if (redact_action_works_on_texts(rule->action))
			set_bit(rules->stay, position);
		rules->rule_at[position++] = (uint32_t)i;
	}
	finish_sets(rules);
}

static int add_masks(struct rules *rules)
{
	for (size_t i = 0; i < rules->role->redact_count; i++) {
		const char *with = rules->role->redact[i].with;
		if (with == NULL)
			with = RULES_DEFAULT_MASK;
		int r = json_append_quoted(&rules->mask[i], with, strlen(with));
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_secrets(struct rules *rules)
{
	secret_sets sets = 0;
	for (size_t i = 0; i < rules->role->redact_count; i++)
		sets |= rules->role->redact[i].secrets;
	return sets != 0 ? secret_matcher_new(&rules->secrets, sets) : 0;
}

int rules_compile(
	struct rules **out, const struct policy_role *role, const struct projection_key *key)
{
	struct rules *rules = calloc(1, sizeof(*rules));
	if (rules == NULL)
		return -ENOMEM;
	rules->role = role;
	rules->key = *key;
	size_t positions = 0;
	for (size_t i = 0; i < role->redact_count; i++)
		positions += positions_of(&role->redact[i].path);
	int r = names_init(&rules->names);
	if (r == 0)
		r = add_names(rules);
	if (r == 0)
		r = allocate(rules, positions);
	if (r == 0)
		r = add_masks(rules);
	if (r == 0)
		r = add_secrets(rules);
	if (r < 0) {
		rules_free(rules);
		return r;
	}
	add_rules(rules);
	*out = rules;
	return 0;
}

void rules_free(struct rules *rules)
{
	if (rules == NULL)
		return;
	names_free(&rules->names);
	free(rules->by_name);
	free(rules->deep);
	free(rules->stay);
	free(rules->unchecked);
	free(rules->accept);
	free(rules->rule_at);
	free(rules->by_predicate);
	free(rules->predicate);
	free(rules->is_member_of_predicate);
	free(rules->cache);
	secret_matcher_free(rules->secrets);
	for (size_t i = 0; rules->mask != NULL && i < rules->role->redact_count; i++)
		buf_free(&rules->mask[i]);
	free(rules->mask);
	sodium_memzero(&rules->key, sizeof(rules->key));
	free(rules);
}

/* ---- kinds ---- */

static bool judge(const struct rules *rules, const uint8_t *kind, size_t len, uint64_t *start)
{
	const struct policy_role *role = rules->role;
	const char *text = (const char *)kind;
	size_t position = 0;
	for (size_t i = 0; i < role->redact_count; i++) {
		if (glob_list_matches(&role->redact[i].in, text, len))
			set_bit(start, position);
		position += positions_of(&role->redact[i].path);
	}
	return glob_list_matches(&role->events_allow, text, len) &&
	       !glob_list_matches(&role->events_deny, text, len);
}

static size_t cache_place(const uint8_t *kind, size_t len)
{
	uint64_t hash = len;
	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = 0;
		memcpy(&word, kind + i, len - i < 8 ? len - i : 8);
		hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	return (size_t)(hash >> 40) % CACHE_ENTRIES;
}

static bool is_kind(const char *glob, const uint8_t *kind, size_t len)
{
	return glob != NULL && glob_matches(glob, strlen(glob), (const char *)kind, len);
}

static struct kind_parts find_parts(const struct rules *rules, const uint8_t *kind, size_t len)
{
	const struct policy_role *role = rules->role;
	struct kind_parts parts = {0};
	static_assert(POLICY_BLOCKS_MAX <= 32, "a bit for each rule");
	for (size_t i = 0; i < role->block_count; i++) {
		parts.delta |= (uint32_t)is_kind(role->block[i].delta, kind, len) << i;
		parts.done |= (uint32_t)is_kind(role->block[i].done, kind, len) << i;
		parts.all_done |= (uint32_t)glob_list_matches(
					  &role->block[i].all_done, (const char *)kind, len)
				  << i;
		parts.snapshot |= (uint32_t)is_kind(role->block[i].snapshot, kind, len) << i;
	}
	return parts;
}

/* The place of a short kind in the cache, where it stands then. */
static size_t look_up(struct rules *rules, const uint8_t *kind, size_t len)
{
	size_t place = cache_place(kind, len);
	struct kind_entry *entry = &rules->cache->entry[place];
	uint64_t *start = &rules->cache->start[place * rules->words];
	if (entry->used && entry->len == len && memcmp(entry->kind, kind, len) == 0)
		return place;
	memset(start, 0, rules->words * sizeof(*start));
	entry->allowed = judge(rules, kind, len, start);
	entry->parts = find_parts(rules, kind, len);
	entry->len = (uint8_t)len;
	memcpy(entry->kind, kind, len);
	entry->used = true;
	return place;
}

bool rules_judge_kind(struct rules *rules, const uint8_t *kind, size_t len, uint64_t *start)
{
	if (len > CACHED_KIND_BYTES) {
		bool allowed = judge(rules, kind, len, start);
		if (len > KIND_BYTES_MAX)
			allowed = rules_judge_kind(rules, kind, 0, start) && allowed;
		return allowed;
	}
	size_t place = look_up(rules, kind, len);
	const uint64_t *cached = &rules->cache->start[place * rules->words];
	for (size_t i = 0; i < rules->words; i++)
		start[i] |= cached[i];
	return rules->cache->entry[place].allowed;
}

void rules_find_parts(
	struct rules *rules, const uint8_t *kind, size_t len, struct kind_parts *parts)
{
	struct kind_parts found = len > CACHED_KIND_BYTES
					  ? find_parts(rules, kind, len)
					  : rules->cache->entry[look_up(rules, kind, len)].parts;
	parts->delta |= found.delta;
	parts->done |= found.done;
	parts->all_done |= found.all_done;
	parts->snapshot |= found.snapshot;
}

/* ---- digests ---- */

/* Raised when the engine itself treats the same rules otherwise. */
static const char engine_version[] = "sightline projection 2";

static void digest_bytes(crypto_generichash_state *state, const void *bytes, size_t len)
{
	uint8_t prefix[8];
	put_le64(prefix, len);
	crypto_generichash_update(state, prefix, sizeof(prefix));
	crypto_generichash_update(state, bytes, len);
}

static void digest_text(crypto_generichash_state *state, const char *text)
{
	uint8_t present = text != NULL;
	crypto_generichash_update(state, &present, sizeof(present));
	if (text != NULL)
		digest_bytes(state, text, strlen(text));
}

static void digest_number(crypto_generichash_state *state, uint64_t number)
{
	uint8_t bytes[8];
	put_le64(bytes, number);
	crypto_generichash_update(state, bytes, sizeof(bytes));
}

static void digest_globs(crypto_generichash_state *state, const struct glob_list *list)
{
	digest_number(state, list->count);
	for (size_t i = 0; i < list->count; i++)
		digest_text(state, list->glob[i]);
}

static void digest_path(crypto_generichash_state *state, const struct path *path)
{
	digest_number(state, path->count);
	for (size_t i = 0; i < path->count; i++) {
		const struct path_step *step = &path->step[i];
		digest_number(state, step->kind);
		digest_text(state, step->name);
		digest_text(state, step->member);
		digest_text(state, step->pattern);
	}
}

static void digest_rule(crypto_generichash_state *state, const struct redact_rule *rule)
{
	digest_globs(state, &rule->in);
	digest_path(state, &rule->path);
	digest_number(state, rule->action);
	digest_text(state, rule->with);
	digest_text(state, rule->from);
	digest_text(state, rule->to);
	digest_number(state, rule->anywhere);
	digest_number(state, rule->keep);
	digest_number(state, rule->secrets);
}

static void digest_block(crypto_generichash_state *state, const struct block_rule *block)
{
	digest_text(state, block->delta);
	digest_text(state, block->done);
	digest_globs(state, &block->all_done);
	digest_text(state, block->snapshot);
	digest_path(state, &block->text);
	digest_path(state, &block->key);
	digest_path(state, &block->rest);
}

void rules_view_revision(const struct rules *rules, const char *runtime_id, const char *worker_id,
	uint8_t out[VIEW_REVISION_BYTES])
{
	const struct policy_role *role = rules->role;
	crypto_generichash_state state;
	crypto_generichash_init(
		&state, rules->key.bytes, sizeof(rules->key.bytes), VIEW_REVISION_BYTES);
	digest_text(&state, engine_version);
	digest_text(&state, runtime_id);
	digest_text(&state, worker_id);
	digest_globs(&state, &role->events_allow);
	digest_globs(&state, &role->events_deny);
	digest_number(&state, role->redact_count);
	for (size_t i = 0; i < role->redact_count; i++)
		digest_rule(&state, &role->redact[i]);
	digest_number(&state, role->block_count);
	for (size_t i = 0; i < role->block_count; i++)
		digest_block(&state, &role->block[i]);
	if (role->nested_by != NULL)
		digest_globs(&state, role->nested_by);
	crypto_generichash_final(&state, out, VIEW_REVISION_BYTES);
}

void rules_hash_value(const struct rules *rules, uint8_t type, const uint8_t *bytes, size_t len,
	char out[RULES_HASH_TEXT_BYTES + 1])
{
	uint8_t digest[RULES_HASH_TEXT_BYTES / 2];
	crypto_generichash_state state;
	crypto_generichash_init(&state, rules->key.bytes, sizeof(rules->key.bytes), sizeof(digest));
	digest_text(&state, "value");
	digest_number(&state, type);
	digest_bytes(&state, bytes, len);
	crypto_generichash_final(&state, digest, sizeof(digest));
	sodium_bin2hex(out, RULES_HASH_TEXT_BYTES + 1, digest, sizeof(digest));
}
