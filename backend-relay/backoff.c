#include "backend-relay/backoff.h"

enum { DOUBLINGS_MAX = 30 };

uint64_t backoff_next_ms(struct backoff *backoff, uint32_t random)
{
	unsigned int doublings = backoff->attempts < DOUBLINGS_MAX ? backoff->attempts
								   : DOUBLINGS_MAX;
	uint64_t ceiling = backoff->base_ms << doublings;
	if (ceiling > backoff->cap_ms)
		ceiling = backoff->cap_ms;
	backoff->attempts++;
	/* ceiling stays below 2^32 ms (49 days), so the product fits. */
	return (ceiling * random) >> 32;
}

void backoff_reset(struct backoff *backoff)
{
	backoff->attempts = 0;
}
