#include "backend-relay/upstream/source_failure.h"

#include <string.h>

static struct source_failure failure(enum diagnostic diagnostic, bool refused)
{
	return (struct source_failure){diagnostic, refused};
}

static struct source_failure of_status(unsigned int status, const char *code)
{
	if (strcmp(code, "runtime.worker_not_found") == 0 ||
		strcmp(code, "runtime.invalid_worker_id") == 0)
		return failure(DIAGNOSTIC_BACKEND_WORKER_NOT_FOUND, true);
	if (strcmp(code, "runtime.unavailable") == 0)
		return failure(DIAGNOSTIC_BACKEND_UPSTREAM_DISCONNECT, false);
	if (status == 401 || status == 403)
		return failure(DIAGNOSTIC_BACKEND_RUNTIME_AUTH_FAILED, false);
	if (status == 408 || status == 504)
		return failure(DIAGNOSTIC_BACKEND_RUNTIME_TIMEOUT, false);
	if (status == 429 || (status >= 500 && status != 501))
		return failure(DIAGNOSTIC_BACKEND_RUNTIME_UNAVAILABLE, false);
	/* Redirects among them: they are never followed. */
	return failure(DIAGNOSTIC_BACKEND_RUNTIME_UNSUPPORTED, true);
}

struct source_failure source_failure_of_end(const struct ws_client_end *end)
{
	switch (end->result) {
	case WS_CLIENT_UNREACHABLE:
	case WS_CLIENT_NAME:
	case WS_CLIENT_TLS:
		return failure(DIAGNOSTIC_BACKEND_RUNTIME_UNAVAILABLE, false);
	case WS_CLIENT_TIMEOUT:
		return failure(DIAGNOSTIC_BACKEND_RUNTIME_TIMEOUT, false);
	case WS_CLIENT_STATUS:
		return of_status(end->http_status, end->code);
	case WS_CLIENT_MALFORMED:
	case WS_CLIENT_TOO_LONG:
		return failure(DIAGNOSTIC_BACKEND_MALFORMED_FRAME, false);
	case WS_CLIENT_CLOSED:
	case WS_CLIENT_LOST:
		break;
	}
	return failure(DIAGNOSTIC_BACKEND_UPSTREAM_DISCONNECT, false);
}

enum source_failure_word source_failure_of_word(
	const struct runtime_diagnostic *word, struct source_failure *out)
{
	switch (word->diagnostic) {
	case DIAGNOSTIC_RUNTIME_CORRUPT:
		*out = failure(DIAGNOSTIC_BACKEND_CORRUPT, false);
		return SOURCE_WORD_GAP;
	case DIAGNOSTIC_RUNTIME_PRUNED:
		*out = failure(DIAGNOSTIC_BACKEND_PRUNED, false);
		return SOURCE_WORD_GAP;
	case DIAGNOSTIC_RUNTIME_CURSOR_MALFORMED: /* a runtime that reads other cursors than ours */
	case DIAGNOSTIC_RUNTIME_CURSOR_UNKNOWN:
		*out = failure(DIAGNOSTIC_BACKEND_CURSOR_UNKNOWN, true);
		return SOURCE_WORD_FAILURE;
	case DIAGNOSTIC_RUNTIME_CURSOR_EXPIRED:
		*out = failure(DIAGNOSTIC_BACKEND_CURSOR_EXPIRED, true);
		return SOURCE_WORD_FAILURE;
	case DIAGNOSTIC_RUNTIME_WORKER_NOT_FOUND:
		*out = failure(DIAGNOSTIC_BACKEND_WORKER_NOT_FOUND, true);
		return SOURCE_WORD_FAILURE;
	case DIAGNOSTIC_RUNTIME_UNAVAILABLE:
	case DIAGNOSTIC_RUNTIME_GOING_AWAY:
		*out = failure(DIAGNOSTIC_BACKEND_UPSTREAM_DISCONNECT, false);
		return SOURCE_WORD_FAILURE;
	default:
		return SOURCE_WORD_IGNORED;
	}
}
