#include "eventlogd/ctl/tail_start.h"

#include <errno.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/fd.h"

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

void tail_start_at(struct tail_start *start, const struct positions *positions)
{
	struct cursor cursor = positions->newest;
	if (start->back > 0) {
		uint64_t newest = positions->newest.sequence;
		uint64_t sequence = newest > start->back ? newest - start->back : 0;
		if (sequence <= positions->oldest.sequence ||
			!positions_cursor(positions, sequence, &cursor))
			return; /* from the oldest, as it stands */
	}
	cursor_format(&cursor, start->storage);
	start->cursor = start->storage;
}
