/*
 * The HTTP routes beside the observation: which runtimes and workers there are, for this role.
 *
 *	GET /api/runtimes             {"runtimes":[{"runtime_id","display_name"}…]}
 *	GET …/{runtime_id}/workers    {"workers":[{"runtime_id","worker_id"}…],"next_after"}
 *	GET …/workers/{worker_id}     {"runtime_id","worker_id"}
 *
 * Commands and transcripts have routes of their own, which answer
 * `backend.runtime_unsupported` whatever the method is.
 *
 * Each name is put to projection before it is told, and before its runtime is asked; what a role
 * may not observe is answered like what does not exist. Of what the runtime says about a worker
 * only its id goes on: counts and positions would tell of other workers' traffic.
 *
 * Workers come page by page: ?after=WORKER_ID&limit=N (1 to 1,000, default 100); `next_after`,
 * where it is there, is the next page's `after`. It is always one of the workers that were told.
 */
#pragma once

#include "backend-relay/relay.h"

/* Whether the request is for one of those: any other route knows GET only. */
bool api_is_command(const struct ws_request *head);

/* Takes the exchange. */
void api_on_exchange(struct relay *relay, struct ws_exchange *exchange,
	enum authenticator_result result, const struct identity *identity);

/* Drops what is under way; the last of it ends from the loop. */
void api_close(struct relay *relay);
