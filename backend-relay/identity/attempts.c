#include "backend-relay/identity/attempts.h"

#include <string.h>

void attempts_init(struct attempts *attempts, uint64_t burst, uint64_t interval_ns)
{
	memset(attempts, 0, sizeof(*attempts));
	attempts->burst = burst;
	attempts->interval_ns = interval_ns;
	crypto_shorthash_keygen(attempts->key);
}

static size_t set_of(const struct attempts *attempts, const struct network_address *site)
{
	uint8_t hash[crypto_shorthash_BYTES];
	uint64_t value;
	crypto_shorthash(hash, site->bytes, sizeof(site->bytes), attempts->key);
	memcpy(&value, hash, sizeof(value));
	return value % ATTEMPTS_SETS;
}

static bool is_of(
	const struct attempt *attempt, const struct network_address *site, uint64_t now_ns)
{
	return attempt->full_at_ns > now_ns && memcmp(&attempt->peer, site, sizeof(*site)) == 0;
}

bool attempts_may_try(
	const struct attempts *attempts, const struct network_address *peer, uint64_t now_ns)
{
	const struct network_address site = network_address_of_site(peer);
	const struct attempt *set = attempts->sets[set_of(attempts, &site)];
	uint64_t depth_ns = (attempts->burst - 1) * attempts->interval_ns;
	for (size_t i = 0; i < ATTEMPTS_WAYS; i++) {
		if (is_of(&set[i], &site, now_ns))
			return set[i].full_at_ns - now_ns <= depth_ns;
	}
	return true;
}

void attempts_note_failure(
	struct attempts *attempts, const struct network_address *peer, uint64_t now_ns)
{
	const struct network_address site = network_address_of_site(peer);
	struct attempt *set = attempts->sets[set_of(attempts, &site)], *chosen = &set[0];
	for (size_t i = 0; i < ATTEMPTS_WAYS; i++) {
		if (is_of(&set[i], &site, now_ns)) {
			set[i].full_at_ns += attempts->interval_ns;
			return;
		}
		if (set[i].full_at_ns < chosen->full_at_ns)
			chosen = &set[i];
	}
	*chosen = (struct attempt){site, now_ns + attempts->interval_ns};
}
