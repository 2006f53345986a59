#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/ws/ws_server_private.h"

enum {
	FIN_AND_CLOSE = 0x88,
	QUEUE_FIRST_SIZE = 16,
	SHORT_BYTES = 4 * 1024,    /* runs up to this length */
	RESERVE_BYTES = 64 * 1024, /* find room beyond the bound */
	UNSENT_BYTES = 128 *
		       1024, /* that the kernel may hold for a peer beside what is in flight */
};

/* ---- the queue: a ring of references ---- */

static struct ws_frames *queue_first(const struct ws_peer *peer)
{
	return peer->queue_count == 0 ? NULL : peer->queue[peer->queue_first];
}

static int queue_grow(struct ws_peer *peer)
{
	size_t size = peer->queue_size == 0 ? QUEUE_FIRST_SIZE : 2 * peer->queue_size;
	struct ws_frames **queue = calloc(size, sizeof(struct ws_frames *));
	if (queue == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < peer->queue_count; i++)
		queue[i] = peer->queue[(peer->queue_first + i) % peer->queue_size];
	free(peer->queue);
	peer->queue = queue;
	peer->queue_size = size;
	peer->queue_first = 0;
	return 0;
}

static void queue_drop_first(struct ws_peer *peer)
{
	ws_frames_unref(peer->queue[peer->queue_first]);
	peer->queue_first = (peer->queue_first + 1) % peer->queue_size;
	peer->queue_count--;
	peer->first_sent = 0;
}

static void queue_free(struct ws_peer *peer)
{
	while (peer->queue_count > 0)
		queue_drop_first(peer);
	free(peer->queue);
	peer->queue = NULL;
	peer->queue_size = 0;
	peer->queued_bytes = 0;
}

int ws_peer_send(struct ws_peer *peer, struct ws_frames *frames)
{
	size_t len = ws_frames_bytes(frames);
	if (peer->close_deadline_ns != 0 || peer->aborted || len == 0)
		return WS_SENT;
	size_t most = peer->server->max_queued_bytes + (len <= SHORT_BYTES ? RESERVE_BYTES : 0);
	if (peer->queued_bytes > 0 && peer->queued_bytes + len > most) {
		peer->congested = true;
		return WS_FULL;
	}
	if (peer->queue_count == peer->queue_size) {
		int r = queue_grow(peer);
		if (r < 0)
			return r;
	}
	/* A peer that had nothing to take was not slow. */
	if (peer->queue_count == 0)
		peer->progress_ns = clock_monotonic_ns();
	size_t place = (peer->queue_first + peer->queue_count) % peer->queue_size;
	peer->queue[place] = ws_frames_ref(frames);
	peer->queue_count++;
	peer->queued_bytes += len;
	if (peer->open && !peer->writing)
		lws_callback_on_writable(peer->link.wsi);
	return WS_SENT;
}

size_t ws_peer_queued_bytes(const struct ws_peer *peer)
{
	return peer->queued_bytes;
}

bool ws_peer_is_congested(struct ws_peer *peer)
{
	if (peer->queued_bytes <= peer->server->max_queued_bytes / 2)
		return peer->congested;
	peer->congested = true;
	return true;
}

uint64_t ws_peer_last_progress_ns(const struct ws_peer *peer)
{
	return peer->progress_ns;
}

/* ---- writing ---- */

/* Gathers whole frames for one write. */
static size_t gather(struct ws_peer *peer, uint8_t *out)
{
	size_t len = 0;
	struct ws_frames *first;
	while ((first = queue_first(peer)) != NULL) {
		const uint8_t *bytes = ws_frames_data(first) + peer->first_sent;
		size_t left = ws_frames_bytes(first) - peer->first_sent;
		size_t n = ws_frames_prefix(bytes, left, WS_WRITE_BYTES - len);
		if (n == 0)
			break;
		memcpy(out + len, bytes, n);
		len += n;
		peer->first_sent += n;
		peer->queued_bytes -= n;
		if (n < left)
			break;
		queue_drop_first(peer);
	}
	return len;
}

/*
 * LWS_WRITE_HTTP on an established WebSocket sends the bytes as they are: they are framed already.
 * Only for connections without extensions and not over HTTP/2; ours can have neither, because the
 * head that the library sees asks for neither.
 */
static int write_some(struct ws_peer *peer)
{
	uint8_t *bytes = peer->server->context->write_buffer + LWS_PRE;
	size_t len = gather(peer, bytes);
	if (len > 0 && lws_write(peer->link.wsi, bytes, len, LWS_WRITE_HTTP) < (int)len)
		return -1;
	return 0;
}

/*
 * The library's own way (lws_close_reason() and returning -1) loses the close frame: as packaged,
 * it closes a connection twice when it runs on libuv, and the second time cuts it off. So the close
 * frame is written like any other; then the peer answers it, or the deadline comes.
 */
static int write_close(struct ws_peer *peer)
{
	uint8_t *bytes = peer->server->context->write_buffer + LWS_PRE;
	size_t reason_len = strlen(peer->close_reason);
	bytes[0] = FIN_AND_CLOSE;
	bytes[1] = (uint8_t)(2 + reason_len);
	bytes[2] = (uint8_t)(peer->close_code >> 8);
	bytes[3] = (uint8_t)peer->close_code;
	memcpy(bytes + 4, peer->close_reason, reason_len);
	int len = (int)(4 + reason_len);
	peer->close_sent = true;
	return lws_write(peer->link.wsi, bytes, (size_t)len, LWS_WRITE_HTTP) < len ? -1 : 0;
}

static int write_ping(struct ws_peer *peer)
{
	peer->ping_wanted = false;
	if (ws_link_write_ping(&peer->link) < 0)
		return -1;
	lws_callback_on_writable(peer->link.wsi); /* what waits behind it */
	return 0;
}

static void tell_writable(struct ws_peer *peer)
{
	if (!peer->congested || peer->queued_bytes > peer->server->max_queued_bytes / 4)
		return;
	peer->congested = false;
	peer->handler->on_writable(peer);
}

static int peer_on_writable(struct ws_peer *peer)
{
	struct lws *wsi = peer->link.wsi;
	if (peer->peer_closes)
		return 0; /* the library answers the close frame */
	peer->progress_ns = clock_monotonic_ns();
	/* After congestion this says that the peer has read: as good as an answer to a ping. */
	if (peer->congested)
		peer->liveness.heard_ns = peer->progress_ns;
	if (peer->ping_wanted)
		return write_ping(peer);
	peer->writing = true;
	int r = write_some(peer);
	if (r == 0 && peer->close_deadline_ns == 0)
		tell_writable(peer);
	peer->writing = false;
	if (r < 0 || peer->aborted)
		return -1;
	if (peer->queue_count > 0)
		lws_callback_on_writable(wsi);
	else if (peer->close_deadline_ns != 0 && !peer->close_sent)
		return write_close(peer);
	return 0;
}

/* ---- events ---- */

static int add_answer_headers(struct ws_peer *peer, struct lws_process_html_args *args)
{
	if (peer->subprotocol == NULL)
		return 0;
	unsigned char *at = (unsigned char *)args->p;
	unsigned char *end = at + args->max_len;
	if (lws_add_http_header_by_name(peer->link.wsi,
		    (const unsigned char *)"Sec-WebSocket-Protocol:",
		    (const unsigned char *)peer->subprotocol, (int)strlen(peer->subprotocol), &at,
		    end) != 0)
		return -1;
	args->p = (char *)at;
	return 0;
}

static int peer_on_established(struct ws_peer *peer)
{
	peer->open = true;
	peer->server->counters.upgrades++;
	peer->progress_ns = peer->liveness.heard_ns = clock_monotonic_ns();
	if (peer->aborted)
		return -1;
	if (peer->close_deadline_ns == 0)
		peer->handler->on_open(peer);
	if (peer->queue_count > 0 || peer->close_deadline_ns != 0)
		lws_callback_on_writable(peer->link.wsi);
	return 0;
}

/* Non-zero when nothing is left to say: ours has been sent. */
static int peer_on_peer_close(struct ws_peer *peer, const uint8_t *payload, size_t len)
{
	peer->peer_closes = true;
	if (len >= 2)
		peer->peer_code = (uint16_t)(payload[0] << 8 | payload[1]);
	return peer->close_sent ? -1 : 0;
}

static int peer_on_event(
	struct ws_link *link, enum lws_callback_reasons reason, void *in, size_t len)
{
	struct ws_peer *peer = (struct ws_peer *)link;
	switch (reason) {
	case LWS_CALLBACK_ADD_HEADERS:
		return add_answer_headers(peer, in);
	case LWS_CALLBACK_ESTABLISHED:
		return peer_on_established(peer);
	case LWS_CALLBACK_RECEIVE:
		if (lws_is_first_fragment(link->wsi) && peer->close_deadline_ns == 0)
			peer->handler->on_data(peer);
		return peer->aborted ? -1 : 0;
	case LWS_CALLBACK_RECEIVE_PONG:
		peer->progress_ns = peer->liveness.heard_ns = clock_monotonic_ns();
		return 0;
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		return peer_on_peer_close(peer, in, len);
	case LWS_CALLBACK_SERVER_WRITEABLE:
		return peer->aborted ? -1 : peer_on_writable(peer);
	default:
		return 0;
	}
}

static void peer_on_destroyed(struct ws_link *link)
{
	struct ws_peer *peer = (struct ws_peer *)link;
	struct ws_server *server = peer->server;
	link->wsi = NULL;
	peer->open = false;
	peer->aborted = true;
	DL_DELETE(server->peers, peer);
	server->counters.peers--;
	peer->handler->on_closed(peer, peer->peer_code);
	queue_free(peer);
	buf_free(&peer->head);
	fd_close(peer->fd);
	free(peer);
	ws_server_connection_ended(server);
	ws_server_handle_closed(server);
}

/* ---- upgrading ---- */

/* The head that the library sees is written here; the peer's own has been read and judged. */
static int write_head(struct ws_peer *peer, const struct ws_exchange *exchange)
{
	int r = buf_printf(&peer->head,
		"GET / HTTP/1.1\r\nHost: sightline\r\nUpgrade: websocket\r\n"
		"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
		"Sec-WebSocket-Key: %s\r\n\r\n",
		ws_request_header(exchange->request, "sec-websocket-key"));
	return r < 0 ? r : buf_append(&peer->head, exchange->behind.data, exchange->behind.len);
}

static void tune_socket(const struct ws_server *server, int fd)
{
	int on = 1, unsent = UNSENT_BYTES;
	if (server->is_unix || server->tls_vhost != NULL)
		return;
	/* Both only make things better: a failure changes nothing. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
}

int ws_exchange_upgrade(struct ws_exchange *exchange, const char *subprotocol,
	const struct ws_peer_handler *handler, void *owner, struct ws_peer **out)
{
	assert(exchange->state == EXCHANGE_WAITING);
	struct ws_server *server = exchange->server;
	if (!ws_request_is_upgrade(exchange->request)) {
		ws_exchange_refuse_status(exchange, 426);
		return -EPROTO;
	}
	struct ws_peer *peer = calloc(1, sizeof(*peer));
	if (peer == NULL || write_head(peer, exchange) < 0) {
		if (peer != NULL)
			buf_free(&peer->head);
		free(peer);
		ws_exchange_refuse_status(exchange, 503);
		return -ENOMEM;
	}
	peer->link.on_event = peer_on_event;
	peer->link.on_destroyed = peer_on_destroyed;
	peer->server = server;
	peer->handler = handler;
	peer->owner = owner;
	peer->subprotocol = subprotocol;
	memcpy(peer->peer_text, exchange->peer_text, sizeof(peer->peer_text));
	peer->progress_ns = clock_monotonic_ns();
	peer->fd = ws_exchange_take_fd(exchange);
	tune_socket(server, peer->fd);
	DL_APPEND(server->peers, peer);
	server->counters.peers++;
	server->handles++;
	ws_server_adopt_soon(server);
	*out = peer;
	return 0;
}

void ws_peer_adopt(struct ws_peer *peer)
{
	struct ws_context *context = peer->server->context;
	if (peer->aborted) {
		peer_on_destroyed(&peer->link);
		return;
	}
	int fd = peer->fd;
	peer->fd = -1;
	context->adopting = &peer->link;
	struct lws *wsi = lws_adopt_socket_vhost_readbuf(
		context->vhost, fd, (const char *)peer->head.data, peer->head.len);
	/* Not attached: the library has closed the descriptor and knows nothing of the peer. */
	if (wsi == NULL && context->adopting != NULL) {
		context->adopting = NULL;
		peer_on_destroyed(&peer->link);
	}
}

/* ---- closing ---- */

void ws_peer_close(struct ws_peer *peer, uint16_t code, const char *reason, uint64_t deadline_ms)
{
	if (peer->close_deadline_ns != 0 || peer->aborted)
		return;
	peer->close_code = code;
	snprintf(peer->close_reason, sizeof(peer->close_reason), "%s", reason);
	peer->close_deadline_ns = clock_monotonic_ns() + deadline_ms * NS_PER_MS;
	ws_server_watch_deadlines(peer->server);
	if (peer->open)
		lws_callback_on_writable(peer->link.wsi);
}

void ws_peer_abort(struct ws_peer *peer)
{
	if (peer->aborted)
		return;
	peer->aborted = true;
	if (peer->link.wsi != NULL)
		ws_link_abort(&peer->link);
}

static void check_liveness(struct ws_peer *peer, uint64_t now_ns)
{
	const struct ws_liveness_policy *policy = &peer->server->context->liveness_policy;
	switch (ws_liveness_check(&peer->liveness, policy, now_ns)) {
	case WS_ALIVE:
		return;
	case WS_ASK:
		peer->ping_wanted = true;
		lws_callback_on_writable(peer->link.wsi);
		return;
	case WS_LOST:
		ws_peer_abort(peer);
		return;
	}
}

void ws_peer_check_deadline(struct ws_peer *peer, uint64_t now_ns)
{
	if (peer->close_deadline_ns != 0 && now_ns >= peer->close_deadline_ns)
		ws_peer_abort(peer);
	else if (peer->close_deadline_ns == 0 && peer->open)
		check_liveness(peer, now_ns);
}

bool ws_peer_is_leaving(const struct ws_peer *peer)
{
	return peer->close_sent && !peer->aborted;
}

void *ws_peer_owner(const struct ws_peer *peer)
{
	return peer->owner;
}

const char *ws_peer_text(const struct ws_peer *peer)
{
	return peer->peer_text;
}
