/*
 * One HTTP GET from a runtime: small JSON answers with a cap and a deadline.
 *
 * The rules of ws_client.h hold (no redirects, names resolved off the loop, certificates
 * verified). on_done comes exactly once, also after ws_get_cancel(), never from within
 * ws_get_open(); the struct frees itself after it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/ws/ws_client_end.h"
#include "proto/ws/ws_context.h"
#include "proto/ws/ws_url.h"

struct ws_get;

struct ws_get_answer {
	/* WS_CLIENT_CLOSED: there is a complete answer, whatever its status. */
	enum ws_client_result result;
	unsigned int http_status;
	char code[64];       /* Sightline-Code, or "" */
	const uint8_t *body; /* borrowed until return */
	size_t len;
};

struct ws_get_config {
	const struct ws_url *url;
	const char *path; /* "/v1/workers?limit=100" */
	const char *bearer;
	size_t max_body_bytes;
	uint64_t timeout_ms; /* for everything together; 0: 10,000 */
};

_must_check_ int ws_get_open(struct ws_get **out, struct ws_context *context,
	const struct ws_get_config *config,
	void (*on_done)(struct ws_get *get, const struct ws_get_answer *answer), void *owner);
void *ws_get_owner(const struct ws_get *get);
void ws_get_cancel(struct ws_get *get);
