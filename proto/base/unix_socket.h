/*
 * Unix stream sockets: listening, connecting, accepting with the peer's identity.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "proto/base/attributes.h"

/*
 * Makes a listening socket at `path` with `mode`. A stale socket (nobody answers there) is
 * replaced; one that answers is -EADDRINUSE; anything that is not a socket is -EEXIST and is left
 * alone. Returns the descriptor or -errno.
 */
_must_check_ int unix_socket_listen(const char *path, mode_t mode);

/* Starts to connect, non-blocking. Returns the descriptor (writable once connected) or -errno. */
_must_check_ int unix_socket_connect(const char *path);

struct peer_credentials {
	pid_t pid;
	uid_t uid;
	gid_t gid;
};

/* A listening socket on the loop. Accepts at most `max_connections` at once, the rest wait. */
struct unix_listener {
	uv_poll_t poll;
	uv_timer_t retry;
	int fd;
	unsigned int connections, max_connections;
	void *owner;
	/*
	 * Takes the connected, non-blocking descriptor. The owner calls unix_listener_released()
	 * when that connection has ended.
	 */
	void (*on_accept)(
		struct unix_listener *listener, int fd, const struct peer_credentials *peer);
	/* accept() failed with something that is not the peer's doing (EMFILE, ENFILE, ENOMEM). */
	void (*on_error)(struct unix_listener *listener, int error);
	/* After unix_listener_close(), from the loop: the memory may go. May be NULL. */
	void (*on_closed)(struct unix_listener *listener);
	bool closing;
	unsigned int handles_open;
};

/* Takes the listening descriptor. 0 or -errno (the descriptor is closed then). */
_must_check_ int unix_listener_start(
	struct unix_listener *listener, uv_loop_t *loop, int fd, unsigned int max_connections);
void unix_listener_released(struct unix_listener *listener);
/* Stops accepting and closes; the handles close with the next turn of the loop (on_closed). */
void unix_listener_close(struct unix_listener *listener);
