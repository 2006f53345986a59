#include "proto/base/listen_address.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/fd.h"
#include "proto/base/unix_socket.h"

enum { BACKLOG = 4096, HOST_BYTES_MAX = 255, UNIX_MODE = 0660 };

static int listen_at(const struct addrinfo *address)
{
	int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	static const int on = 1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
		bind(fd, address->ai_addr, address->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
		int r = -errno;
		fd_close(fd);
		return r;
	}
	return fd;
}

/* Splits at the last colon; brackets around the host are dropped. */
static bool split(const char *text, char host[HOST_BYTES_MAX + 1], const char **port)
{
	const char *colon = strrchr(text, ':');
	if (colon == NULL || colon[1] == '\0')
		return false;
	size_t len = (size_t)(colon - text);
	bool bracketed = len >= 2 && text[0] == '[' && text[len - 1] == ']';
	if (bracketed) {
		text++;
		len -= 2;
	}
	if (len == 0 || len > HOST_BYTES_MAX || (!bracketed && memchr(text, ':', len) != NULL))
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	*port = colon + 1;
	return strspn(*port, "0123456789") == strlen(*port);
}

int listen_address_open(const char *text)
{
	if (strncmp(text, "unix:", strlen("unix:")) == 0)
		return unix_socket_listen(text + strlen("unix:"), UNIX_MODE);
	char host[HOST_BYTES_MAX + 1];
	const char *port;
	if (!split(text, host, &port))
		return -EINVAL;
	const struct addrinfo hints = {
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
	struct addrinfo *addresses;
	if (getaddrinfo(host, port, &hints, &addresses) != 0)
		return -EADDRNOTAVAIL;
	int r = -EADDRNOTAVAIL;
	for (const struct addrinfo *at = addresses; at != NULL && r < 0; at = at->ai_next)
		r = listen_at(at);
	freeaddrinfo(addresses);
	return r;
}
