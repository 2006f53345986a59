/*
 * Subscriber: one connection to tail.sock.
 *
 * Answers STATUS and WORKERS at any time, FORGET for operators, and carries at most one
 * subscription. The log is read for it only while its socket takes what was read: at most one piece
 * of the log waits in memory, and a reader that does not read costs itself only. A frame that
 * breaks the protocol is answered by ERROR and closes this connection only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/server.h"

/* Takes the descriptor. The subscriber frees itself when the connection ends. */
void subscriber_open(struct server *server, int fd, const struct peer_credentials *peer);

/* Once a turn: hands on what has become visible. Returns how many bytes of the log. */
size_t subscriber_on_turn(struct subscriber *subscriber);
/* There is more for it than what was just appended. */
bool subscriber_is_catching_up(const struct subscriber *subscriber);

/* Says why, and closes when what is queued is out. */
void subscriber_close(struct subscriber *subscriber, const char *code, const char *text);

/* At once and without a word; the memory goes with the next turns of the loop. */
void subscriber_drop(struct subscriber *subscriber);

struct subscriber *subscriber_next(struct subscriber *subscriber);
bool subscriber_is_overdue(const struct subscriber *subscriber, uint64_t now_ns);
