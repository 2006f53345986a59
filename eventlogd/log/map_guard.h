/*
 * Reading mapped files without dying of SIGBUS.
 *
 * A page of a mapped file that the disk can't deliver, or that a truncation took away, raises
 * SIGBUS. Code that touches a map runs inside map_guard_run(), which answers -EIO instead. Only
 * faults within the given range, of the calling thread, are taken; any other SIGBUS keeps its
 * meaning. The guarded function is left by a jump: it must own nothing.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"

/*
 * Takes SIGBUS. Done by the first map_guard_run(); again by a program in which something else took
 * the signal since.
 */
void map_guard_install(void);

/* Returns what `function` returns, or -EIO. Not nested. */
_must_check_ int map_guard_run(
	const uint8_t *map, size_t len, int (*function)(void *argument), void *argument);
