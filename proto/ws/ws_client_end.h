/*
 * How a connection or request to a runtime ended, for those who asked for it.
 */
#pragma once

#include <stdint.h>

enum ws_client_result {
	WS_CLIENT_CLOSED,      /* by the server, with close_code (0: none given), or by us */
	WS_CLIENT_LOST,        /* an open connection broke or went silent */
	WS_CLIENT_TOO_LONG,    /* a message over max_message_bytes */
	WS_CLIENT_UNREACHABLE, /* refused, no route, no such socket */
	WS_CLIENT_NAME,        /* the name can't be resolved */
	WS_CLIENT_TLS,         /* handshake or certificate */
	WS_CLIENT_TIMEOUT,     /* no answer in time */
	WS_CLIENT_STATUS,      /* an HTTP answer other than 101: http_status, code */
	WS_CLIENT_MALFORMED,   /* not an answer to a WebSocket upgrade that we asked for */
};

struct ws_client_end {
	enum ws_client_result result;
	uint16_t close_code;
	unsigned int http_status;
	char code[64]; /* Sightline-Code of the answer, or "" */
};
