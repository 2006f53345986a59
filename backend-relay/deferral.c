#include "backend-relay/deferral.h"

#include <assert.h>
#include <stddef.h>

#include "proto/base/clock.h"

static void deferrals_on_timer(uv_timer_t *timer);

/* Never early: libuv counts whole milliseconds from when the loop last looked. */
static void wind(struct deferrals *deferrals)
{
	const struct deferral *next = TAILQ_FIRST(&deferrals->waiting);
	if (next == NULL) {
		uv_timer_stop(&deferrals->timer);
		return;
	}
	uint64_t now_ns = clock_monotonic_ns();
	uint64_t wait_ns = next->due_ns > now_ns ? next->due_ns - now_ns : 0;
	uv_update_time(deferrals->timer.loop);
	uv_timer_start(
		&deferrals->timer, deferrals_on_timer, (wait_ns + NS_PER_MS - 1) / NS_PER_MS, 0);
}

static void deferrals_on_timer(uv_timer_t *timer)
{
	struct deferrals *deferrals = timer->data;
	uint64_t now_ns = clock_monotonic_ns();
	struct deferral *next;
	while ((next = TAILQ_FIRST(&deferrals->waiting)) != NULL && next->due_ns <= now_ns) {
		TAILQ_REMOVE(&deferrals->waiting, next, link);
		next->is_waiting = false;
		next->on_due(next);
	}
	wind(deferrals);
}

void deferrals_open(struct deferrals *deferrals, uv_loop_t *loop)
{
	TAILQ_INIT(&deferrals->waiting);
	uv_timer_init(loop, &deferrals->timer);
	deferrals->timer.data = deferrals;
}

void deferrals_close(struct deferrals *deferrals)
{
	if (deferrals->timer.data != NULL && !uv_is_closing((uv_handle_t *)&deferrals->timer))
		uv_close((uv_handle_t *)&deferrals->timer, NULL);
}

void deferral_start(struct deferrals *deferrals, struct deferral *deferral, uint64_t due_ns,
	void (*on_due)(struct deferral *deferral))
{
	assert(!deferral->is_waiting);
	deferral->on_due = on_due;
	deferral->due_ns = due_ns;
	deferral->is_waiting = true;
	/* Most are due about as far ahead as the one before: the place is near the end. */
	struct deferral *before = TAILQ_LAST(&deferrals->waiting, deferral_list);
	while (before != NULL && before->due_ns > due_ns)
		before = TAILQ_PREV(before, deferral_list, link);
	if (before != NULL)
		TAILQ_INSERT_AFTER(&deferrals->waiting, before, deferral, link);
	else
		TAILQ_INSERT_HEAD(&deferrals->waiting, deferral, link);
	if (TAILQ_FIRST(&deferrals->waiting) == deferral)
		wind(deferrals);
}

void deferral_cancel(struct deferrals *deferrals, struct deferral *deferral)
{
	if (!deferral->is_waiting)
		return;
	deferral->is_waiting = false;
	TAILQ_REMOVE(&deferrals->waiting, deferral, link);
}
