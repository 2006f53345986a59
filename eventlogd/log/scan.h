/*
 * Scan: walks the records of one segment's bytes, over damage as well.
 *
 * Pure: bytes in, items out; what it reads from a map is the caller's to guard. A place counts as a
 * record when salt, offset and header check are right, then its body's check, then its epoch, and
 * its sequence is above the one before. The first four bytes that are compared are known to no
 * publisher in a place that it could aim at: a payload is JSON, which can't hold the byte 0 or 1
 * that ends every length, and the log keeps no kind that does. Looking for the next record behind
 * damage reads each byte once: a good header whose body is bad is passed by its length.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/record.h"

struct scan {
	const uint8_t *bytes; /* of the file, from its first byte */
	uint64_t end;         /* nothing at or behind this offset is read */
	uint64_t offset;      /* where the next item begins */
	uint64_t base;        /* of the segment */
	uint64_t next_seq;    /* what the next record would have without damage */
	uint32_t salt;
	uint16_t epoch;
};

enum scan_result {
	SCAN_RECORD = 0,
	SCAN_DAMAGED = 1, /* offset..offset+bytes is no record; a valid one follows */
	SCAN_NOTHING = 2, /* no valid record from offset to the end */
};

struct scan_item {
	uint64_t offset, bytes;
	struct record record; /* SCAN_RECORD */
};

enum scan_result scan_next(struct scan *scan, struct scan_item *out);

/*
 * Finds the salt of a segment whose header page is lost, by its first record with a good header
 * that stands where it says.
 */
bool scan_infer_salt(const uint8_t *bytes, uint64_t end, uint16_t epoch, uint32_t *out);
