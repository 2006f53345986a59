#include "eventlogd/ctl/tail_start.h"

#include <errno.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/fd.h"
#include "proto/message.h"

enum { FILE_BYTES_MAX = 256 };

int tail_start_read_file(struct tail_start *start, const char *path)
{
	_cleanup_buf_ struct buf content = {0};
	int r = fd_read_file(path, FILE_BYTES_MAX, &content);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r == -EFBIG ? -EBADMSG : r;
	while (content.len > 0 && content.data[content.len - 1] == '\n')
		content.len--;
	struct cursor cursor;
	if (content.len == 0 || !cursor_parse((const char *)content.data, content.len, &cursor))
		return -EBADMSG;
	cursor_format(&cursor, start->storage);
	start->cursor = start->storage;
	start->from = NULL;
	return 0;
}

bool tail_start_needs_status(const struct tail_start *start)
{
	return start->cursor == NULL && (start->back > 0 || strcmp(start->from, "newest") == 0);
}

static bool get_u64(const msgpack_object *map, const char *key, uint64_t *out)
{
	const msgpack_object *value = field_map_get(map, key);
	return value != NULL && field_u64(value, out);
}

static bool get_cursor(const msgpack_object *map, const char *key, struct cursor *out)
{
	const char *text;
	size_t len;
	const msgpack_object *value = field_map_get(map, key);
	return value != NULL && field_text(value, &text, &len, CURSOR_TEXT_BYTES) &&
	       cursor_parse(text, len, out);
}

/* The epoch of the record with this sequence; epochs are told newest first. */
static bool find_epoch(const msgpack_object *map, uint64_t sequence, uint16_t *out)
{
	const msgpack_object *epochs = field_map_get(map, "epochs"), *rows, *row;
	uint32_t count, members;
	if (epochs == NULL || !field_array(epochs, &rows, &count))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t epoch, first;
		if (!field_array(&rows[i], &row, &members) || members != 2 ||
			!field_u64(&row[0], &epoch) || !field_u64(&row[1], &first) ||
			epoch > UINT16_MAX)
			return false;
		if (first <= sequence) {
			*out = (uint16_t)epoch;
			return true;
		}
	}
	return false;
}

bool tail_start_from_status(struct tail_start *start, const msgpack_object *map)
{
	struct cursor cursor;
	uint64_t oldest, newest;
	if (!get_cursor(map, "newest_cursor", &cursor) || !get_u64(map, "oldest_seq", &oldest) ||
		!get_u64(map, "newest_seq", &newest))
		return false;
	if (start->back > 0) {
		uint64_t sequence = newest > start->back ? newest - start->back : 0;
		if (sequence < oldest || !find_epoch(map, sequence, &cursor.epoch))
			return true; /* from the oldest, as it stands */
		cursor.sequence = sequence;
	}
	cursor_format(&cursor, start->storage);
	start->cursor = start->storage;
	return true;
}
