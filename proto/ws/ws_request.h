/*
 * The head of one HTTP request, parsed by http_parser and checked.
 *
 * Limits: 8 KiB for the whole head, 64 header fields. A GET has no body; the body of another method
 * is not read. A head that breaks a rule is a result that names the status to answer with. Fields
 * that can stand only once (Host, Authorization, Origin, Sec-WebSocket-Key, …) are refused when
 * they stand twice: no two readers of a head may choose differently.
 *
 * Everything returned borrows from the request.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"

enum { WS_REQUEST_HEAD_BYTES_MAX = 8 * 1024, WS_REQUEST_FIELDS_MAX = 64 };

struct ws_request;

/* ---- reading a head ---- */

struct ws_request *ws_request_new(void); /* NULL: no memory */
void ws_request_free(struct ws_request *request);

enum ws_feed_result {
	WS_FEED_MORE = 0,
	WS_FEED_COMPLETE = 1,
	WS_FEED_REFUSED = 2, /* ws_request_refusal() is the HTTP status to answer with */
};

/*
 * Takes the next bytes of the connection. `consumed` is how many of them belong to the head; what
 * is behind a complete head is not looked at.
 */
_must_check_ enum ws_feed_result ws_request_feed(
	struct ws_request *request, const void *bytes, size_t len, size_t *consumed);
unsigned int ws_request_refusal(const struct ws_request *request);
/* Whether anything of a head has come. */
bool ws_request_has_begun(const struct ws_request *request);

/* ---- what it says ---- */

enum ws_method {
	WS_METHOD_GET = 0,
	WS_METHOD_HEAD = 1, /* its answer has no body */
	WS_METHOD_OTHER = 2,
};
enum ws_method ws_request_method(const struct ws_request *request);

/* Whether the request asks to become a WebSocket (version 13, with a proper key). */
bool ws_request_is_upgrade(const struct ws_request *request);

/* The path as sent, without the query: "/v1/workers/w%3A1/events/ws". NUL-terminated. */
const char *ws_request_path(const struct ws_request *request);

/* A header by its lower-case name, or NULL. NUL-terminated, no control characters. */
const char *ws_request_header(const struct ws_request *request, const char *name);

/* The token of `Authorization: Bearer TOKEN`; NULL when there is no such header. */
const char *ws_request_bearer(const struct ws_request *request);
/* Whether an Authorization header is there that is not a well-formed Bearer one. */
bool ws_request_has_other_authorization(const struct ws_request *request);

/* The value of a cookie with its length (0 when it stands twice), or NULL. */
const char *ws_request_cookie(const struct ws_request *request, const char *name, size_t *len);

/*
 * Subprotocols that the peer asks for, in its order; NULL at the end. `bearer.<token>` ones are
 * among them: the owner takes the token from there and never chooses one as the answer.
 */
const char *ws_request_subprotocol(const struct ws_request *request, size_t index);
bool ws_request_asks_for(const struct ws_request *request, const char *subprotocol);

enum ws_parameter_result {
	WS_PARAMETER_FOUND = 0,
	WS_PARAMETER_ABSENT = 1,
	WS_PARAMETER_MALFORMED = 2, /* twice, a bad escape, NUL, or longer than `size` */
};

/* A query parameter, percent-decoded, NUL-terminated into `out`. */
enum ws_parameter_result ws_request_parameter(
	const struct ws_request *request, const char *name, char *out, size_t size, size_t *len);

/*
 * Compares the path with a pattern such as "/v1/workers/{}/events/ws"; each {} stands for one
 * segment, which is percent-decoded into `segments` (at most `count` of them). False when the
 * path is another one. A segment that can't be decoded (bad escape, NUL, over the size) becomes
 * an empty text: no id is empty, so the owner's check of the id refuses it.
 */
enum { WS_SEGMENT_BYTES_MAX = 255 };
struct ws_segment {
	char text[WS_SEGMENT_BYTES_MAX + 1];
	size_t len;
};
bool ws_request_matches(const struct ws_request *request, const char *pattern,
	struct ws_segment *segments, size_t count);
