#include "proto/base/unix_socket.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/fd.h"

enum { BACKLOG = 128, ACCEPTS_PER_TURN = 32, RETRY_MS = 100 };

static int make_address(const char *path, struct sockaddr_un *address)
{
	size_t len = strlen(path);
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (len == 0 || len >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	memcpy(address->sun_path, path, len);
	return 0;
}

int unix_socket_connect(const char *path)
{
	struct sockaddr_un address;
	int r = make_address(path, &address);
	if (r < 0)
		return r;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* A Unix socket connects at once or fails: EAGAIN means that the backlog is full. */
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		r = -errno;
		fd_close(fd);
		return r;
	}
	return fd;
}

/* Removes the socket of a process that died. */
static int remove_stale_socket(const char *path)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	int fd = unix_socket_connect(path);
	if (fd >= 0 || fd == -EAGAIN) {
		fd_close(fd);
		return -EADDRINUSE;
	}
	if (fd != -ECONNREFUSED)
		return fd;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int unix_socket_listen(const char *path, mode_t mode)
{
	struct sockaddr_un address;
	int r = make_address(path, &address);
	if (r == 0)
		r = remove_stale_socket(path);
	if (r < 0)
		return r;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* Nobody can connect before listen(), so the mode is in place in time. */
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || chmod(path, mode) < 0 ||
		listen(fd, BACKLOG) < 0) {
		r = -errno;
		fd_close(fd);
		return r;
	}
	return fd;
}

static void listener_on_readable(uv_poll_t *handle, int status, int events);

static void listener_wait(struct unix_listener *listener)
{
	if (!listener->closing && listener->connections < listener->max_connections)
		uv_poll_start(&listener->poll, UV_READABLE, listener_on_readable);
	else
		uv_poll_stop(&listener->poll);
}

static void listener_on_retry(uv_timer_t *timer)
{
	listener_wait(timer->data);
}

/* Out of descriptors or memory: wait a little instead of spinning on a readable socket. */
static void listener_back_off(struct unix_listener *listener, int error)
{
	uv_poll_stop(&listener->poll);
	uv_timer_start(&listener->retry, listener_on_retry, RETRY_MS, 0);
	listener->on_error(listener, error);
}

static void listener_accept_one(struct unix_listener *listener, int fd)
{
	struct ucred credentials = {0};
	socklen_t len = sizeof(credentials);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &len) < 0) {
		int error = -errno;
		fd_close(fd);
		listener->on_error(listener, error);
		return;
	}
	struct peer_credentials peer = {credentials.pid, credentials.uid, credentials.gid};
	listener->connections++;
	listener->on_accept(listener, fd, &peer);
}

static void listener_on_readable(uv_poll_t *handle, int status, int events)
{
	struct unix_listener *listener = handle->data;
	(void)events;
	if (status < 0) {
		listener_back_off(listener, status);
		return;
	}
	for (int i = 0; i < ACCEPTS_PER_TURN && !listener->closing &&
			listener->connections < listener->max_connections;
		i++) {
		int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			listener_accept_one(listener, fd);
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			listener_back_off(listener, -errno);
			return;
		}
	}
	if (!listener->closing)
		listener_wait(listener);
}

int unix_listener_start(
	struct unix_listener *listener, uv_loop_t *loop, int fd, unsigned int max_connections)
{
	listener->fd = fd;
	listener->connections = 0;
	listener->max_connections = max_connections;
	listener->closing = false;
	int r = uv_poll_init(loop, &listener->poll, fd);
	if (r < 0) {
		listener->fd = fd_close(fd);
		return r;
	}
	uv_timer_init(loop, &listener->retry);
	listener->poll.data = listener;
	listener->retry.data = listener;
	listener->handles_open = 2;
	listener_wait(listener);
	return 0;
}

void unix_listener_released(struct unix_listener *listener)
{
	listener->connections--;
	if (!listener->closing && !uv_is_active((uv_handle_t *)&listener->retry))
		listener_wait(listener);
}

static void listener_on_closed(uv_handle_t *handle)
{
	struct unix_listener *listener = handle->data;
	if (--listener->handles_open > 0)
		return;
	listener->fd = fd_close(listener->fd);
	if (listener->on_closed != NULL)
		listener->on_closed(listener);
}

void unix_listener_close(struct unix_listener *listener)
{
	if (listener->closing || listener->fd < 0)
		return;
	listener->closing = true;
	uv_close((uv_handle_t *)&listener->retry, listener_on_closed);
	uv_close((uv_handle_t *)&listener->poll, listener_on_closed);
}
