/*
 * One line of an exported log, as `export` writes it and `import` reads it. Pure.
 *
 *	{"export":1,"log_id":HEX,"stream":HEX,"continues":true}	first, once
 *	{"cursor":CURSOR,"number":N,"worker_id":TEXT,"kind":TEXT,"keyframe":true,"ts_ns":N,
 *	 "source_ts_ns":N,"owner_uid":N,"producer":HEX,"producer_seq":N,"payload":{…}}
 *	{"gap":{"first_seq":N,"last_seq":N,"reason":TEXT}}		in its place
 *	{"end":{"records":N,"gaps":N,"newest":CURSOR}}			last, once
 *
 * `number` counts a worker's events in this export from 1, so that a line that is left out leaves
 * its number free. `keyframe`, `source_ts_ns`, `producer` with `producer_seq` only where the record
 * has them; `continues` only in an export of what is behind a cursor. `payload` are the bytes as
 * they were published, unless a line or a parser of lines could not carry them (a line break or
 * white space at an end; nested as deeply as JSON may be): then `payload_text` is a string of them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/base/buf.h"
#include "proto/cursor.h"
#include "proto/ids.h"
#include "proto/json.h"
#include "proto/limits.h"
#include "proto/record.h"

enum { EXPORT_VERSION = 1, EXPORT_ID_BYTES = 16 };

/* The longest line: a payload as a string, every byte of it escaped, and what stands around it. */
#define EXPORT_LINE_BYTES_MAX (2u * EVENT_BYTES_MAX + 64u * 1024)

struct export_header {
	char log_id[2 * EXPORT_ID_BYTES + 1];
	char stream[2 * EXPORT_ID_BYTES + 1]; /* what the numbers are counted in */
	bool is_continuation;                 /* of what was before a cursor */
};

/* Append one line with its end. 0 or -ENOMEM. */
_must_check_ int export_line_header(struct buf *out, const struct export_header *header);
_must_check_ int export_line_gap(
	struct buf *out, uint64_t first, uint64_t last, const char *reason);
/* `newest`: everything up to it has been in the export. */
_must_check_ int export_line_end(
	struct buf *out, uint64_t records, uint64_t gaps, const struct cursor *newest);

/* The same; EXPORT_NOT_AN_EVENT for a record that no eventlogd can have written. */
enum { EXPORT_NOT_AN_EVENT = 1 };
_must_check_ int export_line_record(
	struct buf *out, uint32_t log, const struct record *record, uint64_t number);

enum export_line_type {
	EXPORT_LINE_INVALID, /* `reason` */
	EXPORT_LINE_HEADER,
	EXPORT_LINE_EVENT,
	EXPORT_LINE_GAP,
	EXPORT_LINE_END,
};

struct export_line {
	enum export_line_type type;
	struct export_header header;
	/* EXPORT_LINE_EVENT */
	uint64_t number;
	uint64_t ts_ns;
	bool has_source_time;
	int64_t source_time_ns;
	struct id worker;
	const uint8_t *payload; /* in the line or in the reader */
	size_t payload_len;
	/* EXPORT_LINE_END */
	uint64_t records;
	/* EXPORT_LINE_INVALID */
	char reason[160];
};

/* What reading needs of memory, used again from line to line. Zero-initialise. */
struct export_line_reader {
	struct json_tape tape;
	struct buf payload;
};

/* Payloads are known to be JSON only as far as the line is. 0 or -ENOMEM. */
_must_check_ int export_line_read(struct export_line_reader *reader, const uint8_t *bytes,
	size_t len, struct export_line *out);
void export_line_reader_free(struct export_line_reader *reader);
