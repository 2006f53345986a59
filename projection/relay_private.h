/*
 * One connection of a backend-relay: relay.c has its beginning, its end and what is sent on it,
 * request.c what it asks.
 */
#pragma once

#include "projection/relay.h"
#include "proto/base/map.h"
#include "proto/channel.h"
#include "proto/message.h"

struct pass {
	uint64_t id;
	struct rules *rules;
	struct open_blocks blocks;
	UT_hash_handle hh;
};

struct relay {
	struct relay *next, **link;
	struct relay_server *server;
	struct channel channel;
	struct pass *passes;
	struct peer_credentials peer;
	bool greeted, ended;
};

/* Takes it out of the relay's. */
void relay_forget_pass(struct relay *relay, struct pass *pass);

/* Begins an answer in the server's buffer. */
void relay_begin_reply(struct relay *relay, struct message_writer *writer, enum message_type type);

/* Ends and sends it. NULL, or why this connection can't go on. */
_must_check_ const char *relay_send_reply(struct relay *relay, struct message_writer *writer);

/* Does what a message asks. NULL, or why this connection can't go on. */
_must_check_ const char *relay_on_message(struct relay *relay, const struct message *message);
