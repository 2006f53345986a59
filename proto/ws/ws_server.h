/*
 * The server side: a listening descriptor, exchanges, and WebSocket peers.
 *
 * Accepting is ours: the descriptor is inherited or made by the owner, connections are taken with
 * accept4(). The head of the request is read within head_timeout_ms and parsed; the owner gets it
 * as an *exchange* and answers it once, at once or later (it may first have to ask another
 * process): with a complete HTTP response, after which the connection closes, or by upgrading it
 * to a WebSocket *peer*. An exchange that is not answered within answer_timeout_ms is answered
 * 503. Later requests on the same connection are not read ("Connection: close"). A peer that closes
 * its sending side behind a request is answered all the same, unless it asked for a WebSocket.
 *
 * At max_connections the oldest connection goes that has not asked yet, or has been answered and
 * stays: silent strangers can't keep others out. When there is none, the rest waits in the backlog.
 *
 * With a certificate the listener speaks TLS; exchanges and peers behave the same.
 *
 * Sending. A peer's queue holds runs of frames (ws_frames.h) and is bounded by
 * max_queued_bytes. Its owner stops feeding it while ws_peer_is_congested() and goes on at
 * on_writable: what the peer does not read stays where it came from. For short runs there is a
 * reserve beyond the bound, so that a word about the stream finds room behind a long event.
 *
 * Keeping alive. The peer is pinged after 20 s without a sign of life, closed after 40 s.
 *
 * Memory. Exchanges and peers belong to the server; their pointers are good until
 * ws_exchange_respond()/upgrade() or on_gone, and until on_closed, respectively. Every function
 * may be called from within every callback.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/base/unix_socket.h"
#include "proto/ws/ws_context.h"
#include "proto/ws/ws_frames.h"
#include "proto/ws/ws_request.h"

struct ws_server;
struct ws_exchange;
struct ws_peer;

enum { WS_CLOSE_REASON_BYTES_MAX = 123, WS_PEER_TEXT_BYTES = 64 };

struct ws_server_config {
	int fd;                       /* listening, non-blocking; taken, also on failure */
	const char *certificate_file; /* PEM with the chain; NULL: no TLS */
	const char *key_file;
	unsigned int max_connections; /* at once; idle ones make room, then the rest waits */
	size_t max_queued_bytes;      /* for each peer */
	bool takes_any_method;        /* false: what is not a GET is answered 405 here */
	uint64_t head_timeout_ms;     /* 0: 10,000 */
	uint64_t answer_timeout_ms;   /* 0: 10,000 */
};

struct ws_server_handler {
	/* A request. Answer it now or later. */
	void (*on_exchange)(struct ws_server *server, struct ws_exchange *exchange);
	/* The peer left, or the answer took too long: do not touch the exchange any more. */
	void (*on_gone)(struct ws_server *server, struct ws_exchange *exchange);
	/* accept() failed with something that is not a peer's doing (EMFILE, ENOMEM). */
	void (*on_error)(struct ws_server *server, int error);
	/*
	 * A request that is answered here because its head is too long, too slow, malformed, or of
	 * a method that is not taken. The exchange may be asked for its peer, and no more. Not told
	 * of a connection on which nothing came. May be NULL.
	 */
	void (*on_refused)(
		struct ws_server *server, struct ws_exchange *exchange, unsigned int status);
};

struct ws_server_counters {
	uint64_t accepted;      /* connections */
	uint64_t heads_refused; /* too long, too slow, malformed, not a GET */
	uint64_t idle_dropped;  /* without a request, to make room */
	uint64_t exchanges;
	uint64_t upgrades;
	unsigned int connections; /* now */
	unsigned int peers;       /* now */
};

/* 0, -EINVAL when certificate or key can't be used, or another -errno. */
_must_check_ int ws_server_open(struct ws_server **out, struct ws_context *context,
	const struct ws_server_config *config, const struct ws_server_handler *handler,
	void *owner);
void *ws_server_owner(const struct ws_server *server);
bool ws_server_is_unix(const struct ws_server *server);
const struct ws_server_counters *ws_server_counters(const struct ws_server *server);

/* Accepts no more; what is there goes on. */
void ws_server_stop_accepting(struct ws_server *server);

/* Drops exchanges and peers (on_gone, on_closed are called), closes; frees itself from the loop. */
void ws_server_close(struct ws_server *server);

/* ---- exchanges ---- */

const struct ws_request *ws_exchange_request(const struct ws_exchange *exchange);
struct ws_server *ws_exchange_server(const struct ws_exchange *exchange);
/* The other end for log lines: "192.0.2.1", "2001:db8::1", "uid 1000 pid 77". */
const char *ws_exchange_peer_text(const struct ws_exchange *exchange);
/* Of a Unix socket; uid is (uid_t)-1 for others. */
const struct peer_credentials *ws_exchange_credentials(const struct ws_exchange *exchange);

void ws_exchange_set_owner(struct ws_exchange *exchange, void *owner);
void *ws_exchange_owner(const struct ws_exchange *exchange);

/*
 * Answers with a complete response and ends the exchange. `code` becomes the header
 * Sightline-Code when it is not NULL. The body is copied.
 */
void ws_exchange_respond(struct ws_exchange *exchange, unsigned int status, const char *code,
	const char *content_type, const void *body, size_t len);

/*
 * The same with {"error":{"code":…,"message":…}} as body. Both texts need no escaping. Without a
 * code of ours (NULL: no header) the body's is the status in words: "not_found".
 */
void ws_exchange_refuse(
	struct ws_exchange *exchange, unsigned int status, const char *code, const char *message);
/* The same where there is no more to say than the status. */
void ws_exchange_refuse_status(struct ws_exchange *exchange, unsigned int status);
/* The code in that body; "refused" for a status that is never answered. */
const char *ws_exchange_status_word(unsigned int status);

struct ws_peer_handler {
	/* The answer to the upgrade is on its way. */
	void (*on_open)(struct ws_peer *peer);
	/* The peer began to send a message. Its bytes are dropped: this is for observing only. */
	void (*on_data)(struct ws_peer *peer);
	/* The queue has fallen below its low mark after the peer was congested. */
	void (*on_writable)(struct ws_peer *peer);
	/*
	 * It is over, whoever ended it; the last callback, also when on_open never came. `code` as
	 * the peer sent it; 0: none.
	 */
	void (*on_closed)(struct ws_peer *peer, uint16_t code);
};

/*
 * Ends the exchange by making it a WebSocket. `subprotocol` is what to answer, NULL for none; it
 * must outlive the peer. Sending may begin at once; on_open comes from the loop.
 * 0 with the peer; or -EPROTO (not an upgrade request) or -ENOMEM: the exchange was answered with a
 * status, and none of the handler's functions will be called.
 */
_must_check_ int ws_exchange_upgrade(struct ws_exchange *exchange, const char *subprotocol,
	const struct ws_peer_handler *handler, void *owner, struct ws_peer **out);

/* ---- peers ---- */

void *ws_peer_owner(const struct ws_peer *peer);
const char *ws_peer_text(const struct ws_peer *peer); /* as ws_exchange_peer_text() */

enum ws_send_result { WS_SENT = 0, WS_FULL = 1 };

/*
 * Queues a run of frames, taking a reference of its own. WS_FULL: nothing was queued, on_writable
 * will come. One run is always taken when the queue is empty, whatever its length. -ENOMEM.
 * After ws_peer_close() it answers WS_SENT and does nothing.
 */
_must_check_ int ws_peer_send(struct ws_peer *peer, struct ws_frames *frames);

size_t ws_peer_queued_bytes(const struct ws_peer *peer);
/* Over half of max_queued_bytes wait; on_writable will come when a quarter is left. */
bool ws_peer_is_congested(struct ws_peer *peer);
/* When bytes last left for the peer, it showed a sign of life, or it got something to take. */
uint64_t ws_peer_last_progress_ns(const struct ws_peer *peer);

/*
 * Sends everything that is queued, then a close frame, then waits a little for the peer's.
 * deadline_ms bounds all of that together. on_closed comes in any case.
 */
void ws_peer_close(struct ws_peer *peer, uint16_t code, const char *reason, uint64_t deadline_ms);

/* Cuts the connection; on_closed comes from the loop. */
void ws_peer_abort(struct ws_peer *peer);
