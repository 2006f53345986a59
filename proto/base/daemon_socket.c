#include "proto/base/daemon_socket.h"

#include <errno.h>
#include <string.h>

#include "proto/base/journal.h"
#include "proto/base/listen_address.h"
#include "proto/base/unix_socket.h"

struct place {
	const char *text; /* NULL: not configured */
	mode_t mode;      /* 0: the text is an address, else a path */
};

static int open_place(const struct place *place)
{
	int fd = place->mode == 0 ? listen_address_open(place->text)
				  : unix_socket_listen(place->text, place->mode);
	if (fd >= 0)
		return fd;
	const char *reason = strerror(-fd);
	if (place->mode == 0 && fd == -EINVAL)
		reason = "not HOST:PORT or unix:/path";
	else if (place->mode != 0 && fd == -EADDRINUSE)
		reason = "another process answers there";
	journal(LOG_ERR, "can't listen at %s: %s", place->text, reason);
	return fd;
}

static int take(struct daemon *daemon, const char *name, const struct place *place)
{
	int fd = inherited_fds_pick(&daemon->inherited, name);
	if (fd >= 0)
		return fd;
	if (place->text != NULL)
		return open_place(place);
	journal(LOG_ERR, "the socket \"%s\" is neither inherited nor configured", name);
	return -ENOENT;
}

int daemon_socket_take(struct daemon *daemon, const char *name, const char *address)
{
	return take(daemon, name, &(struct place){.text = address});
}

int daemon_socket_take_unix(struct daemon *daemon, const char *name, const char *path, mode_t mode)
{
	return take(daemon, name, &(struct place){.text = path, .mode = mode});
}

int daemon_socket_take_optional(
	struct daemon *daemon, const char *name, const char *address, int *fd)
{
	int r = inherited_fds_pick(&daemon->inherited, name);
	if (r < 0 && address != NULL) {
		r = open_place(&(struct place){.text = address});
		if (r < 0)
			return r;
	}
	*fd = r;
	return 0;
}
