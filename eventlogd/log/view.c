#include "eventlogd/log/view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "eventlogd/log/catalog.h"
#include "eventlogd/log/recovery.h"

/* Each time a segment went away between being listed and being read. */
enum { READ_TRIES = 16 };

static int read_directory(struct log_view *view, const struct finding_sink *findings)
{
	int r = -ENOENT;
	bool is_empty = false;
	for (int i = 0; r == -ENOENT && !is_empty && i < READ_TRIES; i++) {
		struct recovery recovery;
		if (i > 0) {
			catalog_clear(view);
			catalog_init(view, view->ops, view->directory_fd, UINT32_MAX);
		}
		r = recovery_read(view, findings, &recovery);
		is_empty = r == 0 && recovery.is_empty;
		recovery_free(&recovery);
	}
	return is_empty ? -ENOENT : r;
}

int log_view_open(struct log_view **out, const char *directory, const struct file_ops *ops,
	const struct finding_sink *findings)
{
	if (ops == NULL)
		ops = &file_ops_system;
	struct log_view *view = calloc(1, sizeof(*view));
	if (view == NULL)
		return -ENOMEM;
	int fd = ops->open_at(ops->owner, AT_FDCWD, directory, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0) {
		free(view);
		return fd;
	}
	catalog_init(view, ops, fd, UINT32_MAX);
	int r = read_directory(view, findings);
	if (r != 0) {
		log_view_close(view);
		return r;
	}
	*out = view;
	return 0;
}

int log_view_refresh(struct log_view *view)
{
	if (view->is_live)
		return -EINVAL;
	struct log_view fresh;
	catalog_init(&fresh, view->ops, view->directory_fd, UINT32_MAX);
	int r = read_directory(&fresh, NULL);
	if (r != 0) {
		catalog_clear(&fresh);
		return r;
	}
	catalog_clear(view);
	*view = fresh;
	return 0;
}

void log_view_close(struct log_view *view)
{
	if (view == NULL)
		return;
	catalog_clear(view);
	view->ops->close(view->ops->owner, view->directory_fd);
	free(view);
}

void log_view_ends(const struct log_view *view, struct log_ends *out)
{
	*out = (struct log_ends){
		.epoch = view->epoch,
		.oldest_seq = view->visible_seq + 1,
		.newest_seq = view->visible_seq,
		.segments = view->segment_count,
		.allocated_bytes = catalog_allocated_bytes(view),
		.forgotten_through = view->table.forgotten_through,
	};
	memcpy(out->log_id, view->log_id, LOG_ID_BYTES);
	if (view->segment_count != 0) {
		const struct segment *first = view->segments[0];
		uint64_t oldest = segment_is_compacted(first) && first->is_sealed
					  ? first->trailer.first_seq
					  : first->base;
		if (oldest < out->oldest_seq)
			out->oldest_seq = oldest;
	}
}

void log_id_format(const uint8_t log_id[LOG_ID_BYTES], char out[LOG_ID_TEXT_BYTES + 1])
{
	static const char digits[] = "0123456789abcdef";
	for (int i = 0; i < LOG_ID_BYTES; i++) {
		out[2 * i] = digits[log_id[i] >> 4];
		out[2 * i + 1] = digits[log_id[i] & 15];
	}
	out[LOG_ID_TEXT_BYTES] = '\0';
}

void log_view_cursor(const struct log_view *view, uint64_t sequence, struct cursor *out)
{
	const uint8_t *id = view->log_id;
	*out = (struct cursor){
		.log = (uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | id[3],
		.epoch = catalog_epoch_of(view, sequence),
		.sequence = sequence,
	};
}

bool log_view_worker(
	const struct log_view *view, const char *worker, size_t len, struct log_worker *out)
{
	const struct worker *row = worker_table_find(&view->table, worker, len);
	if (row == NULL || row->newest_seq == 0)
		return false;
	worker_describe(row, out);
	return true;
}

size_t log_view_workers(struct log_view *view, const char *after, size_t after_len,
	struct log_worker *out, size_t limit)
{
	struct worker *const *sorted = worker_table_sorted(&view->table);
	if (sorted == NULL)
		return 0;
	size_t n = 0;
	size_t position = after == NULL ? 0 : worker_table_after(&view->table, after, after_len);
	for (; position < view->table.count && n < limit; position++)
		if (sorted[position]->newest_seq != 0)
			worker_describe(sorted[position], &out[n++]);
	return n;
}
