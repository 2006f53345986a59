#include "backend-relay/event_id.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "proto/base/bytes.h"

enum { HASH_BYTES = 16, PLACE_BYTES = 14 };

static_assert(EVENT_ID_TEXT_BYTES == 3 +
					     sodium_base64_ENCODED_LEN(HASH_BYTES,
						     sodium_base64_VARIANT_URLSAFE_NO_PADDING) -
					     1,
	"be_ and the hash in base64url");

void event_id_format(const struct event_id_key *key, const char *runtime_id, const char *worker_id,
	const struct cursor *position, char out[EVENT_ID_TEXT_BYTES + 1])
{
	uint8_t place[PLACE_BYTES], hash[HASH_BYTES];
	put_le32(place, position->log);
	put_le16(place + 4, position->epoch);
	put_le64(place + 6, position->sequence);
	crypto_generichash_state state;
	crypto_generichash_init(&state, key->bytes, sizeof(key->bytes), sizeof(hash));
	/* Each id with its NUL, which no id contains: two pairs never hash as the same bytes. */
	crypto_generichash_update(&state, (const uint8_t *)runtime_id, strlen(runtime_id) + 1);
	crypto_generichash_update(&state, (const uint8_t *)worker_id, strlen(worker_id) + 1);
	crypto_generichash_update(&state, place, sizeof(place));
	crypto_generichash_final(&state, hash, sizeof(hash));
	memcpy(out, "be_", 3);
	sodium_bin2base64(out + 3, EVENT_ID_TEXT_BYTES + 1 - 3, hash, sizeof(hash),
		sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}
