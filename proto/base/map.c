#include "proto/base/map.h"

#include <assert.h>
#include <sodium.h>

#include "proto/base/bytes.h"

static uint8_t key_of_process[crypto_shorthash_KEYBYTES];

__attribute__((constructor)) static void draw_key(void)
{
	int r = sodium_init();
	assert(r >= 0);
	(void)r;
	crypto_shorthash_keygen(key_of_process);
}

uint32_t map_hash(const void *key, size_t len)
{
	uint8_t out[crypto_shorthash_BYTES];
	crypto_shorthash(out, key, len, key_of_process);
	return get_le32(out);
}
