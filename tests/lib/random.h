/* splitmix64: numbers of a seed, for tests that have to be repeatable. */
#pragma once

#include <stdint.h>

uint64_t random_next(uint64_t *state);
uint64_t random_below(uint64_t *state, uint64_t bound);
