/*
 * Publisher: one connection to publish.sock.
 *
 * Reads HELLO, PUBLISH and POSITION, checks each batch whole, stages it, and replies in the order
 * of the requests. It is not read while REPLIES_MAX replies wait, while it does not read its
 * replies, or while the log takes nothing more. A frame that breaks the protocol is answered by
 * ERROR and closes this publisher only.
 */
#pragma once

#include <stdint.h>

#include "eventlogd/server.h"

/* Takes the descriptor. The publisher frees itself when the connection ends. */
void publisher_open(struct server *server, int fd, const struct peer_credentials *peer);

/* Once a turn, of the busy ones: sends what is due, stages what had to wait. */
void publisher_on_turn(struct publisher *publisher);
/* The log dropped every ticket above this one. */
void publisher_on_dropped(
	struct publisher *publisher, uint64_t ticket, const char *code, const char *text);

/* No more is read; `publisher_close` then says why and closes when its replies are out. */
void publisher_stop_reading(struct publisher *publisher);
void publisher_close(struct publisher *publisher, const char *code, const char *text);

/* At once and without a word; the memory goes with the next turns of the loop. */
void publisher_drop(struct publisher *publisher);

struct publisher *publisher_next(struct publisher *publisher);
struct publisher *publisher_next_busy(struct publisher *publisher);
/* Says nothing for too long before HELLO. */
bool publisher_is_overdue(const struct publisher *publisher, uint64_t now_ns);
