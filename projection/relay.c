#include "projection/relay.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "projection/relay_private.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/limits.h"

enum {
	PAUSE_QUEUED_BYTES = 1024 * 1024, /* answers that wait: read no more requests */
	GOODBYE_MS = 1000,
	KEEP_REPLY_BYTES = 1024 * 1024,
	LOG_BURST = 5,
};

/* ---- the end of a connection ---- */

static void relay_on_closed(struct channel *channel)
{
	struct relay *relay = channel->owner;
	struct relay_server *server = relay->server;
	*relay->link = relay->next;
	if (relay->next != NULL)
		relay->next->link = relay->link;
	free(relay);
	unix_listener_released(&server->listener);
	if (server->stopping && server->first == NULL && server->on_stopped != NULL)
		server->on_stopped(server);
}

static void relay_close(struct relay *relay)
{
	if (relay->ended)
		return;
	relay->ended = true;
	struct pass *pass, *next;
	map_for_each (relay->passes, pass, next)
		relay_forget_pass(relay, pass);
	channel_close(&relay->channel, relay_on_closed);
}

/* Says why, and closes once that is sent. */
static void relay_refuse(struct relay *relay, const char *why)
{
	struct relay_server *server = relay->server;
	server->counters.protocol_errors++;
	unsigned int suppressed;
	if (journal_limit_pass(&server->errors, clock_monotonic_ns(), &suppressed))
		journal(LOG_WARNING,
			"relay (pid %d, uid %u): %s, closing this connection (%u more not logged)",
			(int)relay->peer.pid, relay->peer.uid, why, suppressed);
	buf_reset(&server->reply, KEEP_REPLY_BYTES);
	if (message_write_error(&server->reply, UINT64_MAX, "protocol_error", why) == 0)
		channel_send_last(&relay->channel, server->reply.data, server->reply.len);
	channel_close_after_flush(&relay->channel, GOODBYE_MS);
}

static void relay_on_end(struct channel *channel, enum channel_end end)
{
	struct relay *relay = channel->owner;
	struct relay_server *server = relay->server;
	if (end == CHANNEL_END_ERROR)
		journal(LOG_WARNING, "relay (pid %d): %s, closing this connection",
			(int)relay->peer.pid, strerror(-channel->error));
	else if (end == CHANNEL_END_FRAME_TOO_LONG || end == CHANNEL_END_PASSED_FD)
		relay_refuse(relay, channel_end_name(end));
	else if (end == CHANNEL_END_MID_FRAME)
		server->counters.protocol_errors++;
	relay_close(relay);
}

/* ---- answers ---- */

void relay_begin_reply(struct relay *relay, struct message_writer *writer, enum message_type type)
{
	buf_reset(&relay->server->reply, KEEP_REPLY_BYTES);
	message_begin(writer, &relay->server->reply, type);
}

const char *relay_send_reply(struct relay *relay, struct message_writer *writer)
{
	struct buf *reply = &relay->server->reply;
	int r = message_end(writer);
	if (r == 0)
		r = channel_send(&relay->channel, reply->data, reply->len);
	if (r != CHANNEL_OK)
		return "no memory for an answer";
	if (channel_queued_bytes(&relay->channel) > PAUSE_QUEUED_BYTES &&
		channel_is_congested(&relay->channel))
		channel_pause(&relay->channel);
	return NULL;
}

static void relay_on_drained(struct channel *channel)
{
	channel_resume(channel);
}

/* ---- the server ---- */

static void relay_on_frame(struct channel *channel, const uint8_t *body, size_t len)
{
	struct relay *relay = channel->owner;
	struct message message;
	const char *why = "no memory for a request";
	int r = message_decode(&relay->server->decoder, FROM_RELAY, body, len, &message, &why);
	if (r == MESSAGE_OK)
		why = relay_on_message(relay, &message);
	if (why != NULL)
		relay_refuse(relay, why);
}

static void relay_on_accept(
	struct unix_listener *listener, int fd, const struct peer_credentials *peer)
{
	static const struct channel_handler handler = {
		.on_frame = relay_on_frame,
		.on_drained = relay_on_drained,
		.on_end = relay_on_end,
	};
	static const struct channel_limits limits = {
		.max_frame_bytes = FRAME_BYTES_MAX,
		.max_queued_bytes = PAUSE_QUEUED_BYTES + FRAME_BYTES_MAX + 4,
	};
	struct relay_server *server = listener->owner;
	struct relay *relay = calloc(1, sizeof(*relay));
	int r = relay != NULL ? 0 : -ENOMEM;
	if (relay == NULL)
		fd_close(fd);
	else
		r = channel_open(&relay->channel, server->loop, fd, &limits, &handler, relay);
	if (r < 0) {
		journal(LOG_ERR, "relay (pid %d): %s, closing this connection", (int)peer->pid,
			strerror(-r));
		free(relay);
		unix_listener_released(listener);
		return;
	}
	relay->server = server;
	relay->peer = *peer;
	relay->next = server->first;
	relay->link = &server->first;
	if (relay->next != NULL)
		relay->next->link = &relay->next;
	server->first = relay;
	server->counters.relays++;
	journal(LOG_INFO, "relay connected (pid %d, uid %u)", (int)peer->pid, peer->uid);
}

static void relay_on_accept_error(struct unix_listener *listener, int error)
{
	(void)listener;
	journal(LOG_ERR, "accepting a relay: %s, trying again", strerror(-error));
}

int relay_server_init(
	struct relay_server *server, const struct policy *policy, const struct projection_key *key)
{
	*server = (struct relay_server){.policy = policy,
		.refusals = {.interval_ns = NS_PER_S, .burst = LOG_BURST},
		.errors = {.interval_ns = NS_PER_S, .burst = LOG_BURST},
		.listener = {.fd = -1}};
	server->rules = calloc(policy->role_count + 1, sizeof(struct rules *));
	if (server->rules == NULL)
		return -ENOMEM;
	int r = 0;
	for (size_t i = 0; i < policy->role_count && r == 0; i++)
		r = rules_compile(&server->rules[i], &policy->role[i], key);
	if (r == 0)
		r = engine_init(&server->engine);
	if (r == 0)
		r = message_decoder_init(&server->decoder);
	if (r < 0)
		relay_server_free(server);
	return r;
}

int relay_server_start(struct relay_server *server, uv_loop_t *loop, int listen_fd)
{
	server->loop = loop;
	server->listener.owner = server;
	server->listener.on_accept = relay_on_accept;
	server->listener.on_error = relay_on_accept_error;
	return unix_listener_start(&server->listener, loop, listen_fd, RELAYS_MAX);
}

void relay_server_stop(struct relay_server *server)
{
	server->stopping = true;
	unix_listener_close(&server->listener);
	for (struct relay *relay = server->first; relay != NULL; relay = relay->next) {
		if (!relay->ended)
			channel_close_after_flush(&relay->channel, GOODBYE_MS);
	}
	if (server->first == NULL && server->on_stopped != NULL)
		server->on_stopped(server);
}

void relay_server_close_all(struct relay_server *server)
{
	server->on_stopped = NULL;
	unix_listener_close(&server->listener);
	for (struct relay *relay = server->first, *next; relay != NULL; relay = next) {
		next = relay->next;
		relay_close(relay);
	}
}

void relay_server_free(struct relay_server *server)
{
	assert(server->first == NULL);
	for (size_t i = 0; server->rules != NULL && i < server->policy->role_count; i++)
		rules_free(server->rules[i]);
	free(server->rules);
	engine_free(&server->engine);
	message_decoder_free(&server->decoder);
	buf_free(&server->reply);
	*server = (struct relay_server){.listener = {.fd = -1}};
}
