/* The loop's side of a scrub: which segment is next, and what becomes of the result. */
#include <errno.h>

#include "eventlogd/log/event_log_private.h"

/* The sealed segment that was not looked at for longest; NULL: all were, within the period. */
static struct segment *choose_segment(const struct log_view *view, uint64_t monotonic_ns)
{
	struct segment *chosen = NULL;
	for (size_t i = 0; i < view->segment_count; i++) {
		struct segment *segment = view->segments[i];
		bool is_due = segment->scrubbed_ns == 0 ||
			      monotonic_ns - segment->scrubbed_ns >= SCRUB_PERIOD_NS;
		if (segment->is_sealed && is_due &&
			(chosen == NULL || segment->scrubbed_ns < chosen->scrubbed_ns))
			chosen = segment;
	}
	return chosen;
}

void log_scrub_tick(struct event_log *log, uint64_t monotonic_ns)
{
	if (log->scrub_asked)
		return;
	if (log->scrub.segment_id == 0) {
		struct segment *segment = choose_segment(&log->view, monotonic_ns);
		if (segment == NULL)
			return;
		segment->scrubbed_ns = monotonic_ns;
		scrub_begin(&log->scrub, segment);
	}
	log->scrub_asked = true;
	syncer_request_scrub(&log->syncer, &log->scrub);
}

void log_scrub_done(struct event_log *log, int result)
{
	struct scrub *scrub = &log->scrub;
	log->scrub_asked = false;
	if (result == SCRUB_GOES_ON)
		return;
	struct finding finding = {.kind = FINDING_DIGEST_WRONG,
		.file = scrub->name,
		.offset = SEGMENT_HEADER_BYTES,
		.bytes = scrub->end - SEGMENT_HEADER_BYTES};
	if (result == SCRUB_MATCHES || result == SCRUB_DIFFERS) {
		log->counters.scrubbed_segments++;
		log->counters.scrubbed_bytes += finding.bytes;
	}
	if (result == SCRUB_DIFFERS) {
		log->counters.scrub_mismatches++;
	} else if (result < 0 && result != -ENOENT && result != -ENOMEM) {
		log->counters.scrub_errors++;
		finding.kind = FINDING_READ_ERROR;
		finding.error = result;
	}
	if (result != SCRUB_MATCHES && result != -ENOENT && result != -ENOMEM)
		finding_report(&log->config.findings, &finding);
	scrub->segment_id = 0;
}
