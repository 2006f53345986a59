#include "backend-relay/outage.h"

static bool is_over(const struct outage *outage, uint64_t now_ns)
{
	return outage->better_ns != 0 && now_ns - outage->better_ns >= OUTAGE_OVER_NS;
}

bool outage_note_failure(struct outage *outage, uint64_t now_ns)
{
	bool begins = outage->since_ns == 0 || is_over(outage, now_ns) ||
		      (outage->better_ns != 0 && outage->moved);
	if (begins)
		*outage = (struct outage){.since_ns = now_ns};
	outage->better_ns = 0;
	return begins;
}

void outage_note_better(struct outage *outage, uint64_t now_ns)
{
	if (outage->since_ns != 0 && outage->better_ns == 0)
		outage->better_ns = now_ns;
}

void outage_note_progress(struct outage *outage)
{
	if (outage->better_ns != 0)
		*outage = (struct outage){0};
	outage->moved = outage->since_ns != 0;
}

bool outage_is_too_long(const struct outage *outage, uint64_t limit_ns, uint64_t now_ns)
{
	return outage->since_ns != 0 && outage->better_ns == 0 && now_ns > outage->since_ns &&
	       now_ns - outage->since_ns > limit_ns;
}
