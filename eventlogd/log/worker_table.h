/*
 * Worker table: what the log knows of each worker beside its records.
 *
 * Cumulative over the life of the log: it is written into every footer and brought up to date from
 * the records behind it at start. At most `max` rows: a row without retained records makes room for
 * a new worker (the one whose newest record is oldest first), and raises forgotten_through. So what
 * was pruned of a worker is at most highest_pruned of its row, and without a row, or before its
 * first record, at most forgotten_through: never more than is said, whoever was forgotten.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/log_worker.h"
#include "proto/base/attributes.h"
#include "proto/base/map.h"
#include "proto/ids.h"
#include "proto/record.h"

struct index_list;

#define PRODUCERS_PER_WORKER_MAX 64u

/* A producer's own count for one worker. */
struct producer {
	uint64_t key;    /* record_producer() */
	uint64_t stored; /* last number in the log */
	uint64_t staged; /* last number accepted; >= stored */
	uint64_t used;   /* newest sequence of the log when it published last */
};

struct worker {
	UT_hash_handle hh;
	struct id id;
	uint8_t id_len;
	uint32_t owner_uid;
	uint64_t newest_seq, newest_keyframe, highest_pruned, retained_count, retained_bytes;
	uint64_t visible_keyframe; /* the newest one that was visible when a newer was written */
	struct producer *producers;
	uint32_t producer_count, producers_allocated;
	/* What compacted segments keep of it, and nothing says that it is pruned. */
	uint64_t reserve_count, reserve_bytes, reserve_last;
	uint32_t reserve_segments;      /* that it is in */
	bool forget_is_due;             /* its note is still to be written */
	bool is_released;               /* finished: nothing of it is kept beyond the plain rule */
	uint32_t staged_batches;        /* it can't be forgotten while there are some */
	struct index_list *active_list; /* in the index of the segment with this id: */
	uint64_t active_segment_id;
};

struct uid_count;

struct worker_table {
	struct worker *workers; /* by id */
	uint32_t count, max;
	struct uid_count *uids;
	uint64_t encoded_bytes; /* what all rows take in a footer */
	uint64_t forgotten_through;
	uint64_t highest_pruned; /* of all workers, forgotten ones too */
	uint64_t oldest_base;    /* of the oldest segment that the numbers account for */
	uint64_t loss_count;     /* how often any row or number above said that more is gone */
	struct worker **sorted;  /* by id; made when asked for */
	bool sorted_is_stale;
	/* Rows that were without records when it was last looked, by their newest sequence; those
	 * before idle_next have been taken. Stale: more may be. */
	struct worker **idle;
	uint32_t idle_count, idle_next;
	bool idle_is_stale;
};

/* Fixed part of a row in a footer, before the id and the producers. */
enum { WORKER_ROW_BYTES = 64, WORKER_ROW_PRODUCER_BYTES = 24, WORKER_ROW_OFFSET_BYTES = 4 };

void worker_table_init(struct worker_table *table, uint32_t max);
void worker_table_free(struct worker_table *table);

struct worker *worker_table_find(const struct worker_table *table, const char *id, size_t len);

enum worker_table_result {
	WORKER_TABLE_OK = 0,
	WORKER_TABLE_FULL = 1, /* and nothing in it may give way */
	WORKER_TABLE_BUSY = 2, /* what would give way has something staged */
};

/*
 * Finds or makes a row. An enum worker_table_result, -EINVAL (not an id) or -ENOMEM.
 * `grow_past_max`: never full; for recovery, which must not lose what is in the log.
 */
_must_check_ int worker_table_get(struct worker_table *table, const char *id, size_t len,
	uint32_t owner_uid, bool grow_past_max, struct worker **out);

/* Takes a row out that has neither records nor anything staged; keeps its end in mind. */
void worker_table_forget(struct worker_table *table, struct worker *worker);

void worker_table_set_owner(struct worker_table *table, struct worker *worker, uint32_t uid);
uint32_t worker_table_uid_count(const struct worker_table *table, uint32_t uid);

struct producer *worker_find_producer(const struct worker *worker, uint64_t key);

/*
 * Finds or makes a producer; the one used longest ago gives way to one too many, and to any new one
 * unless the row may grow. An enum worker_table_result or -ENOMEM.
 */
_must_check_ int worker_table_producer(struct worker_table *table, struct worker *worker,
	uint64_t key, bool may_grow, struct producer **out);

/*
 * A record of this worker, or a note of its producer's position, is in the log now. With its first
 * record a row counts as pruned up to forgotten_through: it may be that of a forgotten worker.
 */
void worker_table_apply_record(const struct worker_table *table, struct worker *worker,
	const struct record *record, size_t size, uint64_t visible_seq);
_must_check_ int worker_table_apply_producer(
	struct worker_table *table, struct worker *worker, const struct record *record);

/*
 * `count` records of `bytes` up to and including sequence `through` are gone. Nothing to a row that
 * counts as pruned up to there: it never counted them.
 */
void worker_table_prune(struct worker_table *table, struct worker *worker, uint64_t through,
	uint64_t count, uint64_t bytes);

/*
 * What is below oldest_base is gone without anyone having said whose it was: every worker that may
 * have had records there counts as pruned up to there.
 */
void worker_table_prune_unaccounted(struct worker_table *table, uint64_t oldest_base);

/* Rows by ascending id; NULL: no memory. Valid until a row comes or goes. */
struct worker *const *worker_table_sorted(struct worker_table *table);

/* Position of the first row after this id. */
size_t worker_table_after(struct worker_table *table, const char *id, size_t len);

void worker_describe(const struct worker *worker, struct log_worker *out);

/* Bytes of one row in a footer, its offset included. */
size_t worker_row_bytes(const struct worker *worker);
