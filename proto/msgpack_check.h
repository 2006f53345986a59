/*
 * A check of msgpack bytes before the library sees them.
 *
 * msgpack-c's unpacker believes the counts that it reads: five bytes can make it reserve 8 GiB.
 * This walks the bytes once without allocating and answers whether they are exactly one value
 * whose arrays, maps and strings are all there. Format: github.com/msgpack/msgpack spec.md.
 * Extension types are refused: no message of ours has one. The library allocates 24 bytes for each
 * element, so `max_elements` bounds what a frame of any length can cost.
 */
#pragma once

#include <msgpack.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"

enum msgpack_check_result { MSGPACK_CHECK_OK = 0, MSGPACK_CHECK_MALFORMED = 1 };

/* `max_depth` counts arrays and maps open at once, `max_elements` what all of them hold. `why`
 * points to a static text on failure. */
_must_check_ enum msgpack_check_result msgpack_check(const uint8_t *bytes, size_t len,
	unsigned int max_depth, size_t max_elements, const char **why);

/*
 * The same, then the library: `out` lives in the zone, which is cleared first, and borrows from the
 * bytes. MSGPACK_CHECK_OK, MSGPACK_CHECK_MALFORMED with `why`, or -ENOMEM.
 */
_must_check_ int msgpack_check_and_unpack(msgpack_zone *zone, const uint8_t *bytes, size_t len,
	unsigned int max_depth, size_t max_elements, msgpack_object *out, const char **why);
