/* backend-relay/backoff: the delay stays within its bounds and starts again after a success. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend-relay/backoff.h"

static void ceiling_doubles_up_to_the_cap(void **state)
{
	(void)state;
	struct backoff backoff = {.base_ms = 100, .cap_ms = 1000};
	static const uint64_t ceilings[] = {100, 200, 400, 800, 1000, 1000};
	for (size_t i = 0; i < 6; i++)
		assert_in_range(
			backoff_next_ms(&backoff, UINT32_MAX), ceilings[i] - 1, ceilings[i]);
}

static void jitter_covers_everything_down_to_zero(void **state)
{
	(void)state;
	struct backoff backoff = {.base_ms = 100, .cap_ms = 1000};
	assert_int_equal(backoff_next_ms(&backoff, 0), 0);
	assert_int_equal(backoff_next_ms(&backoff, UINT32_MAX / 2 + 1), 100);
}

static void success_starts_again_from_the_base(void **state)
{
	(void)state;
	struct backoff backoff = {.base_ms = 100, .cap_ms = 1000};
	for (int i = 0; i < 100; i++)
		assert_true(backoff_next_ms(&backoff, UINT32_MAX) <= 1000);
	backoff_reset(&backoff);
	assert_true(backoff_next_ms(&backoff, UINT32_MAX) <= 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ceiling_doubles_up_to_the_cap),
		cmocka_unit_test(jitter_covers_everything_down_to_zero),
		cmocka_unit_test(success_starts_again_from_the_base),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
