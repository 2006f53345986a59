/*
 * Readiness, watchdog and inherited descriptors: the service manager's side of a daemon.
 *
 * The notify socket is opened once, early, and kept, because sd_notify() would make a socket at
 * each call, which a sandboxed process may not. Without NOTIFY_SOCKET everything here does nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/attributes.h"

struct notify {
	int fd;               /* connected datagram socket, -1 when nobody listens */
	uint64_t watchdog_ns; /* WATCHDOG_USEC of this process; 0: no watchdog */
};

/*
 * Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and removes them from the environment.
 * 0, or the -errno of socket or connect.
 */
_must_check_ int notify_open(struct notify *notify);
void notify_close(struct notify *notify);

/*
 * Sends a state such as "READY=1". False when the service manager has not read what was sent
 * before, so that there is no room now; whatever else fails can't be mended by trying again.
 */
bool notify_send(const struct notify *notify, const char *state);

enum { INHERITED_FDS_MAX = 8 };

struct inherited_fds {
	int count;
	struct {
		int fd;
		char name[64]; /* FileDescriptorName= of the socket unit; "unknown" without */
	} item[INHERITED_FDS_MAX];
};

/*
 * Takes the descriptors of LISTEN_FDS, made CLOEXEC and non-blocking, and clears the variables.
 * 0, also when there are none; -E2BIG with more than INHERITED_FDS_MAX; or another -errno.
 */
_must_check_ int inherited_fds_take(struct inherited_fds *fds);

/*
 * Closes everything beyond stderr that is not announced in LISTEN_FDS: what a careless parent left
 * open. First thing in a program, before inherited_fds_take().
 */
void inherited_fds_close_strays(void);

/* Finds the socket of this name; removes and returns it, or -1. */
int inherited_fds_pick(struct inherited_fds *fds, const char *name);

/* Closes what nobody picked; returns how many there were. */
int inherited_fds_close_rest(struct inherited_fds *fds);
