#include "backend-relay/projector/authorization.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend-relay/projector/projector_private.h"

int authorization_open(struct authorization **out, struct projector *projector, const char *role,
	const char *runtime_id, const char *worker_id, const char *operation,
	void (*on_verdict)(void *owner, enum authorization_verdict verdict), void *owner)
{
	struct authorization *authorization = calloc(1, sizeof(*authorization));
	if (authorization == NULL)
		return -ENOMEM;
	authorization->projector = projector;
	authorization->on_verdict = on_verdict;
	authorization->owner = owner;
	bool valid = id_set(&authorization->role, role, strlen(role)) &&
		     id_set(&authorization->runtime_id, runtime_id, strlen(runtime_id)) &&
		     (worker_id == NULL ||
			     id_set(&authorization->worker_id, worker_id, strlen(worker_id)));
	assert(valid && strlen(operation) < sizeof(authorization->operation));
	(void)valid;
	strcpy(authorization->operation, operation);
	projector_add_authorization(projector, authorization);
	*out = authorization;
	return 0;
}

void authorization_cancel(struct authorization *authorization)
{
	if (authorization == NULL)
		return;
	projector_remove_authorization(authorization->projector, authorization);
	free(authorization);
}

int authorization_write(
	const struct authorization *authorization, uint64_t request_id, struct buf *out)
{
	struct message_writer writer;
	bool whole_runtime = authorization->worker_id.text[0] == '\0';
	message_begin(&writer, out, MESSAGE_AUTHORIZE);
	write_u64(&writer, request_id);
	write_text(&writer, authorization->role.text);
	write_text(&writer, authorization->runtime_id.text);
	write_text(&writer, whole_runtime ? NULL : authorization->worker_id.text);
	write_text(&writer, authorization->operation);
	return message_end(&writer);
}

void authorization_end(struct authorization *authorization, enum authorization_verdict verdict)
{
	authorization->on_verdict(authorization->owner, verdict);
	free(authorization);
}
