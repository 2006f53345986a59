/*
 * The listening sockets of a daemon: each is inherited under its name (FileDescriptorName=), else
 * made where the configuration says.
 *
 * Only at start: resolving an address may block. What goes wrong has been told to the journal.
 */
#pragma once

#include "proto/base/daemon.h"

/*
 * `address` is "HOST:PORT" or "unix:/path" (listen_address.h), or NULL. The non-blocking
 * descriptor; -ENOENT when there is neither socket nor address; or another -errno.
 */
_must_check_ int daemon_socket_take(struct daemon *daemon, const char *name, const char *address);

/* The same with the plain path of a Unix socket, which is made with this mode (not 0). */
_must_check_ int daemon_socket_take_unix(
	struct daemon *daemon, const char *name, const char *path, mode_t mode);

/* A socket that may be missing: 0 with *fd, which is -1 where there is neither; or -errno. */
_must_check_ int daemon_socket_take_optional(
	struct daemon *daemon, const char *name, const char *address, int *fd);
