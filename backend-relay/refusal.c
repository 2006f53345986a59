#include "backend-relay/refusal.h"

unsigned int refusal_http_status(enum diagnostic diagnostic)
{
	switch (diagnostic) {
	case DIAGNOSTIC_BACKEND_UNAUTHORIZED:
	case DIAGNOSTIC_BACKEND_SESSION_EXPIRED:
		return 401;
	case DIAGNOSTIC_BACKEND_WORKER_NOT_FOUND:
		return 404;
	case DIAGNOSTIC_BACKEND_RUNTIME_UNSUPPORTED:
		return 501;
	case DIAGNOSTIC_BACKEND_CURSOR_MALFORMED:
	case DIAGNOSTIC_BACKEND_CURSOR_UNKNOWN:
	case DIAGNOSTIC_BACKEND_CURSOR_EXPIRED:
	case DIAGNOSTIC_BACKEND_POLICY_CHANGED:
		return 0;
	default:
		return 503;
	}
}

void refusal_answer(struct ws_exchange *exchange, enum diagnostic diagnostic)
{
	const struct diagnostic_row *row = diagnostic_row(diagnostic);
	unsigned int status = refusal_http_status(diagnostic);
	ws_exchange_refuse(exchange, status != 0 ? status : 400, row->code, row->message);
}
