/*
 * File operations that fail on demand, over the system's: for tests of eventlogd/log.
 *
 * One rule at a time: from the `after`-th call of one operation on, counted from when the rule was
 * set, it answers an error or writes short, once or until the rule is taken back. May be used from
 * the loop's thread and the sync thread.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "eventlogd/log/file_ops.h"

enum fault_op {
	FAULT_NONE,
	FAULT_OPEN,
	FAULT_PREAD,
	FAULT_PWRITEV,
	FAULT_FDATASYNC,
	FAULT_FSYNC,
	FAULT_FALLOCATE,
	FAULT_RENAME,
	FAULT_UNLINK,
	FAULT_MAP,
	FAULT_STAT,
	FAULT_PREPARE,
	FAULT_LIST,
	FAULT_CLOSE, /* closes, and answers the error, as the system does */
	FAULT_UNMAP,
	FAULT_FREE_BYTES,
	FAULT_OP_COUNT,
};

struct fault_ops {
	struct file_ops ops; /* give this to the log */
	pthread_mutex_t mutex;
	enum fault_op op;
	int error; /* -errno; 0: a short write of half the bytes */
	unsigned int after;
	bool is_sticky;
	bool does_write;                    /* a failing write has written half of it before */
	uint64_t free_bytes;                /* what free_bytes answers; UINT64_MAX: the system's */
	unsigned int calls[FAULT_OP_COUNT]; /* since fault_ops_init() */
	unsigned int failed;                /* since the rule was set */
	pthread_cond_t changed;
	bool holds_syncs, sync_is_held;
};

void fault_ops_init(struct fault_ops *faults);
void fault_ops_free(struct fault_ops *faults);
void fault_ops_set(
	struct fault_ops *faults, enum fault_op op, int error, unsigned int after, bool is_sticky);
void fault_ops_clear(struct fault_ops *faults);

/* Keeps the next fdatasync from coming back until it is released. */
void fault_ops_hold_syncs(struct fault_ops *faults);
void fault_ops_await_held(struct fault_ops *faults); /* until there is one */
void fault_ops_release_syncs(struct fault_ops *faults);
unsigned int fault_ops_calls(struct fault_ops *faults, enum fault_op op);
const char *fault_op_name(enum fault_op op);
