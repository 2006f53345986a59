/*
 * The skeleton that all four daemons share: one libuv loop, signals as events, the watchdog.
 *
 * A daemon's main() is a list of phases: parse options, daemon_init, open its state, enter the
 * sandbox, daemon_ready, daemon_run, and the way back. SIGTERM and SIGINT are events: on_stop is
 * called once; the daemon stops accepting, drains, and calls daemon_quit(), which a deadline calls
 * for it if it takes too long. SIGHUP calls on_reload where there is one. SIGPIPE is ignored.
 *
 * The watchdog is fed from a timer of the loop at half its period, so a loop that hangs is killed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "proto/base/attributes.h"
#include "proto/base/notify.h"

struct daemon {
	uv_loop_t loop;
	struct notify notify;
	struct inherited_fds inherited;

	void (*on_stop)(struct daemon *daemon);   /* required */
	void (*on_reload)(struct daemon *daemon); /* may be NULL: SIGHUP is then ignored */
	void *owner;                              /* for the callbacks; not touched here */

	uint64_t stop_deadline_ms; /* from on_stop to a forced end; default 10,000 */
	bool stopping;
	uv_signal_t sigterm, sigint, sighup;
	uv_timer_t ready_again, watchdog, deadline;
};

/*
 * Opens the journal with a first line, takes inherited descriptors and the notify socket, shuts off
 * io_uring (sandbox.h), makes the loop and its signal handlers. Set the callbacks before
 * daemon_run(). 0 or -errno.
 */
_must_check_ int daemon_init(struct daemon *daemon, const char *program);

/*
 * Tells the service manager that clients can connect now, again until there is room for the word,
 * and starts feeding the watchdog.
 */
void daemon_ready(struct daemon *daemon);

/* Runs until daemon_quit(). 0, or -ETIMEDOUT when the stop deadline had to end it. */
_must_check_ int daemon_run(struct daemon *daemon);

/* Starts an orderly stop, as SIGTERM does. */
void daemon_stop(struct daemon *daemon);

/* Ends the loop after the current callback. */
void daemon_quit(struct daemon *daemon);

/*
 * Closes the skeleton's handles and the loop. Call after the daemon closed its own handles; runs
 * the loop until all close callbacks have been called. A handle that is left open is a bug
 * (assert).
 */
void daemon_close(struct daemon *daemon);
