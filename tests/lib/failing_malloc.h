/*
 * Allocations that fail: a test that is linked with this library has its malloc, calloc and realloc
 * led here by the linker, those of the code that it tests too. Shared libraries keep their own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* So many more succeed, whichever thread asks; then one fails, or all that follow. */
void failing_malloc_arm(uint32_t after, bool sticky);

/* All succeed again. Whether one has failed. */
bool failing_malloc_disarm(void);
