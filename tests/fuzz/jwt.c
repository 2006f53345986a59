/*
 * backend-relay/jwt_verifier: a token of strangers is wrong, and one that is right says what was
 * configured. The first byte chooses the input: a whole token, or header and claims that are signed
 * here with the verifier's own secret, so that what stands behind the signature is reached too.
 */
#include <assert.h>
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backend-relay/identity/jwt_verifier.h"
#include "backend-relay/identity/token_table.h"

#define SECRET "a secret of at least 32 bytes, known here"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(char *out, size_t out_size, const uint8_t *bytes, size_t len)
{
	size_t used = strlen(out);
	sodium_bin2base64(
		out + used, out_size - used, bytes, len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

/* "header NUL claims" → a token with a good signature. */
static void sign(char *out, size_t out_size, const uint8_t *data, size_t size)
{
	const uint8_t *split = memchr(data, '\0', size);
	size_t header_len = split != NULL ? (size_t)(split - data) : size;
	crypto_auth_hmacsha256_state state;
	uint8_t signature[crypto_auth_hmacsha256_BYTES];
	out[0] = '\0';
	encode(out, out_size, data, header_len);
	strcat(out, ".");
	if (split != NULL)
		encode(out, out_size, split + 1, size - header_len - 1);
	crypto_auth_hmacsha256_init(&state, (const uint8_t *)SECRET, strlen(SECRET));
	crypto_auth_hmacsha256_update(&state, (const uint8_t *)out, strlen(out));
	crypto_auth_hmacsha256_final(&state, signature);
	strcat(out, ".");
	encode(out, out_size, signature, sizeof(signature));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct jwt_verifier verifier = {
		.issuer = "i", .audience = "a", .subject_claim = "sub", .role_claim = "role"};
	struct yaml_error error;
	char token[3 * JWT_TEXT_MAX];
	struct identity identity;
	if (sodium_init() < 0)
		abort();
	if (verifier.keys.count == 0 &&
		jwt_keys_read_pem(&verifier.keys, JWT_HS256, "-", (const uint8_t *)SECRET,
			strlen(SECRET), &error) < 0)
		abort();
	if (size == 0 || size > JWT_TEXT_MAX)
		return 0;
	bool is_signed = data[0] == 's';
	if (is_signed) {
		sign(token, sizeof(token), data + 1, size - 1);
	} else {
		memcpy(token, data + 1, size - 1);
		token[size - 1] = '\0';
	}
	size_t len = is_signed ? strlen(token) : size - 1;
	if (!jwt_verifier_check(&verifier, token, len, 1000, &identity))
		return 0;
	assert(is_signed || strchr(token, '.') != NULL);
	assert(token_subject_is_valid(identity.subject));
	assert(id_is_valid(identity.role.text, strlen(identity.role.text)));
	assert(identity.expires_s > 1000 && jwt_verifier_has_key(&verifier, identity.hash));
	return 0;
}
