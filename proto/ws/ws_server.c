#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/ws/ws_server_private.h"

enum { TIMEOUT_MS = 10000, TICK_MS = 100, LIVENESS_TICK_MS = 1000, OWN_HANDLES = 2 };

/* ---- accepting ---- */

/* Who is at the other end, for log lines. */
static void describe_peer(
	int fd, const struct peer_credentials *credentials, char text[WS_PEER_TEXT_BYTES])
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} address = {0};
	socklen_t len = sizeof(address);
	snprintf(text, WS_PEER_TEXT_BYTES, "?");
	if (getpeername(fd, &address.any, &len) < 0)
		return;
	if (address.any.sa_family == AF_INET)
		inet_ntop(AF_INET, &address.v4.sin_addr, text, WS_PEER_TEXT_BYTES);
	else if (address.any.sa_family == AF_INET6)
		inet_ntop(AF_INET6, &address.v6.sin6_addr, text, WS_PEER_TEXT_BYTES);
	else if (address.any.sa_family == AF_UNIX)
		snprintf(text, WS_PEER_TEXT_BYTES, "uid %u pid %d", (unsigned int)credentials->uid,
			(int)credentials->pid);
}

static bool is_idle(const struct ws_exchange *exchange)
{
	return exchange->state == EXCHANGE_READING || exchange->state == EXCHANGE_LINGERING;
}

/* The oldest peer that has been told its last word, and stays. */
static struct ws_peer *find_leaving_peer(const struct ws_server *server)
{
	struct ws_peer *peer;
	DL_FOREACH(server->peers, peer)
	{
		if (ws_peer_is_leaving(peer))
			return peer;
	}
	return NULL;
}

/*
 * The last place is not for those who connect and say nothing, or stay behind their answer or close
 * frame: the oldest of them goes, so that whoever asks can still come.
 */
static void make_room(struct ws_server *server)
{
	if (server->listener.connections < server->listener.max_connections)
		return;
	struct ws_exchange *newest = server->exchanges != NULL ? server->exchanges->prev : NULL;
	struct ws_exchange *exchange;
	DL_FOREACH(server->exchanges, exchange)
	{
		if (exchange != newest && is_idle(exchange)) {
			server->counters.idle_dropped++;
			ws_exchange_drop(exchange);
			return;
		}
	}
	struct ws_peer *leaving = find_leaving_peer(server);
	if (leaving != NULL) {
		server->counters.idle_dropped++;
		ws_peer_abort(leaving);
	}
}

static void server_on_accept(
	struct unix_listener *listener, int fd, const struct peer_credentials *credentials)
{
	struct ws_server *server = listener->owner;
	char text[WS_PEER_TEXT_BYTES];
	describe_peer(fd, credentials, text);
	server->counters.accepted++;
	server->counters.connections++;
	bool is_piped = false;
	int r = 0;
	if (server->tls_vhost != NULL) {
		r = ws_tls_pipe_start(server, fd, &fd);
		is_piped = r == 0;
	}
	if (r == 0)
		r = ws_exchange_start(server, fd, credentials, text);
	if (r < 0) {
		server->handler->on_error(server, r);
		/* A pipe finds its other end closed and ends by itself. */
		if (!is_piped)
			ws_server_pipe_ended(server);
	}
	make_room(server);
}

static void server_on_listener_closed(struct unix_listener *listener)
{
	ws_server_handle_closed(listener->owner);
}

static void server_on_accept_error(struct unix_listener *listener, int error)
{
	struct ws_server *server = listener->owner;
	server->handler->on_error(server, error);
}

/* ---- deadlines ---- */

static bool anybody_has_a_deadline(const struct ws_server *server)
{
	if (server->exchanges != NULL)
		return true;
	for (const struct ws_peer *peer = server->peers; peer != NULL; peer = peer->next) {
		if (peer->close_deadline_ns != 0)
			return true;
	}
	return false;
}

static void server_on_tick(uv_timer_t *timer)
{
	struct ws_server *server = timer->data;
	uint64_t now_ns = clock_monotonic_ns();
	struct ws_exchange *exchange, *next_exchange;
	DL_FOREACH_SAFE(server->exchanges, exchange, next_exchange)
	ws_exchange_check_deadline(exchange, now_ns);
	struct ws_peer *peer, *next_peer;
	DL_FOREACH_SAFE(server->peers, peer, next_peer)
	ws_peer_check_deadline(peer, now_ns);
	if (anybody_has_a_deadline(server))
		return;
	if (server->peers == NULL)
		uv_timer_stop(timer);
	else if (uv_timer_get_repeat(timer) != LIVENESS_TICK_MS)
		uv_timer_start(timer, server_on_tick, LIVENESS_TICK_MS, LIVENESS_TICK_MS);
}

void ws_server_watch_deadlines(struct ws_server *server)
{
	bool is_close = uv_is_active((uv_handle_t *)&server->tick) &&
			uv_timer_get_repeat(&server->tick) == TICK_MS;
	if (!server->closing && !is_close)
		uv_timer_start(&server->tick, server_on_tick, TICK_MS, TICK_MS);
}

/* ---- adopting, outside of every callback of libwebsockets ---- */

static void server_on_adopt(uv_idle_t *idle)
{
	struct ws_server *server = idle->data;
	uv_idle_stop(idle);
	struct ws_peer *peer, *next;
	DL_FOREACH_SAFE(server->peers, peer, next)
	{
		if (peer->fd >= 0)
			ws_peer_adopt(peer);
	}
}

void ws_server_adopt_soon(struct ws_server *server)
{
	if (!uv_is_active((uv_handle_t *)&server->adopt_soon))
		uv_idle_start(&server->adopt_soon, server_on_adopt);
}

/* ---- ending ---- */

static void server_on_own_handle_closed(uv_handle_t *handle)
{
	struct ws_server *server = handle->data;
	ws_server_handle_closed(server);
}

/* When only its own handles are left, they can go too. */
static void server_finish(struct ws_server *server)
{
	if (!server->closing || uv_is_closing((uv_handle_t *)&server->tick))
		return;
	if (server->exchanges == NULL && server->peers == NULL && server->pipes == NULL) {
		uv_close((uv_handle_t *)&server->tick, server_on_own_handle_closed);
		uv_close((uv_handle_t *)&server->adopt_soon, server_on_own_handle_closed);
	}
}

void ws_server_handle_closed(struct ws_server *server)
{
	assert(server->handles > 0);
	server->handles--;
	server_finish(server);
	if (server->handles == 0)
		free(server);
}

void ws_server_pipe_ended(struct ws_server *server)
{
	server->counters.connections--;
	if (server->accepting)
		unix_listener_released(&server->listener);
}

void ws_server_connection_ended(struct ws_server *server)
{
	if (server->tls_vhost == NULL)
		ws_server_pipe_ended(server);
}

void ws_server_stop_accepting(struct ws_server *server)
{
	if (!server->accepting)
		return;
	server->accepting = false;
	server->handles++;
	unix_listener_close(&server->listener);
}

void ws_server_close(struct ws_server *server)
{
	if (server->closing)
		return;
	ws_server_stop_accepting(server);
	server->closing = true;
	struct ws_exchange *exchange, *next_exchange;
	DL_FOREACH_SAFE(server->exchanges, exchange, next_exchange)
	ws_exchange_drop(exchange);
	struct ws_peer *peer;
	DL_FOREACH(server->peers, peer)
	ws_peer_abort(peer);
	struct ws_tls_pipe *pipe, *next_pipe;
	DL_FOREACH_SAFE(server->pipes, pipe, next_pipe)
	ws_tls_pipe_abort(pipe);
	if (server->peers != NULL)
		ws_server_adopt_soon(server); /* those that were never adopted end there */
	server_finish(server);
}

/* ---- opening ---- */

static void server_init(struct ws_server *server, struct ws_context *context,
	const struct ws_server_config *config, const struct ws_server_handler *handler, void *owner)
{
	server->context = context;
	server->handler = handler;
	server->owner = owner;
	server->takes_any_method = config->takes_any_method;
	server->max_queued_bytes = config->max_queued_bytes;
	server->head_timeout_ms = config->head_timeout_ms != 0 ? config->head_timeout_ms
							       : TIMEOUT_MS;
	server->answer_timeout_ms = config->answer_timeout_ms != 0 ? config->answer_timeout_ms
								   : TIMEOUT_MS;
	server->listener.owner = server;
	server->listener.on_accept = server_on_accept;
	server->listener.on_error = server_on_accept_error;
	server->listener.on_closed = server_on_listener_closed;
	uv_timer_init(context->loop, &server->tick);
	uv_idle_init(context->loop, &server->adopt_soon);
	server->tick.data = server;
	server->adopt_soon.data = server;
	server->handles = OWN_HANDLES;
}

static bool is_unix_socket(int fd)
{
	int domain = 0;
	socklen_t len = sizeof(domain);
	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

int ws_server_open(struct ws_server **out, struct ws_context *context,
	const struct ws_server_config *config, const struct ws_server_handler *handler, void *owner)
{
	struct lws_vhost *tls_vhost = NULL;
	if (config->certificate_file != NULL) {
		tls_vhost = ws_context_add_tls_vhost(
			context, config->certificate_file, config->key_file);
		if (tls_vhost == NULL) {
			fd_close(config->fd);
			return -EINVAL;
		}
	}
	struct ws_server *server = calloc(1, sizeof(*server));
	if (server == NULL) {
		fd_close(config->fd);
		return -ENOMEM;
	}
	server->tls_vhost = tls_vhost;
	server->is_unix = is_unix_socket(config->fd);
	server_init(server, context, config, handler, owner);
	int r = unix_listener_start(
		&server->listener, context->loop, config->fd, config->max_connections);
	if (r < 0) {
		server->closing = true;
		server_finish(server);
		return r;
	}
	server->accepting = true;
	*out = server;
	return 0;
}

void *ws_server_owner(const struct ws_server *server)
{
	return server->owner;
}

bool ws_server_is_unix(const struct ws_server *server)
{
	return server->is_unix;
}

const struct ws_server_counters *ws_server_counters(const struct ws_server *server)
{
	return &server->counters;
}
