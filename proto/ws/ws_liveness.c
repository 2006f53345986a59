#include "proto/ws/ws_liveness.h"

#include <stdbool.h>

#include "proto/base/clock.h"

enum ws_liveness_verdict ws_liveness_check(
	struct ws_liveness *liveness, const struct ws_liveness_policy *policy, uint64_t now_ns)
{
	uint64_t silent_ns = now_ns - liveness->heard_ns;
	/* A loop that was late asks first: silence counts only behind a ping. */
	bool has_asked = liveness->asked_ns > liveness->heard_ns;
	if (has_asked)
		return silent_ns >= policy->hang_up_after_ns &&
				       now_ns - liveness->asked_ns >= NS_PER_S
			       ? WS_LOST
			       : WS_ALIVE;
	if (silent_ns < policy->ping_after_ns)
		return WS_ALIVE;
	liveness->asked_ns = now_ns;
	return WS_ASK;
}
