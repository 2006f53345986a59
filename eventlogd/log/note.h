/*
 * Notes: the log's own records (RECORD_INTERNAL), told apart by their kind.
 *
 *	"mark"      nothing; its durable lag says what is on the disk; when the log goes idle
 *	"position"  worker, producer, producer_seq: a number that was taken and stored nothing
 *	"forget"    worker: finished, nothing of it is kept beyond the plain rule
 *	"prune"     what retention is about to take away, written and synced before it does
 *
 * Payload of "prune": base of the oldest segment that stays 8, highest pruned sequence 8, rows 4,
 * then each row: newest pruned sequence 8, records 8, bytes 8, length of the id 1, id.
 * A note of another kind is ignored, so new ones can be added.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/record.h"

struct buf;
struct worker_table;

enum note_kind { NOTE_MARK, NOTE_POSITION, NOTE_PRUNE, NOTE_FORGET, NOTE_OTHER };

enum note_kind note_kind(const struct record *record);

/* An internal record of this kind; fill in the rest. */
struct record note_record(enum note_kind kind, uint64_t newest_seq, uint64_t wall_ns);

struct prune_row {
	const char *worker;
	uint8_t worker_len;
	uint64_t through, count, bytes;
};

_must_check_ int note_prune_begin(struct buf *out, uint64_t oldest_base, uint64_t highest_pruned);
_must_check_ int note_prune_add(struct buf *out, const struct prune_row *row);

/* Brings a table up to date with a "prune" note. False when it is malformed: nothing applied. */
bool note_prune_apply(const struct record *note, struct worker_table *table);
