/*
 * Reading a SUBSCRIBE frame: from the fields of a hostile message to where a reader starts. Pure.
 *
 * Results: SUBSCRIBE_OK; SUBSCRIBE_REFUSED with an ERROR code (the peer may try again);
 * SUBSCRIBE_MALFORMED (the frame breaks the protocol: the peer is closed); -ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "eventlogd/log/reader.h"
#include "proto/base/attributes.h"
#include "proto/message.h"

/* The texts are borrowed from the message, the arrays are owned. Zero-initialise before reading. */
struct subscribe {
	uint64_t request_id;
	struct reader_selection selection;
	struct reader_start start;
	bool follow;
};

enum subscribe_result { SUBSCRIBE_OK = 0, SUBSCRIBE_REFUSED = 1, SUBSCRIBE_MALFORMED = 2 };

/* `code` and `text` are static; set unless SUBSCRIBE_OK. */
_must_check_ int subscribe_read(struct subscribe *subscribe, const struct message *message,
	const char **code, const char **text);
void subscribe_free(struct subscribe *subscribe);
