#include "eventlogd/ctl/stdout_watch.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "proto/base/fd.h"

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct stdout_watch *watch = poll->data;
	(void)status;
	(void)events;
	uv_poll_stop(poll);
	watch->on_left(watch->owner);
}

/* Errors and hang-ups are told whatever is asked for, so nothing is. */
static int watch_stdout(int epoll_fd)
{
	struct epoll_event event = {0};
	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDOUT_FILENO, &event) < 0 ? -errno : 0;
}

int stdout_watch_start(
	struct stdout_watch *watch, uv_loop_t *loop, void (*on_left)(void *owner), void *owner)
{
	*watch = (struct stdout_watch){.epoll_fd = -1, .on_left = on_left, .owner = owner};
	int fd = epoll_create1(EPOLL_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = watch_stdout(fd);
	if (r < 0) {
		fd_close(fd);
		return r == -EPERM || r == -EBADF ? 0 : r; /* a file, or nothing at all */
	}
	r = uv_poll_init(loop, &watch->poll, fd);
	if (r < 0) {
		fd_close(fd);
		return r;
	}
	watch->epoll_fd = fd;
	watch->poll.data = watch;
	return uv_poll_start(&watch->poll, UV_READABLE, on_poll);
}

void stdout_watch_close(struct stdout_watch *watch)
{
	if (watch->epoll_fd < 0)
		return;
	uv_close((uv_handle_t *)&watch->poll, NULL);
	watch->epoll_fd = fd_close(watch->epoll_fd);
}
