/*
 * Recovery: from whatever lies in a directory to a catalog, and what has to be written before the
 * log may be appended to.
 *
 * recovery_read() only reads; tools use it alone. It trusts the newest valid footer for the worker
 * table, scans what stands behind it and whatever has no valid footer, and decides what counts:
 *
 *	D: the highest durable mark in any valid record, header or footer.
 *	In the newest segment, at the first place X that is no valid record:
 *	  the sequence expected at X is above D: a torn tail. The log ends there, however many valid
 *	  records stand beyond; they are counted and reported, never changed.
 *	  at or below D: damage. What was there is a gap with bounds, and the log goes on behind it.
 *	In older segments everything counts up to the base of the next one.
 *
 * The same bytes give the same result every time, so a crash anywhere in it repeats it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/catalog.h"
#include "eventlogd/log/finding.h"
#include "proto/base/attributes.h"

struct recovery {
	uint64_t next_seq;       /* the first that is free */
	uint64_t durable_seq;    /* D */
	uint16_t newest_epoch;   /* of any segment; 0: there is none */
	bool is_empty;           /* no segment of ours */
	bool is_clean;           /* the newest one was sealed by the log itself */
	bool has_spare;          /* SEGMENT_SPARE_NAME lies around */
	bool has_compact;        /* SEGMENT_COMPACT_NAME does */
	bool has_stranger_ahead; /* as in the inventory */
	uint64_t rewrite_from;   /* offset in the newest segment, when it is not sealed */
	uint64_t damaged_ranges;
	/* Segments that a "prune" note had taken away and that are still there. */
	char (*pruned)[SEGMENT_NAME_BYTES + 1];
	size_t pruned_count, pruned_allocated;
};

/*
 * Fills an initialised catalog. 0, -EPROTONOSUPPORT, -ENOTUNIQ, -EBADMSG (segments, and none of
 * them tells the log's id), -EIO (the newest segment can't be read), or another -errno.
 */
_must_check_ int recovery_read(
	struct log_view *view, const struct finding_sink *findings, struct recovery *out);
void recovery_free(struct recovery *recovery);

/*
 * Makes the newest segment safe: writes again what is above D, or the trailer when it is sealed,
 * and syncs it; then seals it if there is room and gives its unused blocks back. 0 or -errno.
 */
_must_check_ int recovery_settle(struct log_view *view, const struct recovery *recovery);
