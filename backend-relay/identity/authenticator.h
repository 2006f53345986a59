/*
 * Authenticator: from a request to an identity.
 *
 * A credential (credential.h) is a token of ours or, with the form of one and where `jwt` is
 * configured, a JWT. One that is present and wrong is never anonymous, and nothing of the answer
 * tells what was wrong with it. Failures are counted for each peer (attempts.h); the peer is who is
 * connected, or whom one of our proxies names (forwarded.h).
 */
#pragma once

#include "backend-relay/config.h"
#include "backend-relay/identity/attempts.h"
#include "backend-relay/identity/identity.h"
#include "backend-relay/identity/jwt_verifier.h"
#include "backend-relay/identity/token_table.h"
#include "proto/diagnostic.h"
#include "proto/ws/ws_server.h"

struct authenticator {
	const struct config *config;
	const char *config_file;
	struct token_table tokens;
	struct jwt_verifier jwt;
	struct attempts attempts;
};

enum authenticator_result {
	AUTHENTICATOR_ACCEPTED = 0, /* or without a credential: anonymous */
	AUTHENTICATOR_WRONG,
	AUTHENTICATOR_TOO_OFTEN, /* it was not looked at */
	AUTHENTICATOR_ORIGIN_REFUSED,
};

/* Borrows both. 0; -EINVAL with `error`; or another -errno with `error`. */
_must_check_ int authenticator_load(struct authenticator *authenticator,
	const struct config *config, const char *config_file, struct yaml_error *error);
/* What a request with this result other than ACCEPTED is refused with. */
enum diagnostic authenticator_refusal(enum authenticator_result result);

/* The same files again; with a mistake nothing changes. */
_must_check_ int authenticator_reload(
	struct authenticator *authenticator, struct yaml_error *error);
void authenticator_free(struct authenticator *authenticator);

/* `out` is anonymous, with its peer, unless the credential was accepted. */
_must_check_ enum authenticator_result authenticator_check(struct authenticator *authenticator,
	const struct ws_exchange *exchange, struct identity *out);

/* Whether a session that began as this one may go on. */
bool authenticator_still_accepts(
	const struct authenticator *authenticator, const struct identity *identity);

enum { AUTHENTICATOR_FILES_MAX = 2 };
/* The files that a reload reads; how many there are, or -errno. */
_must_check_ int authenticator_files(const struct config *config, const char *config_file,
	char paths[AUTHENTICATOR_FILES_MAX][4096]);
