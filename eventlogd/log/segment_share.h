/*
 * Shares: what each worker has in one segment, from its footer, its index in memory or, where
 * neither can be read, from its records.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/catalog.h"
#include "proto/base/attributes.h"

struct segment_share {
	const char *worker; /* borrowed until return */
	uint8_t worker_len;
	uint64_t first_seq, last_seq, count, bytes;
};

/* Not 0 ends the walk with it. */
typedef int (*segment_share_fn)(void *owner, const struct segment_share *share);

/*
 * Calls back for every worker with records there. 0; what a callback answered; -EIO when the disk
 * does not answer; -ENOMEM.
 */
_must_check_ int segment_shares(
	struct log_view *view, struct segment *segment, segment_share_fn fn, void *owner);

/*
 * What of a share is above a sequence. The number is exact; the bytes are its part of the share's.
 * 0 or as above.
 */
_must_check_ int segment_share_after(struct log_view *view, struct segment *segment,
	const struct segment_share *share, uint64_t sequence, uint64_t *count, uint64_t *bytes);
