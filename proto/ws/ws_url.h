/*
 * The address of a Runtime WebSocket: "ws://HOST[:PORT][/BASE]", "wss://…", "unix:/PATH".
 *
 * No user names, queries or fragments. IPv6 addresses stand in brackets.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/attributes.h"

enum { WS_URL_HOST_BYTES_MAX = 253, WS_URL_PATH_BYTES_MAX = 255 };

struct ws_url {
	enum ws_url_scheme { WS_URL_PLAIN, WS_URL_TLS, WS_URL_UNIX } scheme;
	char host[WS_URL_HOST_BYTES_MAX + 1]; /* without brackets; empty for unix */
	uint16_t port;
	char path[WS_URL_PATH_BYTES_MAX + 1]; /* prefix of every request's path, without a slash at
						 its end; for unix: the socket */
};

/* 0 or -EINVAL. */
_must_check_ int ws_url_parse(const char *text, struct ws_url *out);

/* Whether a token may travel there unasked: TLS, a Unix socket, or this machine itself. */
bool ws_url_is_private(const struct ws_url *url);
