#include "backend-relay/ring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 16 };

void ring_init(struct ring *ring, size_t element_bytes, size_t max_elements, size_t max_bytes,
	void (*release)(void *element))
{
	assert(element_bytes >= sizeof(struct ring_slot) && max_elements > 0);
	*ring = (struct ring){.element_bytes = element_bytes,
		.max_elements = max_elements,
		.max_bytes = max_bytes,
		.release = release};
}

void ring_number_from(struct ring *ring, uint64_t index)
{
	assert(ring->first == ring->end);
	ring->first = ring->end = index;
}

static struct ring_slot *slot_at(const struct ring *ring, uint64_t index)
{
	/* The capacity is a power of two. */
	return (void *)(ring->slots + (index & (ring->capacity - 1)) * ring->element_bytes);
}

void *ring_at(const struct ring *ring, uint64_t index)
{
	assert(index >= ring->first && index < ring->end);
	return slot_at(ring, index);
}

static void drop_oldest(struct ring *ring)
{
	struct ring_slot *slot = slot_at(ring, ring->first);
	ring->floor = slot->position;
	ring->bytes -= slot->bytes;
	ring->first++;
	ring->release(slot);
}

void ring_drop_before(struct ring *ring, uint64_t index)
{
	while (ring->first < index && ring->first < ring->end)
		drop_oldest(ring);
}

void ring_restart(struct ring *ring, const struct cursor *floor)
{
	ring_drop_before(ring, ring->end);
	ring->floor = *floor;
}

void ring_free(struct ring *ring)
{
	ring_drop_before(ring, ring->end);
	free(ring->slots);
	ring->slots = NULL;
	ring->capacity = 0;
}

static int grow(struct ring *ring)
{
	size_t capacity = ring->capacity > 0 ? 2 * ring->capacity : FIRST_CAPACITY;
	uint8_t *slots = calloc(capacity, ring->element_bytes);
	if (slots == NULL)
		return -ENOMEM;
	struct ring larger = *ring;
	larger.slots = slots;
	larger.capacity = capacity;
	for (uint64_t i = ring->first; i < ring->end; i++)
		memcpy(slot_at(&larger, i), slot_at(ring, i), ring->element_bytes);
	free(ring->slots);
	*ring = larger;
	return 0;
}

int ring_push(struct ring *ring, const void *element)
{
	const struct ring_slot *slot = element;
	while (ring->first < ring->end && (ring->end - ring->first >= ring->max_elements ||
						  ring->bytes + slot->bytes > ring->max_bytes))
		drop_oldest(ring);
	if (ring->end - ring->first == ring->capacity) {
		int r = grow(ring);
		if (r < 0)
			return r;
	}
	memcpy(slot_at(ring, ring->end), element, ring->element_bytes);
	ring->end++;
	ring->bytes += slot->bytes;
	return 0;
}

struct cursor ring_position_before(const struct ring *ring, uint64_t index)
{
	assert(index >= ring->first && index <= ring->end);
	return index == ring->first ? ring->floor : slot_at(ring, index - 1)->position;
}

struct cursor ring_head(const struct ring *ring)
{
	return ring_position_before(ring, ring->end);
}

/* Whether b may stand after a in one history. */
static bool in_order(const struct cursor *a, const struct cursor *b)
{
	if (a->log != b->log)
		return false;
	return a->sequence == b->sequence ? a->epoch == b->epoch : a->epoch <= b->epoch;
}

enum ring_find ring_find_after(const struct ring *ring, const struct cursor *after, uint64_t *index)
{
	if (after->log != ring->floor.log)
		return RING_OTHER_HISTORY;
	if (after->sequence < ring->floor.sequence)
		return RING_TOO_OLD;
	uint64_t low = ring->first, high = ring->end; /* the first element after `after` */
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		if (slot_at(ring, middle)->position.sequence > after->sequence)
			high = middle;
		else
			low = middle + 1;
	}
	struct cursor before = ring_position_before(ring, low);
	if (!in_order(&before, after))
		return RING_OTHER_HISTORY;
	if (low < ring->end && !in_order(after, &slot_at(ring, low)->position))
		return RING_OTHER_HISTORY;
	*index = low;
	return RING_FOUND;
}

bool ring_find_exactly(const struct ring *ring, const struct cursor *at, uint64_t *index)
{
	uint64_t found;
	if (ring_find_after(ring, at, &found) != RING_FOUND)
		return false;
	struct cursor before = ring_position_before(ring, found);
	if (before.sequence != at->sequence || before.epoch != at->epoch)
		return false;
	*index = found;
	return true;
}
