/*
 * Scrub: the data of sealed segments, read again slowly and held against their digests.
 *
 * The loop chooses a segment and asks for one piece of at most SCRUB_PIECE_BYTES a tick, so the
 * disk is never read faster than 4 MiB/s for it; the sync thread reads the piece when nothing else
 * is to be done. Each segment has its turn when the log is opened and once a day. What does not
 * match is reported and counted, never changed: readers judge each record by its own checks.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "eventlogd/log/segment.h"
#include "proto/base/attributes.h"

#define SCRUB_PIECE_BYTES (UINT64_C(1) << 20)
#define SCRUB_PERIOD_NS (UINT64_C(86400) * 1000000000)

struct scrub {
	const struct file_ops *ops;
	int directory_fd;
	char name[SEGMENT_NAME_BYTES + 1];
	uint64_t segment_id; /* 0: nothing is scrubbed now */
	uint64_t file_bytes, inode;
	uint64_t offset, end; /* where the next piece begins, and the data ends */
	uint32_t digest, expected;
};

void scrub_begin(struct scrub *scrub, const struct segment *segment);

enum scrub_result {
	SCRUB_MATCHES = 0,
	SCRUB_GOES_ON = 1,
	SCRUB_DIFFERS = 2,
};

/* Reads one piece. An enum scrub_result, -ENOENT (the segment is not there any more), or -errno. */
_must_check_ int scrub_step(struct scrub *scrub);
