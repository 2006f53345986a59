#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/ws/ws_server_private.h"

enum {
	READ_BYTES = 4096,
	LINGER_MS = 2000, /* for the peer to take the answer and close */
};

static void exchange_on_poll(uv_poll_t *handle, int status, int events);

/* ---- ending ---- */

static void exchange_on_poll_closed(uv_handle_t *handle)
{
	struct ws_exchange *exchange = handle->data;
	struct ws_server *server = exchange->server;
	bool was_connection = exchange->fd >= 0;
	fd_close(exchange->fd);
	ws_request_free(exchange->request);
	buf_free(&exchange->behind);
	buf_free(&exchange->answer);
	free(exchange);
	if (was_connection)
		ws_server_connection_ended(server);
	ws_server_handle_closed(server);
}

static void exchange_close(struct ws_exchange *exchange)
{
	if (exchange->state == EXCHANGE_CLOSED)
		return;
	exchange->state = EXCHANGE_CLOSED;
	DL_DELETE(exchange->server->exchanges, exchange);
	uv_close((uv_handle_t *)&exchange->poll, exchange_on_poll_closed);
}

void ws_exchange_drop(struct ws_exchange *exchange)
{
	struct ws_server *server = exchange->server;
	bool owner_knows = exchange->state == EXCHANGE_WAITING;
	if (owner_knows)
		exchange->state = EXCHANGE_ANSWERING; /* the owner may not answer from on_gone */
	if (owner_knows)
		server->handler->on_gone(server, exchange);
	exchange_close(exchange);
}

int ws_exchange_take_fd(struct ws_exchange *exchange)
{
	int fd = exchange->fd;
	exchange->fd = -1;
	exchange_close(exchange); /* stops polling at once */
	return fd;
}

/* ---- answering ---- */

struct status_row {
	unsigned int status;
	const char *text;
	const char *word; /* in a body, where nothing of Sightline has a code for it */
};

static const struct status_row *status_row(unsigned int status)
{
	static const struct status_row rows[] = {
		{200, "OK", "ok"},
		{400, "Bad Request", "bad_request"},
		{401, "Unauthorized", "unauthorized"},
		{403, "Forbidden", "forbidden"},
		{404, "Not Found", "not_found"},
		{405, "Method Not Allowed", "method_not_allowed"},
		{408, "Request Timeout", "request_timeout"},
		{413, "Content Too Large", "content_too_large"},
		{426, "Upgrade Required", "upgrade_required"},
		{429, "Too Many Requests", "too_many_requests"},
		{431, "Request Header Fields Too Large", "header_too_large"},
		{501, "Not Implemented", "not_implemented"},
		{503, "Service Unavailable", "unavailable"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].status == status)
			return &rows[i];
	}
	static const struct status_row other = {0, "Status", "refused"};
	return &other;
}

static void set_deadline(struct ws_exchange *exchange, uint64_t ms)
{
	exchange->deadline_ns = clock_monotonic_ns() + ms * NS_PER_MS;
	ws_server_watch_deadlines(exchange->server);
}

static void exchange_poll(struct ws_exchange *exchange, int events)
{
	uv_poll_start(&exchange->poll, events, exchange_on_poll);
}

static void exchange_flush(struct ws_exchange *exchange)
{
	while (exchange->answered < exchange->answer.len) {
		ssize_t n = send(exchange->fd, exchange->answer.data + exchange->answered,
			exchange->answer.len - exchange->answered, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			exchange_poll(exchange, UV_WRITABLE); /* also when it is gone */
			return;
		}
		if (n < 0) {
			exchange_close(exchange);
			return;
		}
		exchange->answered += (size_t)n;
	}
	/* Closing at once would cut off the answer if the peer has sent more than was read. */
	exchange->state = EXCHANGE_LINGERING;
	set_deadline(exchange, LINGER_MS);
	if (shutdown(exchange->fd, SHUT_WR) < 0)
		exchange_close(exchange);
	else
		exchange_poll(exchange, UV_READABLE);
}

void ws_exchange_respond(struct ws_exchange *exchange, unsigned int status, const char *code,
	const char *content_type, const void *body, size_t len)
{
	assert(exchange->state == EXCHANGE_WAITING || exchange->state == EXCHANGE_READING);
	struct buf *answer = &exchange->answer;
	int r = buf_printf(answer,
		"HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
		"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
		"Connection: close\r\n",
		status, status_row(status)->text, content_type, len);
	if (r == 0 && status == 401)
		r = buf_append_str(answer, "WWW-Authenticate: Bearer\r\n");
	if (r == 0 && status == 405)
		r = buf_append_str(answer, "Allow: GET\r\n");
	if (r == 0 && code != NULL)
		r = buf_printf(answer, "Sightline-Code: %s\r\n", code);
	if (r == 0)
		r = buf_append_str(answer, "\r\n");
	if (r == 0 && ws_request_method(exchange->request) != WS_METHOD_HEAD)
		r = buf_append(answer, body, len);
	exchange->state = EXCHANGE_ANSWERING;
	if (r < 0) {
		exchange_close(exchange);
		return;
	}
	set_deadline(exchange, exchange->server->answer_timeout_ms);
	exchange_flush(exchange);
}

const char *ws_exchange_status_word(unsigned int status)
{
	return status_row(status)->word;
}

void ws_exchange_refuse(
	struct ws_exchange *exchange, unsigned int status, const char *code, const char *message)
{
	_cleanup_buf_ struct buf body = {0};
	const char *word = code != NULL ? code : ws_exchange_status_word(status);
	if (buf_printf(&body, "{\"error\":{\"code\":\"%s\",\"message\":\"%s\"}}\n", word, message) <
		0)
		buf_reset(&body, 0);
	ws_exchange_respond(exchange, status, code, "application/json", body.data, body.len);
}

void ws_exchange_refuse_status(struct ws_exchange *exchange, unsigned int status)
{
	ws_exchange_refuse(exchange, status, NULL, status_row(status)->text);
}

/* A head that never becomes an exchange: nothing of Sightline has a code for it. */
static void refuse_head(struct ws_exchange *exchange, unsigned int status)
{
	struct ws_server *server = exchange->server;
	bool asked = status != 408 || ws_request_has_begun(exchange->request);
	server->counters.heads_refused++;
	if (server->handler->on_refused != NULL && asked)
		server->handler->on_refused(server, exchange, status);
	ws_exchange_refuse_status(exchange, status);
}

/* ---- reading ---- */

static void exchange_on_head(struct ws_exchange *exchange)
{
	struct ws_server *server = exchange->server;
	if (!server->takes_any_method && ws_request_method(exchange->request) != WS_METHOD_GET) {
		refuse_head(exchange, 405);
		return;
	}
	exchange->state = EXCHANGE_WAITING;
	server->counters.exchanges++;
	set_deadline(exchange, server->answer_timeout_ms);
	server->handler->on_exchange(server, exchange);
}

static void exchange_take_head(struct ws_exchange *exchange, const uint8_t *bytes, size_t len)
{
	size_t consumed;
	switch (ws_request_feed(exchange->request, bytes, len, &consumed)) {
	case WS_FEED_MORE:
		return;
	case WS_FEED_REFUSED:
		refuse_head(exchange, ws_request_refusal(exchange->request));
		return;
	case WS_FEED_COMPLETE:
		if (buf_append(&exchange->behind, bytes + consumed, len - consumed) < 0)
			exchange_close(exchange);
		else
			exchange_on_head(exchange);
		return;
	}
}

/*
 * From here on only the connection's end is heard. A WebSocket needs both directions; whoever asked
 * for anything else may have sent all it has to say (a half-closed socket) and still reads.
 */
static void exchange_stop_reading(struct ws_exchange *exchange)
{
	bool needs_both = ws_request_is_upgrade(exchange->request);
	exchange_poll(exchange, needs_both ? UV_DISCONNECT : UV_PRIORITIZED);
}

/* While the owner thinks: keep a little, so that a peer that leaves is noticed. */
static void exchange_keep(struct ws_exchange *exchange, const uint8_t *bytes, size_t len)
{
	if (buf_append(&exchange->behind, bytes, len) < 0)
		ws_exchange_drop(exchange);
	else if (exchange->behind.len + READ_BYTES > EXCHANGE_BEHIND_BYTES_MAX)
		exchange_stop_reading(exchange);
}

static void exchange_on_end(struct ws_exchange *exchange)
{
	if (exchange->state == EXCHANGE_WAITING && !ws_request_is_upgrade(exchange->request))
		exchange_stop_reading(exchange);
	else
		ws_exchange_drop(exchange);
}

static void exchange_on_readable(struct ws_exchange *exchange)
{
	uint8_t bytes[READ_BYTES];
	ssize_t n = recv(exchange->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	if (n < 0)
		ws_exchange_drop(exchange);
	else if (n == 0)
		exchange_on_end(exchange);
	else if (exchange->state == EXCHANGE_READING)
		exchange_take_head(exchange, bytes, (size_t)n);
	else if (exchange->state == EXCHANGE_WAITING)
		exchange_keep(exchange, bytes, (size_t)n);
	/* Lingering: what the peer still sends means nothing. */
}

static void exchange_on_poll(uv_poll_t *handle, int status, int events)
{
	struct ws_exchange *exchange = handle->data;
	if (status < 0) {
		ws_exchange_drop(exchange);
	} else if (exchange->state == EXCHANGE_ANSWERING) {
		exchange_flush(exchange);
	} else if ((events & UV_READABLE) != 0) {
		exchange_on_readable(exchange);
	} else if ((events & (UV_DISCONNECT | UV_PRIORITIZED)) != 0) {
		ws_exchange_drop(exchange);
	}
}

void ws_exchange_check_deadline(struct ws_exchange *exchange, uint64_t now_ns)
{
	if (now_ns < exchange->deadline_ns)
		return;
	struct ws_server *server = exchange->server;
	switch (exchange->state) {
	case EXCHANGE_READING:
		refuse_head(exchange, 408);
		return;
	case EXCHANGE_WAITING:
		exchange->state = EXCHANGE_ANSWERING;
		server->handler->on_gone(server, exchange);
		exchange->state = EXCHANGE_WAITING;
		ws_exchange_refuse_status(exchange, 503);
		return;
	case EXCHANGE_ANSWERING:
	case EXCHANGE_LINGERING:
		exchange_close(exchange);
		return;
	case EXCHANGE_CLOSED:
		return;
	}
}

int ws_exchange_start(struct ws_server *server, int fd, const struct peer_credentials *credentials,
	const char *peer_text)
{
	struct ws_exchange *exchange = calloc(1, sizeof(*exchange));
	struct ws_request *request = ws_request_new();
	int r = exchange != NULL && request != NULL ? 0 : -ENOMEM;
	if (r == 0)
		r = uv_poll_init(server->context->loop, &exchange->poll, fd);
	if (r < 0) {
		ws_request_free(request);
		free(exchange);
		fd_close(fd);
		return r;
	}
	exchange->server = server;
	exchange->fd = fd;
	exchange->request = request;
	exchange->poll.data = exchange;
	exchange->credentials = *credentials;
	memcpy(exchange->peer_text, peer_text, strlen(peer_text) + 1);
	buf_init(&exchange->behind, 2 * EXCHANGE_BEHIND_BYTES_MAX);
	DL_APPEND(server->exchanges, exchange);
	server->handles++;
	set_deadline(exchange, server->head_timeout_ms);
	exchange_poll(exchange, UV_READABLE);
	return 0;
}

/* ---- what the owner asks ---- */

const struct ws_request *ws_exchange_request(const struct ws_exchange *exchange)
{
	return exchange->request;
}

struct ws_server *ws_exchange_server(const struct ws_exchange *exchange)
{
	return exchange->server;
}

const char *ws_exchange_peer_text(const struct ws_exchange *exchange)
{
	return exchange->peer_text;
}

const struct peer_credentials *ws_exchange_credentials(const struct ws_exchange *exchange)
{
	return &exchange->credentials;
}

void ws_exchange_set_owner(struct ws_exchange *exchange, void *owner)
{
	exchange->owner = owner;
}

void *ws_exchange_owner(const struct ws_exchange *exchange)
{
	return exchange->owner;
}
