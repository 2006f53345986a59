#include "backend-relay/identity/jwt_verifier.h"

#include <jwt.h>
#include <openssl/err.h>
#include <sodium.h>

#include "backend-relay/identity/json_object.h"
#include "backend-relay/identity/token_table.h"

/* One of the three parts, decoded and read. */
struct part {
	uint8_t bytes[JWT_TEXT_MAX];
	size_t len;
	struct json_tape tape;
};

static const char *const algorithm_names[] = {"HS256", "RS256", "ES256"};
static const jwt_alg_t algorithms[] = {JWT_ALG_HS256, JWT_ALG_RS256, JWT_ALG_ES256};

bool jwt_has_form(const char *text, size_t len)
{
	size_t dots = 0;
	for (size_t i = 0; i < len; i++)
		dots += text[i] == '.';
	return dots == 2;
}

/* Base64url of a JSON object. */
static bool read_part(struct part *part, const char *text, size_t len)
{
	struct json_error error;
	return sodium_base642bin(part->bytes, sizeof(part->bytes), text, len, NULL, &part->len,
		       NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0 &&
	       json_tape_build(&part->tape, part->bytes, part->len, &error) == JSON_OK &&
	       part->tape.token[0].type == JSON_OBJECT;
}

static bool header_is_right(const struct jwt_verifier *verifier, const struct part *header)
{
	const struct json_object object = {header->bytes, &header->tape, 0};
	const struct json_token *value;
	return json_object_find(&object, "alg", &value) == JSON_MEMBER_FOUND &&
	       json_token_is_text(
		       header->bytes, value, algorithm_names[verifier->keys.algorithm]) &&
	       json_object_find(&object, "crit", &value) == JSON_MEMBER_ABSENT;
}

/* The key that has signed it, or NULL. */
static const struct jwt_key *find_signer(const struct jwt_verifier *verifier, const char *text)
{
	const struct jwt_key *found = NULL;
	for (size_t i = 0; i < verifier->keys.count; i++) {
		const struct jwt_key *key = &verifier->keys.key[i];
		jwt_t *jwt = NULL;
		bool right = jwt_decode(&jwt, text, key->bytes, (int)key->len) == 0 &&
			     jwt_get_alg(jwt) == algorithms[verifier->keys.algorithm];
		if (right)
			found = key;
		jwt_free(jwt);
	}
	ERR_clear_error(); /* the queue is shared with the connections' TLS */
	return found;
}

static bool audience_is_right(const struct json_object *claims, const char *audience)
{
	const struct json_token *value, *token = claims->tape->token;
	if (json_object_find(claims, "aud", &value) != JSON_MEMBER_FOUND)
		return false;
	if (value->type != JSON_ARRAY)
		return json_token_is_text(claims->bytes, value, audience);
	bool found = false;
	for (uint32_t i = (uint32_t)(value - token) + 1; i < value->next; i = token[i].next)
		found |= json_token_is_text(claims->bytes, &token[i], audience);
	return found;
}

/* A time that may be absent, and otherwise has come. */
static bool has_come(const struct json_object *claims, const char *name,
	const struct jwt_verifier *verifier, int64_t now_s)
{
	int64_t time_s;
	enum json_member_result r = json_object_time(claims, name, &time_s);
	return r == JSON_MEMBER_ABSENT ||
	       (r == JSON_MEMBER_FOUND && time_s - verifier->leeway_s <= now_s);
}

static bool claims_are_right(const struct jwt_verifier *verifier, const struct part *part,
	int64_t now_s, struct identity *out)
{
	const struct json_object claims = {part->bytes, &part->tape, 0};
	const struct json_token *issuer;
	char role[ID_BYTES_MAX + 3]; /* and quotes, before they are dropped */
	char subject[IDENTITY_SUBJECT_BYTES_MAX + 3];
	int64_t expires_s;
	if (json_object_find(&claims, "iss", &issuer) != JSON_MEMBER_FOUND ||
		!json_token_is_text(part->bytes, issuer, verifier->issuer) ||
		!audience_is_right(&claims, verifier->audience) ||
		json_object_time(&claims, "exp", &expires_s) != JSON_MEMBER_FOUND ||
		expires_s + verifier->leeway_s <= now_s ||
		!has_come(&claims, "nbf", verifier, now_s) ||
		!has_come(&claims, "iat", verifier, now_s))
		return false;
	if (json_object_text(&claims, verifier->role_claim, role, sizeof(role)) !=
			JSON_MEMBER_FOUND ||
		!id_set(&out->role, role, strlen(role)) ||
		json_object_text(&claims, verifier->subject_claim, subject, sizeof(subject)) !=
			JSON_MEMBER_FOUND ||
		!token_subject_is_valid(subject))
		return false;
	strcpy(out->subject, subject);
	out->expires_s = expires_s + verifier->leeway_s;
	return true;
}

static bool check(const struct jwt_verifier *verifier, const char *text, int64_t now_s,
	struct part *header, struct part *claims, struct identity *out)
{
	size_t header_len = strcspn(text, ".");
	const char *body = text + header_len + 1;
	size_t body_len = strcspn(body, ".");
	if (!read_part(header, text, header_len) || !header_is_right(verifier, header) ||
		!read_part(claims, body, body_len))
		return false;
	const struct jwt_key *key = find_signer(verifier, text);
	if (key == NULL || !claims_are_right(verifier, claims, now_s, out))
		return false;
	memcpy(out->hash, key->hash, sizeof(out->hash));
	return true;
}

bool jwt_verifier_check(const struct jwt_verifier *verifier, const char *text, size_t len,
	int64_t now_s, struct identity *out)
{
	char copy[JWT_TEXT_MAX + 1];
	struct part header, claims;
	struct identity identity = {.kind = IDENTITY_JWT};
	if (verifier->keys.count == 0 || len > JWT_TEXT_MAX || memchr(text, '\0', len) != NULL ||
		!jwt_has_form(text, len))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	header.tape = claims.tape = (struct json_tape){0};
	bool right = check(verifier, copy, now_s, &header, &claims, &identity);
	json_tape_free(&header.tape);
	json_tape_free(&claims.tape);
	sodium_memzero(copy, sizeof(copy));
	if (right)
		*out = identity;
	return right;
}

bool jwt_verifier_has_key(
	const struct jwt_verifier *verifier, const uint8_t hash[IDENTITY_HASH_BYTES])
{
	bool found = false;
	for (size_t i = 0; i < verifier->keys.count; i++)
		found |= sodium_memcmp(verifier->keys.key[i].hash, hash, IDENTITY_HASH_BYTES) == 0;
	return found;
}
