#include "backend-relay/identity/jwt_keys.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend-relay/identity/json_object.h"

enum {
	SECRET_BYTES_MIN = 32, /* RFC 7518, 3.2 */
	RSA_BITS_MIN = 2048,
	RSA_BITS_MAX = 8192,
	P256_BYTES = 32,
	NUMBER_BYTES_MAX = RSA_BITS_MAX / 8 + 1,
	ENCODED_BYTES_MAX = 2048, /* of one member of a key */
};

static const char *const names[] = {"HS256", "RS256", "ES256"};

static int refuse(struct yaml_error *error, const char *path, const char *what)
{
	snprintf(error->text, sizeof(error->text), "%.300s: %s", path, what);
	return -EINVAL;
}

/* Copies the bytes. -E2BIG when there is no room for another one. */
static int add_key(struct jwt_keys *keys, const uint8_t *bytes, size_t len)
{
	if (keys->count == JWT_KEYS_MAX)
		return -E2BIG;
	struct jwt_key *key = &keys->key[keys->count];
	key->bytes = malloc(len + 1);
	if (key->bytes == NULL)
		return -ENOMEM;
	memcpy(key->bytes, bytes, len);
	key->bytes[len] = '\0';
	key->len = len;
	crypto_generichash(key->hash, sizeof(key->hash), bytes, len, NULL, 0);
	keys->count++;
	return 0;
}

static bool is_fit(const EVP_PKEY *key, enum jwt_algorithm algorithm)
{
	char group[32];
	if (algorithm == JWT_RS256)
		return EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) >= RSA_BITS_MIN &&
		       EVP_PKEY_get_bits(key) <= RSA_BITS_MAX;
	return EVP_PKEY_is_a(key, "EC") &&
	       EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 &&
	       strcmp(group, "prime256v1") == 0;
}

/* Written anew, so that the same key has the same bytes whichever file it came from. */
static int add_public_key(struct jwt_keys *keys, EVP_PKEY *key)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *text;
	int r = -ENOMEM;
	if (out != NULL && PEM_write_bio_PUBKEY(out, key) == 1) {
		long len = BIO_get_mem_data(out, &text);
		r = add_key(keys, (const uint8_t *)text, (size_t)len);
	}
	BIO_free(out);
	return r;
}

/* What stands behind every reader: frees the keys unless all went well. */
static int finish(struct jwt_keys *keys, int r, const char *path, struct yaml_error *error)
{
	char text[64];
	ERR_clear_error(); /* the queue is shared with the connections' TLS */
	if (r == -E2BIG) {
		snprintf(text, sizeof(text), "more than %d keys", JWT_KEYS_MAX);
		r = refuse(error, path, text);
	} else if (r == 0 && keys->count == 0) {
		snprintf(text, sizeof(text), "no key for %s", names[keys->algorithm]);
		r = refuse(error, path, text);
	} else if (r == -ENOMEM) {
		refuse(error, path, "out of memory");
	}
	if (r < 0)
		jwt_keys_free(keys);
	return r;
}

/* ---- PEM, and a secret ---- */

static int read_secret(struct jwt_keys *keys, const char *path, const uint8_t *bytes, size_t len,
	struct yaml_error *error)
{
	if (memmem(bytes, len, "-----BEGIN", 10) != NULL)
		return refuse(error, path, "holds PEM, which is no secret for HS256");
	if (len > 0 && bytes[len - 1] == '\n')
		len--;
	if (len < SECRET_BYTES_MIN)
		return refuse(error, path, "a secret for HS256 has at least 32 bytes");
	return add_key(keys, bytes, len);
}

/* One block of a PEM file: its kind and what was in base64. */
static int read_block(struct jwt_keys *keys, const char *path, const char *name,
	const uint8_t *bytes, long len, struct yaml_error *error)
{
	const uint8_t *end = bytes;
	if (strcmp(name, PEM_STRING_PUBLIC) != 0)
		return refuse(error, path, "not a PEM file of public keys");
	EVP_PKEY *key = d2i_PUBKEY(NULL, &end, len);
	int r;
	if (key == NULL || end != bytes + len)
		r = refuse(error, path, "a public key that can't be read");
	else if (!is_fit(key, keys->algorithm))
		r = refuse(error, path, "a key of a kind or size that is not allowed");
	else
		r = add_public_key(keys, key);
	EVP_PKEY_free(key);
	return r;
}

static int read_blocks(struct jwt_keys *keys, const char *path, BIO *in, struct yaml_error *error)
{
	char *name, *header;
	unsigned char *bytes;
	long len;
	int r = 0;
	while (r == 0 && PEM_read_bio(in, &name, &header, &bytes, &len) == 1) {
		r = read_block(keys, path, name, bytes, len, error);
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_clear_free(bytes, (size_t)len);
	}
	if (r == 0 && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		r = refuse(error, path, "not a PEM file of public keys");
	return r;
}

int jwt_keys_read_pem(struct jwt_keys *keys, enum jwt_algorithm algorithm, const char *path,
	const uint8_t *bytes, size_t len, struct yaml_error *error)
{
	*keys = (struct jwt_keys){.algorithm = algorithm};
	if (algorithm == JWT_HS256)
		return finish(keys, read_secret(keys, path, bytes, len, error), path, error);
	ERR_clear_error();
	BIO *in = BIO_new_mem_buf(bytes, (int)len);
	int r = in != NULL ? read_blocks(keys, path, in, error) : -ENOMEM;
	BIO_free(in);
	return finish(keys, r, path, error);
}

/* ---- JWKS ---- */

/* A member in base64url. -EINVAL when it is not there or not to be read. */
static int read_base64(
	const struct json_object *object, const char *name, uint8_t *out, size_t size, size_t *len)
{
	char text[ENCODED_BYTES_MAX];
	if (json_object_text(object, name, text, sizeof(text)) != JSON_MEMBER_FOUND ||
		sodium_base642bin(out, size, text, strlen(text), NULL, len, NULL,
			sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0)
		return -EINVAL;
	sodium_memzero(text, sizeof(text));
	return 0;
}

static EVP_PKEY *key_of_parameters(const char *type, OSSL_PARAM_BLD *builder)
{
	EVP_PKEY *key = NULL;
	OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(builder);
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	if (parameters != NULL && context != NULL && EVP_PKEY_fromdata_init(context) == 1 &&
		EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(context);
	OSSL_PARAM_free(parameters);
	return key;
}

static EVP_PKEY *read_rsa(const struct json_object *object)
{
	uint8_t n[NUMBER_BYTES_MAX], e[NUMBER_BYTES_MAX];
	size_t n_len, e_len;
	if (read_base64(object, "n", n, sizeof(n), &n_len) < 0 ||
		read_base64(object, "e", e, sizeof(e), &e_len) < 0)
		return NULL;
	BIGNUM *modulus = BN_bin2bn(n, (int)n_len, NULL),
	       *exponent = BN_bin2bn(e, (int)e_len, NULL);
	OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
	EVP_PKEY *key = NULL;
	if (modulus != NULL && exponent != NULL && builder != NULL &&
		OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
		OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, exponent) == 1)
		key = key_of_parameters("RSA", builder);
	OSSL_PARAM_BLD_free(builder);
	BN_free(modulus);
	BN_free(exponent);
	return key;
}

static EVP_PKEY *read_ec(const struct json_object *object)
{
	uint8_t point[1 + 2 * P256_BYTES] = {4 /* uncompressed */};
	size_t x_len, y_len;
	const struct json_token *curve;
	if (json_object_find(object, "crv", &curve) != JSON_MEMBER_FOUND ||
		!json_token_is_text(object->bytes, curve, "P-256") ||
		read_base64(object, "x", point + 1, P256_BYTES, &x_len) < 0 ||
		read_base64(object, "y", point + 1 + P256_BYTES, P256_BYTES, &y_len) < 0 ||
		x_len != P256_BYTES || y_len != P256_BYTES)
		return NULL;
	OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
	EVP_PKEY *key = NULL;
	if (builder != NULL &&
		OSSL_PARAM_BLD_push_utf8_string(
			builder, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) == 1 &&
		OSSL_PARAM_BLD_push_octet_string(
			builder, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)) == 1)
		key = key_of_parameters("EC", builder);
	OSSL_PARAM_BLD_free(builder);
	return key;
}

/* Absent, or this text. */
static bool allows(const struct json_object *object, const char *name, const char *text)
{
	const struct json_token *value;
	enum json_member_result r = json_object_find(object, name, &value);
	return r == JSON_MEMBER_ABSENT ||
	       (r == JSON_MEMBER_FOUND && json_token_is_text(object->bytes, value, text));
}

static bool is_for_us(const struct json_object *object, enum jwt_algorithm algorithm)
{
	static const char *const types[] = {"oct", "RSA", "EC"};
	const struct json_token *type;
	return json_object_find(object, "kty", &type) == JSON_MEMBER_FOUND &&
	       json_token_is_text(object->bytes, type, types[algorithm]) &&
	       allows(object, "use", "sig") && allows(object, "alg", names[algorithm]);
}

static int read_oct(struct jwt_keys *keys, const struct json_object *object)
{
	uint8_t secret[NUMBER_BYTES_MAX];
	size_t len;
	int r = read_base64(object, "k", secret, sizeof(secret), &len);
	if (r == 0)
		r = len >= SECRET_BYTES_MIN ? add_key(keys, secret, len) : -EINVAL;
	sodium_memzero(secret, sizeof(secret));
	return r;
}

static int read_key(struct jwt_keys *keys, const struct json_object *object)
{
	if (!is_for_us(object, keys->algorithm))
		return 0;
	if (keys->algorithm == JWT_HS256)
		return read_oct(keys, object);
	EVP_PKEY *key = keys->algorithm == JWT_RS256 ? read_rsa(object) : read_ec(object);
	int r = key != NULL && is_fit(key, keys->algorithm) ? add_public_key(keys, key) : -EINVAL;
	EVP_PKEY_free(key);
	return r;
}

static int read_set(struct jwt_keys *keys, const uint8_t *bytes, const struct json_tape *tape)
{
	const struct json_object root = {bytes, tape, 0};
	const struct json_token *array;
	if (tape->token[0].type != JSON_OBJECT ||
		json_object_find(&root, "keys", &array) != JSON_MEMBER_FOUND ||
		array->type != JSON_ARRAY)
		return -EINVAL;
	int r = 0;
	for (uint32_t i = (uint32_t)(array - tape->token) + 1; r == 0 && i < array->next;
		i = tape->token[i].next) {
		const struct json_object object = {bytes, tape, i};
		r = tape->token[i].type == JSON_OBJECT ? read_key(keys, &object) : -EINVAL;
	}
	return r;
}

int jwt_keys_read_jwks(struct jwt_keys *keys, enum jwt_algorithm algorithm, const char *path,
	const uint8_t *bytes, size_t len, struct yaml_error *error)
{
	struct json_tape tape = {0};
	struct json_error json_error;
	*keys = (struct jwt_keys){.algorithm = algorithm};
	int r = json_tape_build(&tape, bytes, len, &json_error);
	if (r == JSON_OK)
		r = read_set(keys, bytes, &tape);
	else if (r > 0)
		r = -EINVAL;
	json_tape_free(&tape);
	if (r == -EINVAL)
		refuse(error, path, "not a JWKS file, or with a key that can't be used");
	return finish(keys, r, path, error);
}

void jwt_keys_free(struct jwt_keys *keys)
{
	for (size_t i = 0; i < keys->count; i++) {
		sodium_memzero(keys->key[i].bytes, keys->key[i].len);
		free(keys->key[i].bytes);
	}
	keys->count = 0;
}
