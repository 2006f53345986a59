/*
 * What a log segment looks like on disk: its name, its header page and its trailer.
 *
 *	0            4096                        data_end          file_bytes-256  file_bytes
 *	+------------+---------------------------+-  -  -  -+-------+---------------+
 *	| header     | records, 8-byte aligned   |  unused  |footer | trailer       |
 *	+------------+---------------------------+-  -  -  -+-------+---------------+
 *
 * The header is written once, before the first record. Footer and trailer are written when the
 * segment is sealed; until then zeros stand there. The name is "<base>-<epoch>.seg" in hex.
 *
 * Header page (4096 bytes)              Trailer (256 bytes)
 *	0   8  "SLSEGMT1"                     0   8  "SLTRAIL1"
 *	8   4  check of 12..4095              8   4  check of 12..255
 *	12  2  format version                 12  2  format version
 *	14  2  epoch                          14  2  epoch
 *	16  4  features                       16  4  flags
 *	20  4  salt                           20  4  salt
 *	24  16 log id                         24  16 log id
 *	40  8  base sequence                  40  8  base sequence
 *	48  8  created, ns                    48  8  first sequence, 0: no records
 *	56  8  file bytes                     56  8  last sequence (base - 1: no records)
 *	64  8  base of the segment before     64  8  time of the first record, ns
 *	72  8  newest durable sequence then   72  8  time of the last record, ns
 *	80  4  number of epochs               80  8  number of records
 *	84  4  zero                           88  8  data_end
 *	88  10 each: epoch 2, first seq 8     96  4  digest: CRC-32C of 4096..data_end
 *	                                      100 4  features
 *	                                      104 8  highest pruned sequence of the log
 *	                                      112 8  forgotten through
 *	                                      120 8  base of the oldest retained segment
 *	                                      128 24 each section: offset 8, bytes 8,
 *	                                             count 4, check 4
 *
 * All checks are CRC-32C. A reader refuses a version above its own and a header with a feature bit
 * that it does not know.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"

/* Of a whole segment. */
#define SEGMENT_BYTES_MIN (UINT64_C(64) << 10)
#define SEGMENT_BYTES_MAX (UINT64_C(1) << 30)

enum {
	SEGMENT_HEADER_BYTES = 4096,
	SEGMENT_TRAILER_BYTES = 256,
	SEGMENT_FORMAT_VERSION = 1,
	SEGMENT_EPOCHS_AT = 88,
	SEGMENT_EPOCH_BYTES = 10,
	SEGMENT_EPOCHS_MAX = (SEGMENT_HEADER_BYTES - SEGMENT_EPOCHS_AT) / SEGMENT_EPOCH_BYTES,
	SEGMENT_NAME_BYTES = 16 + 1 + 4 + 4,
	LOG_ID_BYTES = 16,
};

/* The spare segment, and a compacted one while it is being made: dropped at start. */
#define SEGMENT_SPARE_NAME "next.tmp"
#define SEGMENT_COMPACT_NAME "compact.tmp"

enum segment_feature {
	SEGMENT_COMPACTED = 1, /* a missing sequence was pruned, not damaged */
	SEGMENT_FEATURES_KNOWN = 1,
};

enum trailer_flag {
	TRAILER_RECOVERED = 1, /* sealed by recovery: the next start begins a new epoch */
};

/* Sequences from first_seq on, up to the next entry's, were given in this epoch. */
struct epoch_entry {
	uint64_t first_seq;
	uint16_t epoch;
};

struct segment_header {
	uint8_t log_id[LOG_ID_BYTES];
	uint64_t base, created_ns, file_bytes, previous_base, durable_seq;
	uint32_t features, salt;
	uint16_t epoch;
	uint32_t epoch_count;
	struct epoch_entry epochs[SEGMENT_EPOCHS_MAX];
};

enum segment_section_kind {
	SECTION_SPARSE, /* see footer.h */
	SECTION_ROWS,
	SECTION_ROW_OFFSETS,
	SECTION_ENTRIES,
	SECTION_DAMAGE,
	SECTION_COUNT,
};

struct segment_section {
	uint64_t offset, bytes;
	uint32_t count, check;
};

struct segment_trailer {
	uint8_t log_id[LOG_ID_BYTES];
	uint64_t base, first_seq, last_seq, first_time_ns, last_time_ns, count, data_end;
	uint64_t highest_pruned, forgotten_through, oldest_base;
	uint32_t flags, salt, digest, features;
	uint16_t epoch;
	struct segment_section sections[SECTION_COUNT];
};

enum segment_format_result {
	SEGMENT_FORMAT_OK = 0,
	SEGMENT_FORMAT_DAMAGED = 1, /* no such page, or its check is wrong */
	SEGMENT_FORMAT_NEWER = 2,
};

void segment_header_encode(const struct segment_header *header, uint8_t out[SEGMENT_HEADER_BYTES]);
_must_check_ enum segment_format_result segment_header_decode(
	const uint8_t bytes[SEGMENT_HEADER_BYTES], struct segment_header *out);

void segment_trailer_encode(
	const struct segment_trailer *trailer, uint8_t out[SEGMENT_TRAILER_BYTES]);
/* Also checks that data and sections lie within a file of this size. */
_must_check_ enum segment_format_result segment_trailer_decode(
	const uint8_t bytes[SEGMENT_TRAILER_BYTES], uint64_t file_bytes,
	struct segment_trailer *out);

void segment_name_format(uint64_t base, uint16_t epoch, char out[SEGMENT_NAME_BYTES + 1]);
bool segment_name_parse(const char *name, uint64_t *base, uint16_t *epoch);
