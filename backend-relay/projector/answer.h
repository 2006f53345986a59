/*
 * Answer: what projection says of one event, a row of PROJECTED.
 *
 *	[ticket, verdict, payload or nil, open_since or nil]
 *
 * Read whole before anything follows from it, so that a row that is wrong anywhere changes nothing.
 *
 * Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/message.h"

enum answer_verdict { ANSWER_PASS, ANSWER_REWRITE, ANSWER_DENY, ANSWER_REFUSED };

struct answer {
	uint64_t ticket;
	enum answer_verdict verdict;
	const uint8_t *payload; /* of ANSWER_REWRITE, strict UTF-8; else NULL. Borrowed. */
	size_t len;
	bool has_open_since;
	uint64_t open_since; /* not after ticket */
};

/* False when the row can't be right. A warm event gets no payload, whatever its verdict. */
bool answer_read(struct answer *answer, const msgpack_object *row, bool warm);
