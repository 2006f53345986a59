/*
 * Keeps the loop awake for the end of a sync that is near.
 *
 * In durable mode a publisher that writes its next batch as soon as it has the ACK of the last one
 * waits for one sync after the other, and what the loop needs to wake up is a tenth of that time.
 * So for a batch that came that soon, the loop polls instead of sleeping, for at most
 * LOOKOUT_NS: on a slower disk it is not worth it. Publishers that take their time cost nothing.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#define LOOKOUT_SOON_NS UINT64_C(100000)
#define LOOKOUT_NS UINT64_C(300000)

struct lookout {
	uv_idle_t idle;
	uint64_t idle_since_ns; /* monotonic; when the last ACK became due; 0: one still is not */
	uint64_t end_ns;
};

void lookout_init(struct lookout *lookout, uv_loop_t *loop);
/* At each turn: whether all that was staged is acknowledged. */
void lookout_note(struct lookout *lookout, bool is_drained, uint64_t now_ns);
void lookout_close(struct lookout *lookout);
