/*
 * The output of a rewrite: the input with pieces left out or replaced, in their order.
 *
 * Nothing is copied before the first splice, and what lies outside of splices is copied as it is.
 * Results are 0 or the -errno of the buffer (-EMSGSIZE at its cap); after an error the content
 * means nothing.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/base/buf.h"

struct splice {
	const uint8_t *in;
	size_t len;
	size_t done; /* input up to here is in `out` or left out */
	size_t count;
	struct buf out; /* its allocation is used again */
};

void splice_begin(struct splice *splice, const uint8_t *in, size_t len);

/* Leaves out [start, end); what follows goes where it was. */
_must_check_ int splice_cut(struct splice *splice, size_t start, size_t end);

/* Puts bytes where [start, end) was. */
_must_check_ int splice_replace(
	struct splice *splice, size_t start, size_t end, const void *bytes, size_t len);

/* Copies the rest. Call it only when there was a splice. */
_must_check_ int splice_end(struct splice *splice);
