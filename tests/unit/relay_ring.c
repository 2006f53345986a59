/* backend-relay/ring: what it covers, what a lapped reader is told, who may join. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend-relay/ring.h"

struct item {
	struct ring_slot slot;
	unsigned int *released;
};

static void release_item(void *element)
{
	struct item *item = element;
	(*item->released)++;
}

static unsigned int released;

static int setup(void **state)
{
	static struct ring ring;
	released = 0;
	ring_init(&ring, sizeof(struct item), 8, 1000, release_item);
	ring_restart(&ring, &(struct cursor){7, 1, 100});
	*state = &ring;
	return 0;
}

static int teardown(void **state)
{
	ring_free(*state);
	return 0;
}

static void push(struct ring *ring, uint16_t epoch, uint64_t sequence, size_t bytes)
{
	struct item item = {{{7, epoch, sequence}, bytes}, &released};
	assert_int_equal(ring_push(ring, &item), 0);
}

static enum ring_find find(
	const struct ring *ring, uint32_t log, uint16_t epoch, uint64_t sequence, uint64_t *index)
{
	return ring_find_after(ring, &(struct cursor){log, epoch, sequence}, index);
}

static void empty_ring_covers_what_comes_after_its_floor(void **state)
{
	struct ring *ring = *state;
	uint64_t index = 99;
	assert_int_equal(find(ring, 7, 1, 100, &index), RING_FOUND);
	assert_int_equal(index, ring->end);
	assert_int_equal(find(ring, 7, 1, 99, &index), RING_TOO_OLD);
	assert_int_equal(find(ring, 7, 1, 150, &index), RING_FOUND);
	assert_int_equal(ring_head(ring).sequence, 100);
}

static void reader_joins_exactly_behind_what_it_has(void **state)
{
	struct ring *ring = *state;
	push(ring, 1, 102, 1);
	push(ring, 1, 105, 1);
	push(ring, 2, 109, 1);
	static const uint64_t after[] = {100, 101, 102, 104, 105, 109, 200};
	static const uint64_t wanted[] = {0, 0, 1, 1, 2, 3, 3};
	for (size_t i = 0; i < 7; i++) {
		uint64_t index;
		uint16_t epoch = after[i] >= 109 ? 2 : 1;
		assert_int_equal(find(ring, 7, epoch, after[i], &index), RING_FOUND);
		assert_int_equal(index, wanted[i]);
	}
}

static void caps_drop_the_oldest_and_move_the_floor(void **state)
{
	struct ring *ring = *state;
	for (uint64_t s = 101; s <= 110; s++)
		push(ring, 1, s, 1);
	assert_int_equal(ring->end - ring->first, 8);
	assert_int_equal(released, 2);
	assert_int_equal(ring->floor.sequence, 102);
	uint64_t index;
	assert_int_equal(find(ring, 7, 1, 101, &index), RING_TOO_OLD);
	assert_int_equal(find(ring, 7, 1, 102, &index), RING_FOUND);
	assert_int_equal(index, ring->first);
	push(ring, 1, 111, 999);
	assert_int_equal(ring->end - ring->first, 2);
	push(ring, 1, 112, 5000);
	assert_int_equal(ring->end - ring->first, 1);
	assert_int_equal(ring->bytes, 5000);
}

static void lost_records_and_their_successors_never_mix(void **state)
{
	struct ring *ring = *state;
	push(ring, 1, 101, 1);
	push(ring, 1, 105, 1);
	uint64_t index;
	/* Sequence 103 of epoch 2 can't be followed by 105 of epoch 1. */
	assert_int_equal(find(ring, 7, 2, 103, &index), RING_OTHER_HISTORY);
	assert_int_equal(find(ring, 7, 2, 105, &index), RING_OTHER_HISTORY);
	assert_int_equal(find(ring, 7, 0, 103, &index), RING_OTHER_HISTORY);
	assert_int_equal(find(ring, 8, 1, 105, &index), RING_OTHER_HISTORY);
	assert_int_equal(find(ring, 7, 2, 106, &index), RING_FOUND);
}

static void only_positions_of_the_ring_are_found_exactly(void **state)
{
	struct ring *ring = *state;
	push(ring, 1, 102, 1);
	push(ring, 2, 105, 1);
	static const struct {
		struct cursor at;
		bool found;
		uint64_t index;
	} cases[] = {
		{{7, 1, 100}, true, 0}, /* the floor */
		{{7, 1, 102}, true, 1},
		{{7, 2, 105}, true, 2},
		{{7, 1, 101}, false, 0},
		{{7, 2, 106}, false, 0}, /* ahead */
		{{7, 1, 105}, false, 0}, /* lost and numbered again */
		{{8, 1, 102}, false, 0},
		{{7, 1, 99}, false, 0},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t index = 99;
		assert_int_equal(ring_find_exactly(ring, &cases[i].at, &index), cases[i].found);
		assert_int_equal(index, cases[i].found ? cases[i].index : 99);
	}
}

static void restart_releases_everything_and_keeps_counting(void **state)
{
	struct ring *ring = *state;
	push(ring, 1, 101, 1);
	push(ring, 1, 102, 1);
	ring_restart(ring, &(struct cursor){8, 5, 40});
	assert_int_equal(released, 2);
	assert_int_equal(ring->first, 2);
	assert_int_equal(ring->bytes, 0);
	uint64_t index;
	assert_int_equal(find(ring, 7, 1, 102, &index), RING_OTHER_HISTORY);
	assert_int_equal(find(ring, 8, 5, 40, &index), RING_FOUND);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(empty_ring_covers_what_comes_after_its_floor),
		TEST(reader_joins_exactly_behind_what_it_has),
		TEST(caps_drop_the_oldest_and_move_the_floor),
		TEST(lost_records_and_their_successors_never_mix),
		TEST(only_positions_of_the_ring_are_found_exactly),
		TEST(restart_releases_everything_and_keeps_counting),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
