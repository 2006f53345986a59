/*
 * Who asks: from the head of a request to a subject and its role.
 *
 * A token comes as `Authorization: Bearer`, as the subprotocol `bearer.<base64url of the token>`
 * (browsers can't set headers on a WebSocket), or as the configured cookie when the Origin is a
 * configured one. Exactly one of them counts: the header, else the subprotocol, else the cookie.
 * What is present and wrong is wrong, and never anonymous. An Origin that is not configured is
 * refused whatever the credential.
 */
#pragma once

#include "backend-relay/config.h"
#include "backend-relay/token_table.h"
#include "proto/ws/ws_request.h"

#define CREDENTIAL_ANONYMOUS_ROLE "anonymous"

enum credential_result {
	CREDENTIAL_ACCEPTED = 0, /* the entry of a token */
	CREDENTIAL_ANONYMOUS,    /* none was presented */
	CREDENTIAL_WRONG,
	CREDENTIAL_ORIGIN_REFUSED,
};

/* *out, borrowed from the table, is set for CREDENTIAL_ACCEPTED. */
_must_check_ enum credential_result credential_check(const struct config *config,
	const struct token_table *tokens, const struct ws_request *request,
	const struct token_entry **out);
