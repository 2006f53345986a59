#include "proto/base/notify.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "proto/base/fd.h"

static int connect_notify_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	if (len < 2 || len >= sizeof(address.sun_path))
		return -EINVAL;
	memcpy(address.sun_path, path, len);
	socklen_t address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	if (path[0] == '@')
		address.sun_path[0] = '\0'; /* abstract: the name has no terminating NUL */
	else
		address_len++;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, address_len) < 0) {
		int r = -errno;
		fd_close(fd);
		return r;
	}
	return fd;
}

int notify_open(struct notify *notify)
{
	*notify = (struct notify){.fd = -1};
	uint64_t watchdog_us = 0;
	if (sd_watchdog_enabled(1, &watchdog_us) > 0)
		notify->watchdog_ns = watchdog_us * 1000;
	const char *path = getenv("NOTIFY_SOCKET");
	if (path == NULL)
		return 0;
	int fd = connect_notify_socket(path);
	if (fd < 0)
		return fd;
	notify->fd = fd;
	unsetenv("NOTIFY_SOCKET");
	return 0;
}

void notify_close(struct notify *notify)
{
	notify->fd = fd_close(notify->fd);
}

bool notify_send(const struct notify *notify, const char *state)
{
	if (notify->fd < 0)
		return true;
	ssize_t n = send(notify->fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT);
	return n >= 0 ||
	       (errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS && errno != EINTR);
}

int inherited_fds_take(struct inherited_fds *fds)
{
	*fds = (struct inherited_fds){0};
	char **names = NULL;
	int count = sd_listen_fds_with_names(1, &names);
	if (count < 0)
		return count;
	int r = count > INHERITED_FDS_MAX ? -E2BIG : 0;
	for (int i = 0; i < count; i++) {
		int fd = SD_LISTEN_FDS_START + i;
		if (r == 0)
			r = fd_set_nonblocking_cloexec(fd);
		if (r == 0) {
			fds->item[i].fd = fd;
			snprintf(fds->item[i].name, sizeof(fds->item[i].name), "%s", names[i]);
			fds->count = i + 1;
		}
		free(names[i]);
	}
	free(names);
	return r;
}

void inherited_fds_close_strays(void)
{
	int count = sd_listen_fds(0);
	unsigned int first = SD_LISTEN_FDS_START + (count > 0 ? (unsigned int)count : 0);
	/* Not on a kernel before 5.9, and then what is left open stays so: it is only tidying. */
	close_range(first, UINT_MAX, 0);
}

int inherited_fds_pick(struct inherited_fds *fds, const char *name)
{
	for (int i = 0; i < fds->count; i++) {
		if (fds->item[i].fd >= 0 && strcmp(fds->item[i].name, name) == 0) {
			int fd = fds->item[i].fd;
			fds->item[i].fd = -1;
			return fd;
		}
	}
	return -1;
}

int inherited_fds_close_rest(struct inherited_fds *fds)
{
	int closed = 0;
	for (int i = 0; i < fds->count; i++) {
		if (fds->item[i].fd >= 0) {
			fds->item[i].fd = fd_close(fds->item[i].fd);
			closed++;
		}
	}
	fds->count = 0;
	return closed;
}
