#include "eventlogd/lookout.h"

#include <sched.h>

#include "proto/base/clock.h"

/* Only keeps the loop from waiting. */
static void lookout_on_idle(uv_idle_t *idle)
{
	struct lookout *lookout = idle->data;
	sched_yield();
	if (clock_monotonic_ns() >= lookout->end_ns)
		uv_idle_stop(idle);
}

void lookout_init(struct lookout *lookout, uv_loop_t *loop)
{
	uv_idle_init(loop, &lookout->idle);
	lookout->idle.data = lookout;
}

void lookout_note(struct lookout *lookout, bool is_drained, uint64_t now_ns)
{
	if (is_drained) {
		uv_idle_stop(&lookout->idle);
		if (lookout->idle_since_ns == 0)
			lookout->idle_since_ns = now_ns;
		return;
	}
	if (lookout->idle_since_ns != 0 && now_ns - lookout->idle_since_ns < LOOKOUT_SOON_NS) {
		lookout->end_ns = now_ns + LOOKOUT_NS;
		uv_idle_start(&lookout->idle, lookout_on_idle);
	}
	lookout->idle_since_ns = 0;
}

void lookout_close(struct lookout *lookout)
{
	uv_close((uv_handle_t *)&lookout->idle, NULL);
}
