/*
 * eventlogd/log: whatever bytes a segment holds, it is read without a fault and recovered from, and
 * a log that was recovered can be appended to and read again.
 *
 * An input is a list of patches to the segment of a small, healthy log: offset 2, length 1, bytes.
 * Its first byte says which checks are made right again afterwards, so that what stands behind them
 * is reached too: 1 header page, 2 sections of the footer, 4 trailer, 8 the records' checks.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eventlogd/log/event_log.h"
#include "eventlogd/log/file_ops.h"
#include "eventlogd/log/reader.h"
#include "eventlogd/log/segment_format.h"
#include "eventlogd/log/verify.h"
#include "proto/base/bytes.h"
#include "proto/base/crc32c.h"
#include "proto/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum {
	FIX_HEADER = 1,
	FIX_SECTIONS = 2,
	FIX_TRAILER = 4,
	FIX_RECORDS = 8,
	RECORDS = 24,
	SEGMENT_BYTES = SEGMENT_BYTES_MIN,
	TRAILER_AT = SEGMENT_BYTES - SEGMENT_TRAILER_BYTES,
	FOOTER_SPAN = 4096, /* patches beyond the records go here */
};

static char directory[64];
static char path[128];
static uint8_t healthy[SEGMENT_BYTES], image[SEGMENT_BYTES];
static size_t data_end;

static void expect(bool claim)
{
	if (!claim)
		abort();
}

static struct event_log_config config_of_log(void)
{
	struct event_log_config config;
	event_log_config_init(&config);
	config.directory = directory;
	config.segment_bytes = SEGMENT_BYTES;
	config.max_event_bytes = 1024;
	return config;
}

static void append(struct event_log *log, const char *worker, uint64_t number)
{
	static const char payload[] = "{\"event\":\"text_delta\",\"data\":{\"text\":\"hello\"}}";
	struct event_log_event event = {.payload = (const uint8_t *)payload,
		.payload_len = sizeof(payload) - 1,
		.kind = "text_delta",
		.kind_len = 10,
		.is_keyframe = number % 5 == 0};
	struct event_log_batch batch = {.worker = worker,
		.worker_len = strlen(worker),
		.has_producer_seq = number != 0,
		.producer = 7,
		.producer_seq = number,
		.events = &event,
		.event_count = 1};
	struct event_log_staged staged;
	int r = event_log_stage(log, &batch, 1, &staged);
	/* A damaged table may know the producer's numbers otherwise, or leave no room. */
	expect(r >= 0);
	(void)event_log_commit(log, 1);
}

static int remove_name(void *owner, const char *name)
{
	expect(unlinkat(*(int *)owner, name, 0) == 0);
	return 0;
}

static void clear_directory(void)
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	expect(fd >= 0);
	expect(file_ops_system.list(NULL, fd, remove_name, &fd) == 0);
	close(fd);
}

static void remove_directory(void)
{
	clear_directory();
	rmdir(directory);
}

/* Makes the healthy log once. */
static void prepare(void)
{
	bool has_memory = access("/dev/shm", W_OK) == 0;
	snprintf(directory, sizeof(directory), "%s/sightline-fuzz-XXXXXX",
		has_memory ? "/dev/shm" : "/tmp");
	expect(mkdtemp(directory) != NULL);
	atexit(remove_directory);
	struct event_log_config config = config_of_log();
	struct event_log *log;
	expect(event_log_open(&log, &config, 1) == 0);
	for (uint64_t i = 1; i <= RECORDS; i++)
		append(log, i % 3 == 0 ? "b" : "a", i % 3 == 0 ? 0 : i - i / 3);
	expect(event_log_close(log, 1) == 0);
	char name[SEGMENT_NAME_BYTES + 1];
	segment_name_format(1, 1, name);
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	expect(fd >= 0 && pread(fd, healthy, sizeof(healthy), 0) == (ssize_t)sizeof(healthy));
	close(fd);
	struct segment_trailer trailer;
	expect(segment_trailer_decode(healthy + TRAILER_AT, SEGMENT_BYTES, &trailer) ==
		SEGMENT_FORMAT_OK);
	data_end = (size_t)trailer.data_end;
}

static void apply_patches(const uint8_t *bytes, size_t len)
{
	/* Half of the offsets lead into header page and records, half into footer and trailer. */
	while (len >= 3) {
		size_t offset = get_le16(bytes), n = bytes[2];
		bytes += 3;
		len -= 3;
		if (n > len)
			n = len;
		offset = (offset & 0x8000) == 0 ? offset % data_end
						: SEGMENT_BYTES - 1 - offset % FOOTER_SPAN;
		if (n > SEGMENT_BYTES - offset)
			n = SEGMENT_BYTES - offset;
		memcpy(image + offset, bytes, n);
		bytes += n;
		len -= n;
	}
}

static void fix_records(void)
{
	for (size_t at = SEGMENT_HEADER_BYTES; at + RECORD_HEADER_BYTES <= data_end;) {
		uint8_t *record = image + at;
		uint64_t size = align_up(get_le32(record), RECORD_ALIGNMENT);
		if (size < RECORD_HEADER_BYTES || size > data_end - at)
			return;
		put_le32(record + RECORD_BODY_CHECK_AT,
			crc32c(record + RECORD_HEADER_BYTES, size - RECORD_HEADER_BYTES));
		uint32_t check = crc32c(record, RECORD_HEADER_CHECK_AT);
		put_le32(record + RECORD_HEADER_CHECK_AT,
			crc32c_extend(check, record + RECORD_BODY_CHECK_AT,
				RECORD_HEADER_BYTES - RECORD_BODY_CHECK_AT));
		at += size;
	}
}

static void fix_sections(void)
{
	enum { SECTIONS_AT = 128, SECTION_BYTES = 24 };
	for (int i = 0; i < SECTION_COUNT; i++) {
		uint8_t *section = image + TRAILER_AT + SECTIONS_AT + i * SECTION_BYTES;
		uint64_t offset = get_le64(section), n = get_le64(section + 8);
		if (offset <= SEGMENT_BYTES && n <= SEGMENT_BYTES - offset)
			put_le32(section + 20, crc32c(image + offset, n));
	}
}

static void fix_page(uint8_t *page, size_t len)
{
	put_le32(page + 8, crc32c(page + 12, len - 12));
}

static void read_all(struct log_view *view, const char *worker)
{
	size_t len = worker == NULL ? 0 : strlen(worker);
	struct reader_selection selection = {&worker, &len, 1};
	struct reader_start start = {.from = READER_FROM_OLDEST};
	struct reader *reader;
	struct reader_piece piece;
	if (reader_open(&reader, view, worker == NULL ? NULL : &selection, &start, true, NULL) !=
		READER_OPENED)
		return;
	uint64_t last = 0;
	for (;;) {
		int r = reader_next(reader, 1000, &piece);
		if (r < 0 || r == READER_END || r == READER_OVERRUN)
			break;
		if (r == READER_RECORDS && piece.count == 0)
			continue;
		/* It moves on, and so it comes to an end. */
		expect(piece.first > last && piece.last >= piece.first);
		last = piece.last;
		for (size_t at = 0, size; r == READER_RECORDS && at < piece.len; at += size) {
			struct record record;
			expect(record_decode(piece.bytes + at, piece.len - at, &record, &size) ==
				RECORD_OK);
		}
	}
	reader_close(reader);
}

static void look_at_directory(void)
{
	struct log_view *view;
	struct verify_result result;
	if (log_view_open(&view, directory, NULL, NULL) != 0)
		return;
	read_all(view, NULL);
	read_all(view, "a");
	expect(log_verify(view, NULL, NULL, NULL, &result) == 0);
	log_view_close(view);
}

static void live_on(void)
{
	struct event_log_config config = config_of_log();
	struct event_log *log;
	if (event_log_open(&log, &config, 2) != 0)
		return;
	struct log_ends before, after;
	log_view_ends(event_log_view(log), &before);
	append(log, "a", 0);
	read_all(event_log_view(log), NULL);
	read_all(event_log_view(log), "a");
	log_view_ends(event_log_view(log), &after);
	expect(after.newest_seq >= before.newest_seq);
	expect(event_log_close(log, 3) == 0);
	look_at_directory();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	if (data_end == 0)
		prepare();
	if (len == 0)
		return 0;
	memcpy(image, healthy, sizeof(image));
	apply_patches(bytes + 1, len - 1);
	if ((bytes[0] & FIX_RECORDS) != 0)
		fix_records();
	if ((bytes[0] & FIX_SECTIONS) != 0)
		fix_sections();
	if ((bytes[0] & FIX_HEADER) != 0)
		fix_page(image, SEGMENT_HEADER_BYTES);
	if ((bytes[0] & FIX_TRAILER) != 0)
		fix_page(image + TRAILER_AT, SEGMENT_TRAILER_BYTES);
	clear_directory();
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	expect(fd >= 0 && pwrite(fd, image, sizeof(image), 0) == (ssize_t)sizeof(image));
	close(fd);
	look_at_directory();
	live_on();
	return 0;
}
