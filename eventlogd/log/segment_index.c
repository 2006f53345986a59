#include "eventlogd/log/segment_index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int segment_index_new(struct segment_index **out)
{
	struct segment_index *index = calloc(1, sizeof(*index));
	if (index == NULL)
		return -ENOMEM;
	*out = index;
	return 0;
}

void segment_index_free(struct segment_index *index)
{
	if (index == NULL)
		return;
	struct index_list *list, *next;
	map_for_each (index->lists, list, next) {
		HASH_DEL(index->lists, list);
		free(list->entries);
		free(list);
	}
	free(index->sparse);
	free(index->damage);
	free(index);
}

/* Doubles an array so that `count` elements fit. */
static int grow(void **array, uint32_t *allocated, uint32_t count, size_t element_bytes)
{
	if (count <= *allocated)
		return 0;
	uint64_t wanted = *allocated == 0 ? 8 : (uint64_t)*allocated * 2;
	if (wanted < count)
		wanted = count;
	if (wanted > UINT32_MAX)
		return -ENOMEM;
	void *grown = realloc(*array, (size_t)wanted * element_bytes);
	if (grown == NULL)
		return -ENOMEM;
	*array = grown;
	*allocated = (uint32_t)wanted;
	return 0;
}

struct index_list *segment_index_find(
	const struct segment_index *index, const char *worker, size_t len)
{
	struct index_list *list = NULL;
	HASH_FIND(hh, index->lists, worker, len, list);
	return list;
}

int segment_index_list(
	struct segment_index *index, const char *worker, size_t len, struct index_list **out)
{
	struct index_list *list = segment_index_find(index, worker, len);
	if (list == NULL) {
		list = calloc(1, sizeof(*list));
		if (list == NULL)
			return -ENOMEM;
		if (!id_set(&list->worker, worker, len)) {
			free(list);
			return -EINVAL;
		}
		HASH_ADD_KEYPTR(hh, index->lists, list->worker.text, len, list);
		if (!map_has_handle(list)) {
			free(list);
			return -ENOMEM;
		}
		index->list_count++;
	}
	*out = list;
	return 0;
}

int segment_index_reserve(struct segment_index *index, struct index_list *list, uint32_t count)
{
	uint64_t wanted = (uint64_t)list->count + list->reserved + count;
	if (wanted > UINT32_MAX)
		return -ENOMEM;
	int r = grow((void **)&list->entries, &list->allocated, (uint32_t)wanted,
		sizeof(*list->entries));
	/* At most one sparse entry a record. */
	if (r == 0)
		r = grow((void **)&index->sparse, &index->sparse_allocated,
			index->sparse_count + index->reserved + count, sizeof(*index->sparse));
	if (r == 0) {
		list->reserved += count;
		index->reserved += count;
	}
	return r;
}

void segment_index_unreserve(struct segment_index *index, struct index_list *list)
{
	index->reserved -= list->reserved;
	list->reserved = 0;
}

void segment_index_add(struct segment_index *index, struct index_list *list, uint32_t offset,
	uint32_t seq_delta, uint32_t size, bool is_keyframe)
{
	assert(list->reserved != 0);
	list->reserved--;
	index->reserved--;
	struct index_entry entry = {offset, seq_delta};
	list->entries[list->count++] = entry;
	list->record_bytes += size;
	if (is_keyframe)
		list->keyframe = seq_delta + 1;
	index->entry_count++;
	if (index->sparse_count == 0 ||
		offset - index->sparse[index->sparse_count - 1].offset >= INDEX_SPARSE_BYTES) {
		assert(index->sparse_count < index->sparse_allocated);
		index->sparse[index->sparse_count++] = entry;
	}
}

int segment_index_add_damage(struct segment_index *index, uint64_t first, uint64_t last)
{
	int r = grow((void **)&index->damage, &index->damage_allocated, index->damage_count + 1,
		sizeof(*index->damage));
	if (r == 0)
		index->damage[index->damage_count++] = (struct damage_range){first, last};
	return r;
}

const struct index_entry *segment_index_sparse(
	const struct segment_index *index, uint32_t seq_delta)
{
	uint32_t low = 0, high = index->sparse_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (index->sparse[middle].seq_delta <= seq_delta)
			low = middle + 1;
		else
			high = middle;
	}
	return low == 0 ? NULL : &index->sparse[low - 1];
}

uint32_t segment_index_lower_bound(const struct index_list *list, uint32_t seq_delta)
{
	uint32_t low = 0, high = list->count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (list->entries[middle].seq_delta < seq_delta)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}
