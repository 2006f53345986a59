#include "tests/lib/failing_malloc.h"

#include <stddef.h>

enum { NEVER = UINT32_MAX };

/* Names that the linker gives them (--wrap). */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

static uint32_t fails_after = NEVER; /* this many succeed */
static bool is_sticky, was_met;

static bool fails(void)
{
	uint32_t left = __atomic_load_n(&fails_after, __ATOMIC_RELAXED);
	if (left == NEVER)
		return false;
	if (left != 0) {
		__atomic_store_n(&fails_after, left - 1, __ATOMIC_RELAXED);
		return false;
	}
	if (!__atomic_load_n(&is_sticky, __ATOMIC_RELAXED))
		__atomic_store_n(&fails_after, NEVER, __ATOMIC_RELAXED);
	__atomic_store_n(&was_met, true, __ATOMIC_RELAXED);
	return true;
}

void failing_malloc_arm(uint32_t after, bool sticky)
{
	__atomic_store_n(&is_sticky, sticky, __ATOMIC_RELAXED);
	__atomic_store_n(&was_met, false, __ATOMIC_RELAXED);
	__atomic_store_n(&fails_after, after, __ATOMIC_RELAXED);
}

bool failing_malloc_disarm(void)
{
	__atomic_store_n(&fails_after, NEVER, __ATOMIC_RELAXED);
	return __atomic_load_n(&was_met, __ATOMIC_RELAXED);
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
	return fails() ? NULL : __real_realloc(memory, size);
}
