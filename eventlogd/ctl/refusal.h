/*
 * Refusal: what a NACK or an ERROR of eventlogd's says, ready to be printed.
 */
#pragma once

#include <stdbool.h>

#include "proto/limits.h"
#include "proto/message.h"

struct refusal {
	/* Escaped for a terminal; "" where the message has no text. */
	char code[128], text[2 * ERROR_TEXT_BYTES_MAX];
};

void refusal_read(struct refusal *refusal, const struct message *message);

/* A NACK of one event, by whatever log: `index` says which. */
bool refusal_is_of_event(const struct refusal *refusal);
/* A NACK that may become an ACK with time. */
bool refusal_is_passing(const struct refusal *refusal);
/* An ERROR before the connection ends for a while: another one will do. */
bool refusal_is_of_stop(const struct refusal *refusal);
