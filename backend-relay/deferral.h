/*
 * Deferrals: what is to happen at a certain time, for answers that must not come too soon.
 *
 * One timer for all of them. A deferral is part of its owner's struct; it happens once, from the
 * loop, unless it is cancelled.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

struct deferral {
	void (*on_due)(struct deferral *deferral);
	uint64_t due_ns; /* monotonic */
	bool is_waiting;
	TAILQ_ENTRY(deferral) link;
};

TAILQ_HEAD(deferral_list, deferral);

struct deferrals {
	uv_timer_t timer;
	struct deferral_list waiting; /* the next one first */
};

void deferrals_open(struct deferrals *deferrals, uv_loop_t *loop);
/* Nothing that waits will happen; the owners cancel, which then costs nothing. */
void deferrals_close(struct deferrals *deferrals); /* fine when it was not opened */

void deferral_start(struct deferrals *deferrals, struct deferral *deferral, uint64_t due_ns,
	void (*on_due)(struct deferral *deferral));
void deferral_cancel(struct deferrals *deferrals, struct deferral *deferral);
