/*
 * Verify: reads every byte of a log and holds records, footers and indexes against each other.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "eventlogd/log/finding.h"
#include "eventlogd/log/view.h"
#include "proto/base/attributes.h"

struct verify_result {
	uint64_t segments, records, bytes;
	uint64_t damage_count; /* findings of severity FINDING_DAMAGE */
	uint64_t oldest_seq, newest_seq;
};

/* Called a few times a second with what is done of what there is; false ends early (-ECANCELED). */
typedef bool (*verify_progress_fn)(void *owner, uint64_t done_bytes, uint64_t total_bytes);

/*
 * Of a view from log_view_open(). Findings go to the sink. 0, also when damage was found (see
 * damage_count); -ECANCELED; -ENOMEM. Read errors are findings.
 */
_must_check_ int log_verify(struct log_view *view, const struct finding_sink *findings,
	verify_progress_fn progress, void *progress_owner, struct verify_result *out);
