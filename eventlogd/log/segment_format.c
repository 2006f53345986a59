#include "eventlogd/log/segment_format.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/crc32c.h"

static const uint8_t header_magic[8] = "SLSEGMT1";
static const uint8_t trailer_magic[8] = "SLTRAIL1";

enum { CHECK_AT = 8, CHECKED_FROM = 12, SECTIONS_AT = 128, SECTION_BYTES = 24 };

static_assert(SEGMENT_EPOCHS_AT + SEGMENT_EPOCHS_MAX * SEGMENT_EPOCH_BYTES <= SEGMENT_HEADER_BYTES,
	"the epochs fit the header page");
static_assert(SECTIONS_AT + SECTION_COUNT * SECTION_BYTES <= SEGMENT_TRAILER_BYTES,
	"the sections fit the trailer");

/* Far from where a sum could wrap; no log gets there. */
static bool sequence_is_usable(uint64_t sequence)
{
	return sequence != 0 && sequence <= INT64_MAX;
}

static uint32_t page_check(const uint8_t *bytes, size_t len)
{
	return crc32c(bytes + CHECKED_FROM, len - CHECKED_FROM);
}

void segment_header_encode(const struct segment_header *header, uint8_t out[SEGMENT_HEADER_BYTES])
{
	assert(header->epoch_count <= SEGMENT_EPOCHS_MAX);
	memset(out, 0, SEGMENT_HEADER_BYTES);
	memcpy(out, header_magic, sizeof(header_magic));
	put_le16(out + 12, SEGMENT_FORMAT_VERSION);
	put_le16(out + 14, header->epoch);
	put_le32(out + 16, header->features);
	put_le32(out + 20, header->salt);
	memcpy(out + 24, header->log_id, LOG_ID_BYTES);
	put_le64(out + 40, header->base);
	put_le64(out + 48, header->created_ns);
	put_le64(out + 56, header->file_bytes);
	put_le64(out + 64, header->previous_base);
	put_le64(out + 72, header->durable_seq);
	put_le32(out + 80, header->epoch_count);
	uint8_t *p = out + SEGMENT_EPOCHS_AT;
	for (uint32_t i = 0; i < header->epoch_count; i++, p += SEGMENT_EPOCH_BYTES) {
		put_le16(p, header->epochs[i].epoch);
		put_le64(p + 2, header->epochs[i].first_seq);
	}
	put_le32(out + CHECK_AT, page_check(out, SEGMENT_HEADER_BYTES));
}

enum segment_format_result segment_header_decode(
	const uint8_t bytes[SEGMENT_HEADER_BYTES], struct segment_header *out)
{
	if (memcmp(bytes, header_magic, sizeof(header_magic)) != 0 ||
		get_le32(bytes + CHECK_AT) != page_check(bytes, SEGMENT_HEADER_BYTES))
		return SEGMENT_FORMAT_DAMAGED;
	uint32_t features = get_le32(bytes + 16), epoch_count = get_le32(bytes + 80);
	if (get_le16(bytes + 12) > SEGMENT_FORMAT_VERSION ||
		(features & ~(uint32_t)SEGMENT_FEATURES_KNOWN) != 0)
		return SEGMENT_FORMAT_NEWER;
	uint64_t base = get_le64(bytes + 40);
	/* What is on the disk when a segment begins is before it. */
	if (epoch_count == 0 || epoch_count > SEGMENT_EPOCHS_MAX || !sequence_is_usable(base) ||
		get_le64(bytes + 72) >= base)
		return SEGMENT_FORMAT_DAMAGED;

	*out = (struct segment_header){
		.epoch = get_le16(bytes + 14),
		.features = features,
		.salt = get_le32(bytes + 20),
		.base = base,
		.created_ns = get_le64(bytes + 48),
		.file_bytes = get_le64(bytes + 56),
		.previous_base = get_le64(bytes + 64),
		.durable_seq = get_le64(bytes + 72),
		.epoch_count = epoch_count,
	};
	memcpy(out->log_id, bytes + 24, LOG_ID_BYTES);
	const uint8_t *p = bytes + SEGMENT_EPOCHS_AT;
	for (uint32_t i = 0; i < epoch_count; i++, p += SEGMENT_EPOCH_BYTES)
		out->epochs[i] = (struct epoch_entry){get_le64(p + 2), get_le16(p)};
	return SEGMENT_FORMAT_OK;
}

void segment_trailer_encode(
	const struct segment_trailer *trailer, uint8_t out[SEGMENT_TRAILER_BYTES])
{
	memset(out, 0, SEGMENT_TRAILER_BYTES);
	memcpy(out, trailer_magic, sizeof(trailer_magic));
	put_le16(out + 12, SEGMENT_FORMAT_VERSION);
	put_le16(out + 14, trailer->epoch);
	put_le32(out + 16, trailer->flags);
	put_le32(out + 20, trailer->salt);
	memcpy(out + 24, trailer->log_id, LOG_ID_BYTES);
	put_le64(out + 40, trailer->base);
	put_le64(out + 48, trailer->first_seq);
	put_le64(out + 56, trailer->last_seq);
	put_le64(out + 64, trailer->first_time_ns);
	put_le64(out + 72, trailer->last_time_ns);
	put_le64(out + 80, trailer->count);
	put_le64(out + 88, trailer->data_end);
	put_le32(out + 96, trailer->digest);
	put_le32(out + 100, trailer->features);
	put_le64(out + 104, trailer->highest_pruned);
	put_le64(out + 112, trailer->forgotten_through);
	put_le64(out + 120, trailer->oldest_base);
	uint8_t *p = out + SECTIONS_AT;
	for (int i = 0; i < SECTION_COUNT; i++, p += SECTION_BYTES) {
		put_le64(p, trailer->sections[i].offset);
		put_le64(p + 8, trailer->sections[i].bytes);
		put_le32(p + 16, trailer->sections[i].count);
		put_le32(p + 20, trailer->sections[i].check);
	}
	put_le32(out + CHECK_AT, page_check(out, SEGMENT_TRAILER_BYTES));
}

static bool trailer_fits(const struct segment_trailer *trailer, uint64_t file_bytes)
{
	uint64_t end = file_bytes - SEGMENT_TRAILER_BYTES;
	if (trailer->data_end < SEGMENT_HEADER_BYTES || trailer->data_end > end)
		return false;
	for (int i = 0; i < SECTION_COUNT; i++) {
		const struct segment_section *section = &trailer->sections[i];
		if (section->offset < trailer->data_end || section->offset > end ||
			section->bytes > end - section->offset)
			return false;
	}
	return sequence_is_usable(trailer->base) && trailer->last_seq >= trailer->base - 1 &&
	       trailer->last_seq - (trailer->base - 1) < UINT32_MAX;
}

enum segment_format_result segment_trailer_decode(const uint8_t bytes[SEGMENT_TRAILER_BYTES],
	uint64_t file_bytes, struct segment_trailer *out)
{
	if (memcmp(bytes, trailer_magic, sizeof(trailer_magic)) != 0 ||
		get_le32(bytes + CHECK_AT) != page_check(bytes, SEGMENT_TRAILER_BYTES))
		return SEGMENT_FORMAT_DAMAGED;
	if (get_le16(bytes + 12) > SEGMENT_FORMAT_VERSION ||
		(get_le32(bytes + 100) & ~(uint32_t)SEGMENT_FEATURES_KNOWN) != 0)
		return SEGMENT_FORMAT_NEWER;
	struct segment_trailer trailer = {
		.epoch = get_le16(bytes + 14),
		.flags = get_le32(bytes + 16),
		.salt = get_le32(bytes + 20),
		.base = get_le64(bytes + 40),
		.first_seq = get_le64(bytes + 48),
		.last_seq = get_le64(bytes + 56),
		.first_time_ns = get_le64(bytes + 64),
		.last_time_ns = get_le64(bytes + 72),
		.count = get_le64(bytes + 80),
		.data_end = get_le64(bytes + 88),
		.digest = get_le32(bytes + 96),
		.features = get_le32(bytes + 100),
		.highest_pruned = get_le64(bytes + 104),
		.forgotten_through = get_le64(bytes + 112),
		.oldest_base = get_le64(bytes + 120),
	};
	memcpy(trailer.log_id, bytes + 24, LOG_ID_BYTES);
	const uint8_t *p = bytes + SECTIONS_AT;
	for (int i = 0; i < SECTION_COUNT; i++, p += SECTION_BYTES)
		trailer.sections[i] = (struct segment_section){
			get_le64(p), get_le64(p + 8), get_le32(p + 16), get_le32(p + 20)};
	if (!trailer_fits(&trailer, file_bytes))
		return SEGMENT_FORMAT_DAMAGED;
	*out = trailer;
	return SEGMENT_FORMAT_OK;
}

void segment_name_format(uint64_t base, uint16_t epoch, char out[SEGMENT_NAME_BYTES + 1])
{
	snprintf(out, SEGMENT_NAME_BYTES + 1, "%016" PRIx64 "-%04" PRIx16 ".seg", base, epoch);
}

static bool hex_parse(const char *text, int digits, uint64_t *out)
{
	uint64_t value = 0;
	for (int i = 0; i < digits; i++) {
		if (text[i] >= '0' && text[i] <= '9')
			value = value << 4 | (uint64_t)(text[i] - '0');
		else if (text[i] >= 'a' && text[i] <= 'f')
			value = value << 4 | (uint64_t)(text[i] - 'a' + 10);
		else
			return false;
	}
	*out = value;
	return true;
}

bool segment_name_parse(const char *name, uint64_t *base, uint16_t *epoch)
{
	uint64_t b, e;
	if (strlen(name) != SEGMENT_NAME_BYTES || !hex_parse(name, 16, &b) || name[16] != '-' ||
		!hex_parse(name + 17, 4, &e) || strcmp(name + 21, ".seg") != 0 ||
		!sequence_is_usable(b) || e == 0)
		return false;
	*base = b;
	*epoch = (uint16_t)e;
	return true;
}
