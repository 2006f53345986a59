/*
 * The server's own structures, shared by ws_server.c (listener, deadlines), ws_exchange.c (heads
 * and answers), ws_peer.c (WebSockets) and ws_tls_pipe.c.
 *
 * A connection is accepted by the server, becomes an exchange, and then a peer or nothing. With TLS
 * an exchange reads from one end of a socket pair; a TLS pipe carries what libwebsockets has
 * decrypted to the other.
 */
#pragma once

#include <sys/socket.h>

#include "proto/ws/ws_private.h"
#include "proto/ws/ws_server.h"

struct ws_tls_pipe;

struct ws_server {
	struct ws_context *context;
	const struct ws_server_handler *handler;
	void *owner;
	struct unix_listener listener; /* of whatever family */
	bool is_unix, takes_any_method;
	struct lws_vhost *tls_vhost; /* NULL: no TLS */
	size_t max_queued_bytes;
	uint64_t head_timeout_ms, answer_timeout_ms;
	struct ws_server_counters counters;

	struct ws_exchange *exchanges;
	struct ws_peer *peers;
	struct ws_tls_pipe *pipes;
	uv_timer_t tick;      /* while there are exchanges or peers */
	uv_idle_t adopt_soon; /* while peers wait for libwebsockets */
	unsigned int handles; /* of its own that are open */
	bool accepting, closing;
};

/* Looks closely at all deadlines from now on, until nobody has one. */
void ws_server_watch_deadlines(struct ws_server *server);
/* Gives waiting peers to libwebsockets at the loop's next turn. */
void ws_server_adopt_soon(struct ws_server *server);
/*
 * An exchange or peer with its descriptor is gone; with TLS it is the pipe that makes room for
 * another connection.
 */
void ws_server_connection_ended(struct ws_server *server);
void ws_server_pipe_ended(struct ws_server *server);
/* An exchange, peer, pipe or handle of the server's is gone; the last one frees the server. */
void ws_server_handle_closed(struct ws_server *server);

/* ---- ws_exchange.c ---- */

enum exchange_state {
	EXCHANGE_READING,   /* the head */
	EXCHANGE_WAITING,   /* for the owner's answer */
	EXCHANGE_ANSWERING, /* response on its way */
	EXCHANGE_LINGERING, /* all sent; the peer may still be reading */
	EXCHANGE_CLOSED,
};

enum { EXCHANGE_BEHIND_BYTES_MAX = 4096 };

struct ws_exchange {
	struct ws_exchange *prev, *next;
	struct ws_server *server;
	void *owner;
	uv_poll_t poll;
	int fd;
	enum exchange_state state;
	uint64_t deadline_ns;
	struct ws_request *request;
	struct buf behind; /* bytes behind the head */
	struct buf answer;
	size_t answered;
	struct peer_credentials credentials;
	char peer_text[WS_PEER_TEXT_BYTES];
};

/* Takes the descriptor. 0 or -errno. */
_must_check_ int ws_exchange_start(struct ws_server *server, int fd,
	const struct peer_credentials *credentials, const char *peer_text);
void ws_exchange_check_deadline(struct ws_exchange *exchange, uint64_t now_ns);
/* Ends it without an answer; on_gone is called if the owner knows of it. */
void ws_exchange_drop(struct ws_exchange *exchange);
/* Closes the poll handle; the descriptor goes to the caller. */
int ws_exchange_take_fd(struct ws_exchange *exchange);

/* ---- ws_peer.c ---- */

struct ws_peer {
	struct ws_link link; /* first */
	struct ws_peer *prev, *next;
	struct ws_server *server;
	const struct ws_peer_handler *handler;
	void *owner;
	const char *subprotocol;
	char peer_text[WS_PEER_TEXT_BYTES];

	int fd;          /* until libwebsockets has it, else -1 */
	struct buf head; /* what libwebsockets reads first */

	struct ws_frames **queue; /* ring */
	size_t queue_size, queue_first, queue_count;
	size_t first_sent; /* bytes of the first run that are out */
	size_t queued_bytes;
	bool open, congested, writing, ping_wanted, peer_closes, close_sent;
	uint64_t progress_ns;
	struct ws_liveness liveness; /* while open */

	uint16_t peer_code; /* of the peer's close frame */
	uint16_t close_code;
	char close_reason[WS_CLOSE_REASON_BYTES_MAX + 1];
	uint64_t close_deadline_ns; /* 0: not closing */
	bool aborted;
};

/* Gives a waiting peer to libwebsockets. From the loop only. */
void ws_peer_adopt(struct ws_peer *peer);
void ws_peer_check_deadline(struct ws_peer *peer, uint64_t now_ns);
/* Its close frame is out, and it has neither answered nor gone. */
bool ws_peer_is_leaving(const struct ws_peer *peer);

/* ---- ws_tls_pipe.c ---- */

struct ws_tls_pipe {
	struct ws_link link; /* first; the connection that speaks TLS */
	struct ws_tls_pipe *prev, *next;
	struct ws_server *server;
	uv_poll_t poll; /* of our end of the socket pair */
	int plain_fd;
	struct buf to_plain; /* decrypted, not yet taken by the other end */
	bool heard;          /* the handshake is over and something came */
	bool aborted;
};

/* Takes the accepted descriptor; the decrypted stream comes at `plain_fd`. 0 or -errno. */
_must_check_ int ws_tls_pipe_start(struct ws_server *server, int fd, int *plain_fd);
void ws_tls_pipe_abort(struct ws_tls_pipe *pipe);
