#include "eventlogd/log/prune_preview.h"

#include <errno.h>
#include <stdlib.h>

#include "eventlogd/log/catalog.h"
#include "eventlogd/log/reserve.h"
#include "eventlogd/log/segment_share.h"

struct keeping {
	const struct log_view *view;
	struct prune_preview *preview;
};

static int keep_share(void *owner, const struct segment_share *share)
{
	struct keeping *keeping = owner;
	const struct worker *worker = worker_table_find(
		&keeping->view->table, share->worker, share->worker_len);
	uint64_t from = worker == NULL ? 0 : reserve_kept_from(keeping->view, worker);
	if (from == 0 || from > share->last_seq || share->last_seq <= worker->highest_pruned)
		return 0;
	keeping->preview->kept_workers++;
	keeping->preview->kept_bytes += share->bytes;
	return 0;
}

static int preview_segment(
	struct log_view *view, struct segment *segment, prune_preview_fn fn, void *owner)
{
	struct prune_preview preview = {
		.file = segment->name,
		.first_seq = segment->base,
		.last_seq = segment->last_seq,
		.count = segment->count,
		.allocated_bytes = segment->allocated_bytes,
		.last_time_ns = segment->last_time_ns,
	};
	struct keeping keeping = {view, &preview};
	int r = segment_shares(view, segment, keep_share, &keeping);
	/* What can't be read keeps nothing; what is gone by now needs no preview. */
	if (r == -ENOENT)
		return 0;
	if (r == 0 || r == -EIO)
		fn(owner, &preview);
	return r == -EIO ? 0 : r;
}

int log_prune_preview(struct log_view *view, const struct retention_limits *limits, uint64_t now_ns,
	prune_preview_fn fn, void *owner)
{
	size_t first = catalog_compacted_count(view);
	if (first + 1 >= view->segment_count)
		return 0;
	size_t count = view->segment_count - 1 - first;
	struct retention_item *items = calloc(count, sizeof(*items));
	if (items == NULL)
		return -ENOMEM;
	const struct segment *newest = catalog_newest(view);
	uint64_t other = newest->allocated_bytes + (newest->is_sealed ? 0 : newest->file_bytes);
	for (size_t i = 0; i < first; i++)
		other += view->segments[i]->allocated_bytes;
	for (size_t i = 0; i < count; i++)
		items[i] = (struct retention_item){view->segments[first + i]->allocated_bytes,
			view->segments[first + i]->last_time_ns};
	size_t gone = retention_plan(limits, items, count, other, now_ns);
	free(items);
	int r = 0;
	for (size_t i = 0; r == 0 && i < gone; i++)
		r = preview_segment(view, view->segments[first + i], fn, owner);
	return r;
}
