/*
 * A ring of elements in stream order that covers everything after a known position.
 *
 * Elements are numbered by an index that never repeats; a reader keeps the index of what it wants
 * next. Pushing beyond the caps drops the oldest elements and moves the floor to the last one that
 * was dropped: a reader whose index is gone has been lapped and must go back to the log. One
 * element is always kept, whatever its size.
 *
 * The element type begins with a struct ring_slot; `release` frees what an element holds.
 *
 * Pure: no clock, no socket, no loop.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/cursor.h"

struct ring_slot {
	struct cursor position; /* a reader that has taken this element has everything up to here */
	size_t bytes;           /* what it costs, towards max_bytes */
};

struct ring {
	size_t element_bytes, max_elements, max_bytes;
	void (*release)(void *element);

	struct cursor floor; /* covers everything after this */
	uint64_t first, end; /* indices: of the oldest element, and after the newest */
	size_t bytes;

	uint8_t *slots; /* private */
	size_t capacity;
};

void ring_init(struct ring *ring, size_t element_bytes, size_t max_elements, size_t max_bytes,
	void (*release)(void *element));

/* While nothing has been pushed: the first element gets this index. */
void ring_number_from(struct ring *ring, uint64_t index);

/* Empties it. From now on it covers everything after `floor`. Indices go on. */
void ring_restart(struct ring *ring, const struct cursor *floor);
void ring_free(struct ring *ring);

/* Copies an element in and takes what it holds. 0, or -ENOMEM (nothing taken). */
_must_check_ int ring_push(struct ring *ring, const void *element);

/* The element at an index in [first, end). */
void *ring_at(const struct ring *ring, uint64_t index);

/* Drops the elements before `index`. */
void ring_drop_before(struct ring *ring, uint64_t index);

/* Where a reader stands before it takes `index`, in [first, end]. */
struct cursor ring_position_before(const struct ring *ring, uint64_t index);

/* The position of a reader that has taken everything. */
struct cursor ring_head(const struct ring *ring);

/*
 * Whether `at` is exactly a position of this ring, the floor among them; then *index is what comes
 * behind it.
 */
bool ring_find_exactly(const struct ring *ring, const struct cursor *at, uint64_t *index);

enum ring_find {
	RING_FOUND = 0,
	RING_TOO_OLD,       /* before the floor: what comes next is gone */
	RING_OTHER_HISTORY, /* another log, or an epoch that contradicts the ring's */
};

/*
 * The index of what a reader that has everything up to `after` wants next; ring->end when it has
 * everything. Sequences and epochs must rise together: records that were lost with the power and
 * numbered again differ in epoch, and a reader that has one history never joins the other.
 */
enum ring_find ring_find_after(
	const struct ring *ring, const struct cursor *after, uint64_t *index);
