/*
 * Seal: the footer of a segment that gets no more records, from memory to the disk.
 *
 * seal_prepare() encodes it, on the loop's thread, where index and worker table stand still;
 * seal_write() does the slow part and touches nothing but the file, so it may run elsewhere.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "eventlogd/log/segment.h"
#include "proto/base/attributes.h"
#include "proto/base/buf.h"

struct worker_table;

struct seal {
	struct segment_trailer trailer;
	struct buf bytes; /* body and trailer, for the end of the file */
	uint64_t file_bytes;
	uint64_t allocated_bytes; /* set by seal_write() */
	bool has_digest;
};

/* 0, -ENOMEM, or -ENOSPC when the footer would not fit behind the data. */
_must_check_ int seal_prepare(struct seal *seal, const struct segment *segment,
	struct worker_table *table, uint32_t flags, const uint8_t log_id[LOG_ID_BYTES]);

enum seal_result { SEAL_WRITTEN = 0, SEAL_NO_ROOM = 1 /* not sealed, and nothing is lost */ };

/*
 * Digest, body, sync, trailer, sync; then the unused blocks between data and footer go back to the
 * file system. The data must have been synced before. An enum seal_result, or -errno: what the log
 * must not go on after.
 */
_must_check_ int seal_write(struct seal *seal, const struct file_ops *ops, int fd);
void seal_free(struct seal *seal);
