/* backend-relay/jwt_keys: any file gives keys of the algorithm, or a mistake with a text. */
#include <assert.h>
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>

#include "backend-relay/identity/jwt_keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct jwt_keys *keys, int r, const struct yaml_error *error)
{
	if (r < 0) {
		assert(error->text[0] != '\0' && keys->count == 0);
		return;
	}
	assert(keys->count > 0 && keys->count <= JWT_KEYS_MAX);
	for (size_t i = 0; i < keys->count; i++)
		assert(keys->key[i].len >= 32);
	jwt_keys_free(keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum jwt_algorithm algorithms[] = {JWT_HS256, JWT_RS256, JWT_ES256};
	if (sodium_init() < 0)
		abort();
	if (size > JWT_KEYS_FILE_BYTES_MAX)
		return 0;
	for (size_t i = 0; i < sizeof(algorithms) / sizeof(algorithms[0]); i++) {
		struct jwt_keys keys;
		struct yaml_error error = {""};
		int r = jwt_keys_read_pem(&keys, algorithms[i], "-", data, size, &error);
		check(&keys, r, &error);
		error.text[0] = '\0';
		r = jwt_keys_read_jwks(&keys, algorithms[i], "-", data, size, &error);
		check(&keys, r, &error);
	}
	return 0;
}
