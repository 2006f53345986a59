#include "proto/record.h"

#include <sodium.h>
#include <string.h>

#include "proto/base/crc32c.h"

enum { SOURCE_TIME_BYTES = 8, PRODUCER_BYTES = 16, KIND_LENGTH_BYTES = 1 };

static_assert(RECORD_HEADER_BYTES == RECORD_WORKER_LEN_AT + 1, "the header has no holes");
static_assert(RECORD_OWNER_AT == RECORD_TIME_AT + 8, "the layout of the comment in record.h");
static_assert(RECORD_HEADER_BYTES % RECORD_ALIGNMENT == 0, "the body begins aligned");
static_assert(RECORD_BYTES_MAX < UINT32_MAX, "a length is 32 bits");

uint64_t record_producer(uint32_t uid, const char *producer_id, size_t len)
{
	uint8_t uid_bytes[4], out[crypto_generichash_BYTES_MIN];
	crypto_generichash_state state;
	put_le32(uid_bytes, uid);
	crypto_generichash_init(&state, NULL, 0, sizeof(out));
	crypto_generichash_update(&state, uid_bytes, sizeof(uid_bytes));
	crypto_generichash_update(&state, (const uint8_t *)producer_id, len);
	crypto_generichash_final(&state, out, sizeof(out));
	return get_le64(out);
}

static size_t optional_bytes(uint8_t flags)
{
	return ((flags & RECORD_HAS_SOURCE_TIME) != 0 ? (size_t)SOURCE_TIME_BYTES : 0) +
	       ((flags & RECORD_HAS_PRODUCER) != 0 ? (size_t)PRODUCER_BYTES : 0);
}

static size_t record_length(const struct record *record)
{
	return RECORD_HEADER_BYTES + optional_bytes(record->flags) + record->worker_len +
	       KIND_LENGTH_BYTES + record->kind_len + record->payload_len;
}

size_t record_size(const struct record *record)
{
	return align_up(record_length(record), RECORD_ALIGNMENT);
}

static uint8_t *put_bytes(uint8_t *p, const void *bytes, size_t len)
{
	if (len != 0)
		memcpy(p, bytes, len);
	return p + len;
}

void record_encode(const struct record *record, uint8_t *out)
{
	size_t length = record_length(record), size = align_up(length, RECORD_ALIGNMENT);
	assert(record->worker_len <= ID_BYTES_MAX && size <= RECORD_BYTES_MAX);
	assert((record->flags & ~RECORD_FLAGS_ALL) == 0);

	memset(out, 0, RECORD_HEADER_BYTES);
	put_le32(out + RECORD_LENGTH_AT, (uint32_t)length);
	put_le64(out + RECORD_SEQUENCE_AT, record->sequence);
	put_le64(out + RECORD_TIME_AT, record->time_ns);
	put_le32(out + RECORD_OWNER_AT, record->owner_uid);
	put_le16(out + RECORD_EPOCH_AT, record->epoch);
	out[RECORD_FLAGS_AT] = record->flags;
	out[RECORD_WORKER_LEN_AT] = record->worker_len;

	uint8_t *p = out + RECORD_HEADER_BYTES;
	if ((record->flags & RECORD_HAS_SOURCE_TIME) != 0) {
		put_le64(p, (uint64_t)record->source_time_ns);
		p += SOURCE_TIME_BYTES;
	}
	if ((record->flags & RECORD_HAS_PRODUCER) != 0) {
		put_le64(p, record->producer);
		put_le64(p + 8, record->producer_seq);
		p += PRODUCER_BYTES;
	}
	p = put_bytes(p, record->worker, record->worker_len);
	*p++ = record->kind_len;
	p = put_bytes(p, record->kind, record->kind_len);
	p = put_bytes(p, record->payload, record->payload_len);
	memset(p, 0, size - length);
	put_le32(out + RECORD_BODY_CHECK_AT,
		crc32c(out + RECORD_HEADER_BYTES, size - RECORD_HEADER_BYTES));
}

static uint32_t header_check(const uint8_t *bytes)
{
	return crc32c_extend(crc32c(bytes, RECORD_HEADER_CHECK_AT), bytes + RECORD_BODY_CHECK_AT,
		RECORD_HEADER_BYTES - RECORD_BODY_CHECK_AT);
}

void record_place(uint8_t *bytes, uint32_t salt, uint32_t offset, uint64_t durable_sequence)
{
	uint64_t sequence = record_sequence_at(bytes);
	uint64_t lag = sequence > durable_sequence ? sequence - durable_sequence : 0;
	put_le32(bytes + RECORD_SALT_AT, salt);
	put_le32(bytes + RECORD_OFFSET_AT, offset);
	put_le32(bytes + RECORD_DURABLE_LAG_AT,
		lag < RECORD_LAG_MAX ? (uint32_t)lag : RECORD_LAG_MAX);
	put_le32(bytes + RECORD_HEADER_CHECK_AT, header_check(bytes));
}

enum record_result record_check_header(const uint8_t *bytes, size_t len, size_t *size)
{
	if (len < RECORD_HEADER_BYTES ||
		get_le32(bytes + RECORD_HEADER_CHECK_AT) != header_check(bytes))
		return RECORD_INVALID;
	size_t length = get_le32(bytes + RECORD_LENGTH_AT);
	uint8_t flags = bytes[RECORD_FLAGS_AT];
	size_t least = RECORD_HEADER_BYTES + optional_bytes(flags) + bytes[RECORD_WORKER_LEN_AT] +
		       KIND_LENGTH_BYTES;
	if ((flags & ~RECORD_FLAGS_ALL) != 0 || bytes[RECORD_WORKER_LEN_AT] > ID_BYTES_MAX ||
		length < least || length > RECORD_BYTES_MAX)
		return RECORD_INVALID;
	*size = align_up(length, RECORD_ALIGNMENT);
	return *size <= len ? RECORD_OK : RECORD_TRUNCATED;
}

enum record_result record_check_place(
	const uint8_t *bytes, size_t len, uint32_t salt, uint32_t offset, size_t *size)
{
	if (len < RECORD_HEADER_BYTES || get_le32(bytes + RECORD_SALT_AT) != salt ||
		get_le32(bytes + RECORD_OFFSET_AT) != offset)
		return RECORD_INVALID;
	return record_check_header(bytes, len, size);
}

bool record_check_body(const uint8_t *bytes, size_t size)
{
	return get_le32(bytes + RECORD_BODY_CHECK_AT) ==
	       crc32c(bytes + RECORD_HEADER_BYTES, size - RECORD_HEADER_BYTES);
}

enum record_result record_read(const uint8_t *bytes, struct record *out)
{
	struct record record = {
		.sequence = get_le64(bytes + RECORD_SEQUENCE_AT),
		.time_ns = get_le64(bytes + RECORD_TIME_AT),
		.owner_uid = get_le32(bytes + RECORD_OWNER_AT),
		.durable_lag = get_le32(bytes + RECORD_DURABLE_LAG_AT),
		.epoch = get_le16(bytes + RECORD_EPOCH_AT),
		.flags = bytes[RECORD_FLAGS_AT],
		.worker_len = bytes[RECORD_WORKER_LEN_AT],
	};
	const uint8_t *p = bytes + RECORD_HEADER_BYTES;
	const uint8_t *end = bytes + get_le32(bytes + RECORD_LENGTH_AT);
	if ((record.flags & RECORD_HAS_SOURCE_TIME) != 0) {
		record.source_time_ns = (int64_t)get_le64(p);
		p += SOURCE_TIME_BYTES;
	}
	if ((record.flags & RECORD_HAS_PRODUCER) != 0) {
		record.producer = get_le64(p);
		record.producer_seq = get_le64(p + 8);
		p += PRODUCER_BYTES;
	}
	record.worker = (const char *)p;
	p += record.worker_len;
	record.kind_len = *p++;
	if (record.kind_len > (size_t)(end - p))
		return RECORD_INVALID;
	record.kind = (const char *)p;
	p += record.kind_len;
	record.payload = p;
	record.payload_len = (size_t)(end - p);
	*out = record;
	return RECORD_OK;
}

enum record_result record_decode(const uint8_t *bytes, size_t len, struct record *out, size_t *size)
{
	size_t occupied;
	enum record_result r = record_check_header(bytes, len, &occupied);
	if (r == RECORD_OK && !record_check_body(bytes, occupied))
		r = RECORD_INVALID;
	if (r == RECORD_OK)
		r = record_read(bytes, out);
	if (r == RECORD_OK)
		*size = occupied;
	return r;
}
