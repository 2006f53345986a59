#include "eventlogd/log/scan.h"

#include <string.h>

#include "eventlogd/log/segment_format.h"
#include "proto/base/bytes.h"

/* What stands at an offset. `*skip`: how far it is safe to go on when it is no valid record. */
static bool record_is_here(
	const struct scan *scan, uint64_t offset, struct scan_item *out, uint64_t *skip)
{
	const uint8_t *bytes = scan->bytes + offset;
	size_t size;
	*skip = RECORD_ALIGNMENT;
	if (record_check_place(bytes, scan->end - offset, scan->salt, (uint32_t)offset, &size) !=
		RECORD_OK)
		return false;
	*skip = size;
	if (get_le16(bytes + RECORD_EPOCH_AT) != scan->epoch || !record_check_body(bytes, size) ||
		record_read(bytes, &out->record) != RECORD_OK)
		return false;
	if (!record_is_internal(&out->record) &&
		(out->record.sequence < scan->next_seq ||
			out->record.sequence - scan->base >= UINT32_MAX))
		return false;
	out->offset = offset;
	out->bytes = size;
	return true;
}

/* A record begins with its length, which is not 0: no word of zeros is one's first. */
static uint64_t skip_zeros(const struct scan *scan, uint64_t offset)
{
	uint64_t words[8];
	while (scan->end - offset >= sizeof(words)) {
		memcpy(words, scan->bytes + offset, sizeof(words));
		if ((words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] |
			    words[7]) != 0)
			break;
		offset += sizeof(words);
	}
	return offset;
}

enum scan_result scan_next(struct scan *scan, struct scan_item *out)
{
	uint64_t start = scan->offset, offset = start, skip;
	while (offset < scan->end && scan->end - offset >= RECORD_HEADER_BYTES) {
		if (!record_is_here(scan, offset, out, &skip)) {
			offset = skip_zeros(scan, offset + skip);
			continue;
		}
		scan->offset = offset;
		if (offset != start) {
			out->offset = start;
			out->bytes = offset - start;
			return SCAN_DAMAGED;
		}
		scan->offset += out->bytes;
		if (!record_is_internal(&out->record))
			scan->next_seq = out->record.sequence + 1;
		return SCAN_RECORD;
	}
	out->offset = start;
	out->bytes = scan->end - start;
	return SCAN_NOTHING;
}

bool scan_infer_salt(const uint8_t *bytes, uint64_t end, uint16_t epoch, uint32_t *out)
{
	for (uint64_t offset = SEGMENT_HEADER_BYTES; end - offset >= RECORD_HEADER_BYTES;
		offset += RECORD_ALIGNMENT) {
		const uint8_t *place = bytes + offset;
		size_t size;
		if (get_le32(place + RECORD_OFFSET_AT) != offset ||
			get_le16(place + RECORD_EPOCH_AT) != epoch ||
			record_check_header(place, end - offset, &size) != RECORD_OK)
			continue;
		*out = get_le32(place + RECORD_SALT_AT);
		return true;
	}
	return false;
}
