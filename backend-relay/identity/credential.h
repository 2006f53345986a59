/*
 * Where a request carries its credential.
 *
 * As `Authorization: Bearer`, as the subprotocol `bearer.<base64url of the token>` (browsers can't
 * set headers on a WebSocket), or as the configured cookie when the Origin is a configured one.
 * Exactly one of them counts: the header, else the subprotocol, else the cookie. What can't be
 * read, stands twice or is too long is a credential too: an empty one, which is wrong. An Origin
 * that is not configured is refused whatever the credential.
 */
#pragma once

#include "backend-relay/config.h"
#include "backend-relay/identity/jwt_verifier.h"
#include "proto/ws/ws_request.h"

struct credential {
	char text[JWT_TEXT_MAX];
	size_t len;
};

enum credential_result {
	CREDENTIAL_ABSENT = 0,
	CREDENTIAL_PRESENT,
	CREDENTIAL_ORIGIN_REFUSED,
};

/* `out` is set for CREDENTIAL_PRESENT. */
_must_check_ enum credential_result credential_find(
	const struct config *config, const struct ws_request *request, struct credential *out);
