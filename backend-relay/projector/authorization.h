/*
 * Authorization: projection's word on what a role may do, from names alone (AUTHORIZE).
 */
#pragma once

#include "backend-relay/projector/projector.h"

enum authorization_verdict { AUTHORIZATION_ALLOW, AUTHORIZATION_DENY, AUTHORIZATION_UNAVAILABLE };

struct authorization;

/*
 * Asks whether a role may do an operation on a worker. on_verdict comes once, from the loop, unless
 * it is cancelled; then the authorization is gone. worker_id NULL asks whether there is anything
 * of the runtime that the role may see. 0 or -ENOMEM.
 */
_must_check_ int authorization_open(struct authorization **out, struct projector *projector,
	const char *role, const char *runtime_id, const char *worker_id, const char *operation,
	void (*on_verdict)(void *owner, enum authorization_verdict verdict), void *owner);
void authorization_cancel(struct authorization *authorization); /* accepts NULL */
