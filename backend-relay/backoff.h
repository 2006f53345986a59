/*
 * How long to wait before the next attempt: exponential, with full jitter.
 *
 * The n-th delay is uniform between 0 and min(cap, base * 2^n), so that many peers that lost the
 * same thing at the same time do not come back at the same time ("Exponential Backoff And Jitter",
 * AWS Architecture Blog, 2015). The caller brings the randomness, so that tests can.
 */
#pragma once

#include <stdint.h>

struct backoff {
	uint64_t base_ms, cap_ms;
	unsigned int attempts; /* since the last success */
};

/* The delay before the next attempt; counts it. `random` is uniform over 32 bits. */
uint64_t backoff_next_ms(struct backoff *backoff, uint32_t random);

/* After a success: the next failure starts from the base again. */
void backoff_reset(struct backoff *backoff);
