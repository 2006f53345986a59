/*
 * A record: an event as it is stored in a log segment and sent on the tail socket, byte for byte.
 *
 *	 0       4       8      12      16      20      24              32
 *	 +-------+-------+-------+-------+-------+-------+---------------+
 *	 |length |header |body   |salt   |offset |durable|sequence       |
 *	 |       |check  |check  |       |       |lag    |               |
 *	 +-------+-------+-------+---+-+-+-------+-------+---------------+
 *	 |time_ns        |owner  |ep |f|w|  body, from byte 48
 *	 +---------------+-------+---+-+-+
 *	32              40      44  46 47
 *
 *	body:	[source_time_ns 8]  [producer 8, producer_seq 8]  worker id (w bytes)
 *		kind length 1, kind  payload  zeros up to a multiple of 8
 *
 * length: bytes without the zeros at the end; the record occupies length rounded up to 8.
 * header check: CRC-32C of bytes 0..3 and 8..47, so a place can be judged without its body.
 * body check: CRC-32C of the body with its zeros. Neither is seeded: a record verifies by itself.
 * salt, offset: of the segment and the place that it was written for. A reader of the file demands
 * them, so bytes that were moved, copied or left over never validate; a reader of the socket does
 * not care. durable lag: sequence minus the newest sequence that was known to be on the disk when
 * this was written (RECORD_LAG_MAX: at least that).
 * owner: uid that the worker id belongs to. ep: epoch. f: flags. w: length of the worker id.
 *
 * Integers are little-endian. The two bracketed parts are there when their flag is set.
 *
 * A record with RECORD_INTERNAL is the log's own bookkeeping: it has no sequence of its own (the
 * field tells the newest one written before it), its `kind` names what it is, and it is given to no
 * reader.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/base/bytes.h"
#include "proto/limits.h"

enum {
	RECORD_LENGTH_AT = 0,
	RECORD_HEADER_CHECK_AT = 4,
	RECORD_BODY_CHECK_AT = 8,
	RECORD_SALT_AT = 12,
	RECORD_OFFSET_AT = 16,
	RECORD_DURABLE_LAG_AT = 20,
	RECORD_SEQUENCE_AT = 24,
	RECORD_TIME_AT = 32,
	RECORD_OWNER_AT = 40,
	RECORD_EPOCH_AT = 44,
	RECORD_FLAGS_AT = 46,
	RECORD_WORKER_LEN_AT = 47,
	RECORD_HEADER_BYTES = 48,
	RECORD_ALIGNMENT = 8,
};

enum record_flags {
	RECORD_KEYFRAME = 1,
	RECORD_HAS_SOURCE_TIME = 2,
	RECORD_HAS_PRODUCER = 4,
	RECORD_INTERNAL = 8,
	RECORD_FLAGS_ALL = 15,
};

#define RECORD_LAG_MAX UINT32_MAX
/* What stands around the payload of the largest record. */
#define RECORD_OVERHEAD_MAX \
	(RECORD_HEADER_BYTES + 8 + 16 + ID_BYTES_MAX + 1 + KIND_BYTES_MAX + RECORD_ALIGNMENT)
#define RECORD_BYTES_MAX (EVENT_BYTES_MAX + RECORD_OVERHEAD_MAX)

/* Texts and payload are borrowed from the bytes that were decoded, or from the caller to encode. */
struct record {
	uint64_t sequence;
	uint64_t time_ns;       /* eventlogd's wall clock at append */
	int64_t source_time_ns; /* the publisher's, with RECORD_HAS_SOURCE_TIME */
	uint64_t producer;      /* record_producer(), with RECORD_HAS_PRODUCER */
	uint64_t producer_seq;
	uint32_t owner_uid;
	uint32_t durable_lag;
	uint16_t epoch;
	uint8_t flags;
	uint8_t worker_len;
	uint8_t kind_len;
	const char *worker;
	const char *kind;
	const uint8_t *payload;
	size_t payload_len;
};

static inline bool record_is_keyframe(const struct record *record)
{
	return (record->flags & RECORD_KEYFRAME) != 0;
}

static inline bool record_is_internal(const struct record *record)
{
	return (record->flags & RECORD_INTERNAL) != 0;
}

/* The name under which a producer's numbers are kept: 64 bits of BLAKE2b(uid, producer id). */
uint64_t record_producer(uint32_t uid, const char *producer_id, size_t len);

/* Bytes that a record occupies, zeros at its end included. */
size_t record_size(const struct record *record);

/*
 * Writes record_size() bytes, all but the place: salt, offset, lag and header check are zero until
 * record_place(). Lengths must be within the limits (assert).
 */
void record_encode(const struct record *record, uint8_t *out);

/* Fills in where the record is going to stand and what was durable then, and the header check. */
void record_place(uint8_t *bytes, uint32_t salt, uint32_t offset, uint64_t durable_sequence);

enum record_result {
	RECORD_OK = 0,
	RECORD_TRUNCATED = 1, /* a good header, and fewer bytes than the record has */
	RECORD_INVALID = 2,   /* not a record, or a damaged one */
};

/* Judges the header alone; on RECORD_OK `*size` is what the record occupies. */
enum record_result record_check_header(const uint8_t *bytes, size_t len, size_t *size);

/* The same for a record that has to stand at this place of this segment. */
enum record_result record_check_place(
	const uint8_t *bytes, size_t len, uint32_t salt, uint32_t offset, size_t *size);

/* Whether the body is as it was written, for a record whose header has been checked. */
bool record_check_body(const uint8_t *bytes, size_t size);

/* Takes apart a record whose checks are right; RECORD_INVALID when its parts don't fit it. */
_must_check_ enum record_result record_read(const uint8_t *bytes, struct record *out);

/* Verifies both checks and takes the record apart; `*size` is what it occupies. */
_must_check_ enum record_result record_decode(
	const uint8_t *bytes, size_t len, struct record *out, size_t *size);

/* Fields of a record whose header has been checked. */
static inline uint64_t record_sequence_at(const uint8_t *bytes)
{
	return get_le64(bytes + RECORD_SEQUENCE_AT);
}

static inline bool record_is_internal_at(const uint8_t *bytes)
{
	return (bytes[RECORD_FLAGS_AT] & RECORD_INTERNAL) != 0;
}
