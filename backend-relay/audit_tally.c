#include "backend-relay/audit_tally.h"

#include <stdio.h>
#include <string.h>

void audit_tally_init(struct audit_tally *tally)
{
	memset(tally, 0, sizeof(*tally));
	crypto_shorthash_keygen(tally->key);
}

bool audit_tally_has_room(struct audit_tally *tally, const char *name, uint64_t now_ns)
{
	uint8_t hash[crypto_shorthash_BYTES];
	crypto_shorthash(hash, (const uint8_t *)name, strlen(name), tally->key);
	struct audit_bucket *set = tally->buckets[hash[0] % TALLY_SETS], *bucket = &set[0];
	for (size_t i = 0; i < TALLY_WAYS; i++) {
		if (memcmp(set[i].hash, hash, sizeof(hash)) == 0) {
			bucket = &set[i];
			break;
		}
		if (set[i].full_at_ns < bucket->full_at_ns)
			bucket = &set[i];
	}
	if (memcmp(bucket->hash, hash, sizeof(hash)) != 0) {
		memcpy(bucket->hash, hash, sizeof(hash));
		bucket->full_at_ns = now_ns;
	}
	if (bucket->full_at_ns < now_ns)
		bucket->full_at_ns = now_ns;
	if (bucket->full_at_ns - now_ns > (TALLY_BURST - 1) * TALLY_REFILL_NS)
		return false;
	bucket->full_at_ns += TALLY_REFILL_NS;
	return true;
}

static const char *known(const char *text)
{
	return text != NULL ? text : "";
}

struct audit_sum *audit_tally_sum(struct audit_tally *tally, const char *subject, const char *role,
	const char *runtime_id, const char *worker_id)
{
	subject = known(subject);
	role = known(role);
	runtime_id = known(runtime_id);
	worker_id = known(worker_id);
	for (size_t i = 0; i < tally->count; i++) {
		struct audit_sum *sum = &tally->sums[i];
		if (strcmp(sum->worker_id.text, worker_id) == 0 &&
			strcmp(sum->subject, subject) == 0 && strcmp(sum->role.text, role) == 0 &&
			strcmp(sum->runtime_id.text, runtime_id) == 0)
			return sum;
	}
	if (tally->count == TALLY_SUMS_MAX)
		return &tally->sums[TALLY_SUMS_MAX];
	struct audit_sum *sum = &tally->sums[tally->count++];
	snprintf(sum->subject, sizeof(sum->subject), "%s", subject);
	/* What is no id stays empty. */
	(void)id_set(&sum->role, role, strlen(role));
	(void)id_set(&sum->runtime_id, runtime_id, strlen(runtime_id));
	(void)id_set(&sum->worker_id, worker_id, strlen(worker_id));
	return sum;
}

void audit_tally_flush(struct audit_tally *tally, void (*take)(const struct audit_sum *sum))
{
	for (size_t i = 0; i <= TALLY_SUMS_MAX; i++) {
		if (tally->sums[i].begun > 0 || tally->sums[i].ended > 0)
			take(&tally->sums[i]);
	}
	memset(tally->sums, 0, sizeof(tally->sums));
	tally->count = 0;
}
