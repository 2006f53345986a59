/*
 * WELCOME: what eventlogd tells whoever connects, on both sockets.
 */
#pragma once

#include "eventlogd/server.h"

/* Appends the frame. 0 or -ENOMEM. */
_must_check_ int welcome_write(struct buf *out, const struct server *server);

/* A log id as 32 hex digits. */
void log_id_format(const uint8_t log_id[16], char out[33]);
