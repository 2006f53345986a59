/*
 * The public keys, or shared secrets, that JWTs are checked with.
 *
 * RS256 and ES256: public keys as PEM, or a JWKS file (RFC 7517), of which the keys of this
 * algorithm that are there for signatures are turned into PEM by OpenSSL. RSA keys have 2048 to
 * 8192 bits, EC keys are of P-256; a key of another kind is a mistake in a PEM file, and passed
 * over in a JWKS file, which may hold keys for others. HS256: the content of a secret file, or the
 * `oct` keys of a JWKS file, of at least 32 bytes; a public key is no secret and refused.
 *
 * At most JWT_KEYS_MAX; a file without any is a mistake.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "backend-relay/identity/identity.h"
#include "proto/base/attributes.h"
#include "proto/base/yaml_tree.h"

enum { JWT_KEYS_MAX = 8, JWT_KEYS_FILE_BYTES_MAX = 64 * 1024 };

enum jwt_algorithm { JWT_HS256, JWT_RS256, JWT_ES256 };

struct jwt_key {
	uint8_t *bytes; /* PEM, or the secret */
	size_t len;
	uint8_t hash[IDENTITY_HASH_BYTES]; /* tells it from others; says nothing of a secret */
};

struct jwt_keys {
	enum jwt_algorithm algorithm;
	struct jwt_key key[JWT_KEYS_MAX];
	size_t count;
};

/*
 * From the bytes of a file; `path` is for the message only. 0; -EINVAL with `error`; or -ENOMEM.
 */
_must_check_ int jwt_keys_read_pem(struct jwt_keys *keys, enum jwt_algorithm algorithm,
	const char *path, const uint8_t *bytes, size_t len, struct yaml_error *error);
_must_check_ int jwt_keys_read_jwks(struct jwt_keys *keys, enum jwt_algorithm algorithm,
	const char *path, const uint8_t *bytes, size_t len, struct yaml_error *error);

void jwt_keys_free(struct jwt_keys *keys); /* wipes */
