/*
 * Wakeups: "run this once, soon, from the loop and not from within the caller".
 *
 * What arrives (events, verdicts, room on a socket) only changes state and wakes who is concerned;
 * what follows from it (delivering, joining, closing) runs from here. So no object is freed while
 * one of its callers is on the stack, and many arrivals in one turn of the loop are one run.
 *
 * A wakeup that is scheduled again while it runs is run again after the loop has looked at its
 * sockets. Cancelling is always allowed.
 */
#pragma once

#include <stdbool.h>
#include <sys/queue.h>
#include <uv.h>

#include "proto/base/attributes.h"

struct wakeup {
	void (*run)(struct wakeup *wakeup);
	void *owner;

	/* private */
	struct wakeups *queue;
	bool scheduled;
	TAILQ_ENTRY(wakeup) link;
};
TAILQ_HEAD(wakeup_list, wakeup);

struct wakeups {
	uv_idle_t idle; /* runs before the loop waits for sockets */
	struct wakeup_list waiting, running;
};

_must_check_ int wakeups_open(struct wakeups *wakeups, uv_loop_t *loop);
/* Nothing may be scheduled any more. The handle closes from the loop. */
void wakeups_close(struct wakeups *wakeups);

void wakeup_init(struct wakeup *wakeup, struct wakeups *queue, void (*run)(struct wakeup *wakeup),
	void *owner);
void wakeup_schedule(struct wakeup *wakeup);
void wakeup_cancel(struct wakeup *wakeup);
