/*
 * Segment: one log segment as it is read: its map, its ends, its index.
 *
 * The active segment and those without a usable footer have their index in memory, sealed ones in
 * their footer. An index only says where to look; every record is verified where it stands.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/file_ops.h"
#include "eventlogd/log/segment_format.h"
#include "eventlogd/log/segment_index.h"
#include "proto/base/attributes.h"

struct scan;
struct scan_item;

struct segment {
	const struct file_ops *ops;
	int directory_fd; /* borrowed */
	char name[SEGMENT_NAME_BYTES + 1];
	uint64_t id; /* unique in this process: tells whether a remembered offset still means it */

	uint8_t log_id[LOG_ID_BYTES];
	uint64_t base, previous_base, durable_seq, file_bytes, allocated_bytes;
	uint32_t salt, features;
	uint16_t epoch;
	bool header_is_damaged, has_log_id;
	bool is_unreadable; /* the disk does not give its pages: reads answer -EIO */

	uint64_t data_end; /* behind the last record that counts */
	uint64_t last_seq; /* of the last record that counts; base - 1: none */
	uint64_t count, last_time_ns;
	/* CRC-32C of the data so far, where append.c keeps it: a segment that began with a roll. */
	uint32_t digest;
	bool has_digest;
	bool is_sealed; /* `trailer` is valid */
	struct segment_trailer trailer;
	uint32_t sections_checked, sections_bad; /* bits by section kind */
	struct segment_index *index;             /* NULL when the footer serves */

	const uint8_t *map;   /* NULL: not mapped */
	uint64_t map_used;    /* when it was asked for last, in the view's count */
	uint64_t scrubbed_ns; /* monotonic; 0: not yet */
	uint64_t inode;       /* when it was opened; 0: made by this process */
	bool is_pinned;       /* the map stays: the sync thread reads it */
};

static inline bool segment_is_compacted(const struct segment *segment)
{
	return (segment->features & SEGMENT_COMPACTED) != 0;
}

enum segment_open_result {
	SEGMENT_OPENED = 0,
	SEGMENT_FOREIGN = 1, /* not a regular file, too short, or by a name that is not its own */
	SEGMENT_NEWER = 2,   /* of a newer format */
};

/*
 * Looks at a file with the name of a segment: an enum segment_open_result or -errno. `header` is
 * set when the header page is valid (header_is_damaged tells). Never follows a link or waits on
 * a FIFO.
 */
_must_check_ int segment_open(struct segment **out, const struct file_ops *ops, int directory_fd,
	const char *name, struct segment_header *header);
/* A segment that this process has just made. Takes the index, also on failure. 0 or -ENOMEM. */
_must_check_ int segment_new_take(struct segment **out, const struct file_ops *ops,
	int directory_fd, const struct segment_header *header, struct segment_index *index);
void segment_free(struct segment *segment); /* NULL is allowed */

_must_check_ int segment_map(struct segment *segment);
/* Takes the salt of its first whole record, of a mapped one. 0, 1 when there is none, or -errno. */
_must_check_ int segment_infer_salt(struct segment *segment); /* 0 or -errno */
void segment_unmap(struct segment *segment);

/* From now on the footer serves. */
void segment_seal(
	struct segment *segment, const struct segment_trailer *trailer, uint64_t allocated_bytes);

/*
 * The rest needs the map (segment_map()). 0 found, 1 there is none, -errno: -EIO, or -EBADMSG when
 * the footer's section is damaged (then segment_build_index()).
 */

/* Where to start walking to reach `sequence`. Always found: the first record at worst. */
_must_check_ int segment_seek(struct segment *segment, uint64_t sequence, uint64_t *offset);

/* Where a worker's records from this sequence on stand: up to `max`, in order. */
_must_check_ int segment_worker_entries(struct segment *segment, const char *worker, size_t len,
	uint64_t sequence, struct index_entry *out, size_t max, size_t *count);

/* The first range of damage that ends at or behind this sequence. */
_must_check_ int segment_damage_next(
	struct segment *segment, uint64_t sequence, struct damage_range *out);

/* A scan of its records from the first one, up to data_end (or the trailer, `to_file_end`). */
struct scan segment_scan(const struct segment *segment, bool to_file_end);
/* scan_next() under the guard: an enum scan_result or -EIO. */
_must_check_ int segment_scan_next(
	const struct segment *segment, struct scan *scan, struct scan_item *out);

/* Adds a record that a scan found. 0 or -ENOMEM. */
_must_check_ int segment_index_add_item(
	struct segment_index *index, uint64_t base, const struct scan_item *item);

/* Scans, and from then on uses an index in memory. 0 or -errno. */
_must_check_ int segment_build_index(struct segment *segment);
