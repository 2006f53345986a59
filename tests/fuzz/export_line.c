/* Lines of an export: any line is read or refused; any payload that is an event comes back. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "eventlogd/ctl/export_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void read_any(struct export_line_reader *reader, const uint8_t *data, size_t len)
{
	struct export_line line;
	assert(export_line_read(reader, data, len, &line) == 0);
	if (line.type == EXPORT_LINE_INVALID)
		assert(line.reason[0] != '\0');
	if (line.type == EXPORT_LINE_EVENT)
		assert(line.number > 0 && line.payload_len > 0 &&
			id_is_valid(line.worker.text, strlen(line.worker.text)));
	if (line.type == EXPORT_LINE_HEADER)
		assert(strlen(line.header.stream) == 2 * EXPORT_ID_BYTES);
}

static void write_and_read(struct export_line_reader *reader, const uint8_t *data, size_t len)
{
	struct json_event_info info = {0};
	struct buf out = {0};
	struct export_line line;
	bool is_event = json_check_event(data, len, &info) == JSON_OK;
	const struct record record = {.sequence = 7,
		.time_ns = 9,
		.source_time_ns = INT64_MIN,
		.epoch = 1,
		.flags = RECORD_HAS_SOURCE_TIME | RECORD_HAS_PRODUCER,
		.worker = "a:b",
		.worker_len = 3,
		.kind = info.kind,
		.kind_len = info.kind_len,
		.payload = data,
		.payload_len = len};
	int r = export_line_record(&out, 1, &record, 5);
	assert(r == (is_event ? 0 : EXPORT_NOT_AN_EVENT));
	if (is_event) {
		assert(memchr(out.data, '\n', out.len) == out.data + out.len - 1);
		assert(export_line_read(reader, out.data, out.len - 1, &line) == 0);
		assert(line.type == EXPORT_LINE_EVENT && line.number == 5 && line.ts_ns == 9);
		assert(line.has_source_time && line.source_time_ns == INT64_MIN);
		assert(line.payload_len == len && memcmp(line.payload, data, len) == 0);
	}
	buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint8_t none[1];
	struct export_line_reader reader = {0};
	data = len == 0 ? none : data;
	read_any(&reader, data, len);
	write_and_read(&reader, data, len);
	export_line_reader_free(&reader);
	return 0;
}
