/*
 * Verifier of JWTs: from the text of a token to an identity, or nothing.
 *
 * The algorithm is the configuration's: a token whose header names another one, or an extension
 * (`crit`), is wrong before any key is touched. libjwt checks the signature; header and claims have
 * been read strictly before that (json.h), so that its parser sees only what ours has accepted, and
 * every claim is read here from the very bytes that were signed.
 *
 * Required: `exp`, the subject's and the role's claim, and `iss` and `aud` as configured (`aud` may
 * be a list that holds it). `nbf` and `iat`, where they are there, must not lie in the future.
 * Times are whole seconds and have `leeway_s` on both sides.
 *
 * A wrong token is wrong: why is told to nobody. Every key is tried, whichever fits.
 */
#pragma once

#include "backend-relay/identity/identity.h"
#include "backend-relay/identity/jwt_keys.h"

enum { JWT_TEXT_MAX = 4096 }; /* a longer one is wrong, whatever it holds */

struct jwt_verifier {
	struct jwt_keys keys;                                       /* none: no token is right */
	const char *issuer, *audience, *subject_claim, *role_claim; /* borrowed */
	int64_t leeway_s;
};

/* Whether a credential has the form of a JWT; a token of ours never has. */
bool jwt_has_form(const char *text, size_t len);

/* Fills all of `out` but its peer; false when the token is wrong. now_s: since 1970. */
bool jwt_verifier_check(const struct jwt_verifier *verifier, const char *text, size_t len,
	int64_t now_s, struct identity *out);

/* Whether the key is still there that has signed what a session began with. */
bool jwt_verifier_has_key(
	const struct jwt_verifier *verifier, const uint8_t hash[IDENTITY_HASH_BYTES]);
