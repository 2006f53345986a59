/*
 * What the log tells of a worker: to those who publish for it, read it or operate it.
 */
#pragma once

#include <stdint.h>

/* The id is borrowed until the next call on the log. */
struct log_worker {
	const char *id;
	uint32_t owner_uid;
	uint64_t newest_seq;      /* 0: nothing written yet */
	uint64_t newest_keyframe; /* 0: none */
	uint64_t highest_pruned;  /* 0: nothing of it was pruned or may have been forgotten */
	uint64_t retained_count;  /* records */
	uint64_t retained_bytes;
};
