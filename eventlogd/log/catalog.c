#include "eventlogd/log/catalog.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/bytes.h"

void catalog_init(
	struct log_view *view, const struct file_ops *ops, int directory_fd, uint32_t max_workers)
{
	*view = (struct log_view){.ops = ops, .directory_fd = directory_fd};
	worker_table_init(&view->table, max_workers);
	buf_init(&view->gather, 0);
}

void catalog_clear(struct log_view *view)
{
	for (size_t i = 0; i < view->segment_count; i++)
		segment_free(view->segments[i]);
	free(view->segments);
	worker_table_free(&view->table);
	buf_free(&view->gather);
	view->segments = NULL;
	view->segment_count = view->segments_allocated = 0;
}

int catalog_reserve(struct log_view *view)
{
	if (view->segment_count < view->segments_allocated)
		return 0;
	size_t wanted = view->segments_allocated * 2 + 8;
	void *grown = realloc(view->segments, wanted * sizeof(struct segment *));
	if (grown == NULL)
		return -ENOMEM;
	view->segments = grown;
	view->segments_allocated = wanted;
	return 0;
}

int catalog_add(struct log_view *view, struct segment *segment)
{
	int r = catalog_reserve(view);
	if (r == 0)
		view->segments[view->segment_count++] = segment;
	return r;
}

void catalog_remove(struct log_view *view, size_t position)
{
	assert(position < view->segment_count);
	segment_free(view->segments[position]);
	view->segment_count--;
	memmove(&view->segments[position], &view->segments[position + 1],
		(view->segment_count - position) * sizeof(struct segment *));
}

struct segment *catalog_newest(const struct log_view *view)
{
	return view->segment_count == 0 ? NULL : view->segments[view->segment_count - 1];
}

bool catalog_find(const struct log_view *view, uint64_t sequence, size_t *position)
{
	size_t low = 0, high = view->segment_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (view->segments[middle]->base <= sequence)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return false;
	*position = low - 1;
	return true;
}

void catalog_replace_take(struct log_view *view, size_t position, struct segment *segment)
{
	assert(position < view->segment_count);
	segment_free(view->segments[position]);
	view->segments[position] = segment;
}

size_t catalog_compacted_count(const struct log_view *view)
{
	size_t count = 0;
	while (count < view->segment_count && segment_is_compacted(view->segments[count]))
		count++;
	return count;
}

bool catalog_is_whole_behind(const struct log_view *view, size_t position)
{
	const struct segment *segment = view->segments[position];
	if (position + 1 >= view->segment_count)
		return true;
	const struct segment *next = view->segments[position + 1];
	return next->previous_base == segment->base ||
	       (segment_is_compacted(segment) && next->base <= view->table.oldest_base);
}

uint64_t catalog_last_of(const struct log_view *view, size_t position)
{
	return position + 1 < view->segment_count ? view->segments[position + 1]->base - 1
						  : UINT64_MAX;
}

int catalog_map(struct log_view *view, struct segment *segment)
{
	segment->map_used = ++view->map_clock;
	if (segment->map != NULL)
		return 0;
	size_t mapped = 0;
	struct segment *oldest = NULL;
	for (size_t i = 0; i < view->segment_count; i++) {
		struct segment *other = view->segments[i];
		if (other->map == NULL)
			continue;
		mapped++;
		if (!other->is_pinned && (oldest == NULL || other->map_used < oldest->map_used))
			oldest = other;
	}
	if (mapped >= CATALOG_MAPS_MAX && oldest != NULL)
		segment_unmap(oldest);
	return segment_map(segment);
}

uint16_t catalog_epoch_of(const struct log_view *view, uint64_t sequence)
{
	uint32_t i = view->epoch_count;
	while (i > 1 && view->epochs[i - 1].first_seq > sequence)
		i--;
	return i == 0 ? view->epoch : view->epochs[i - 1].epoch;
}

void catalog_begin_epoch(struct log_view *view, uint16_t epoch, uint64_t first_seq)
{
	while (view->epoch_count > 0 && view->epochs[view->epoch_count - 1].first_seq >= first_seq)
		view->epoch_count--;
	if (view->epoch_count == SEGMENT_EPOCHS_MAX) {
		view->epoch_count--;
		memmove(view->epochs, view->epochs + 1,
			view->epoch_count * sizeof(view->epochs[0]));
	}
	view->epochs[view->epoch_count++] = (struct epoch_entry){first_seq, epoch};
	view->epoch = epoch;
}

uint64_t catalog_allocated_bytes(const struct log_view *view)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < view->segment_count; i++)
		sum += view->segments[i]->allocated_bytes;
	return sum;
}
