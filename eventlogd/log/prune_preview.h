/*
 * What retention would take away now, of a directory that is only read.
 */
#pragma once

#include <stdint.h>

#include "eventlogd/log/retention.h"
#include "eventlogd/log/view.h"
#include "proto/base/attributes.h"

struct prune_preview {
	const char *file; /* borrowed until return */
	uint64_t first_seq, last_seq, count, allocated_bytes, last_time_ns;
	/* Of it, at most, what would stay in the keyframe reserve while there is room. */
	uint64_t kept_workers, kept_bytes;
};

typedef void (*prune_preview_fn)(void *owner, const struct prune_preview *preview);

/*
 * Calls back for each segment that would go, oldest first. `now_ns`: the wall clock. The spare
 * segment of a running daemon is counted as it would count it. 0 or -errno.
 */
_must_check_ int log_prune_preview(struct log_view *view, const struct retention_limits *limits,
	uint64_t now_ns, prune_preview_fn fn, void *owner);
