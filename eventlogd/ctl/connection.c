#include "eventlogd/ctl/connection.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "eventlogd/ctl/refusal.h"
#include "proto/base/unix_socket.h"
#include "proto/limits.h"

enum { FIRST_RETRY_MS = 100, LAST_RETRY_MS = 2000, MAX_QUEUED_BYTES = 64 * 1024 * 1024 };

static const char no_answer[] = "no answer: it may have as many connections as it takes";

static void connection_on_retry(uv_timer_t *timer)
{
	connection_start(timer->data);
}

static void connection_lost(struct connection *connection, const char *why)
{
	connection->welcomed = false;
	connection->waiting_since_ms = 0;
	uv_timer_stop(&connection->wait);
	connection->handler->on_lost(connection, why);
	if (connection->stopping)
		return;
	uv_timer_start(&connection->retry, connection_on_retry, connection->retry_ms, 0);
	connection->retry_ms *= 2;
	if (connection->retry_ms > LAST_RETRY_MS)
		connection->retry_ms = LAST_RETRY_MS;
}

static void connection_on_closed(struct channel *channel)
{
	struct connection *connection = channel->owner;
	connection->channel_is_open = false;
	connection->channel_is_closing = false;
}

static void close_channel(struct connection *connection)
{
	if (!connection->channel_is_open || connection->channel_is_closing)
		return;
	connection->channel_is_closing = true;
	channel_close(&connection->channel, connection_on_closed);
}

static void connection_fail(struct connection *connection, const char *why)
{
	close_channel(connection);
	connection_lost(connection, why);
}

static void tell_wait(struct connection *connection)
{
	if (!connection->wait_is_told)
		connection->handler->on_wait(connection, connection->wait_reason);
	connection->wait_is_told = true;
}

static void connection_on_wait(uv_timer_t *timer)
{
	struct connection *connection = timer->data;
	uint64_t waited_ms = uv_now(connection->loop) - connection->waiting_since_ms;
	if (waited_ms < CONNECTION_WAIT_MS) {
		tell_wait(connection);
		uv_timer_start(timer, connection_on_wait, CONNECTION_WAIT_MS - waited_ms, 0);
		return;
	}
	uv_timer_stop(&connection->retry); /* of a full backlog */
	connection_fail(connection, connection->wait_reason);
}

/* From the first attempt on, until WELCOME. */
static void begin_wait(struct connection *connection)
{
	if (connection->waiting_since_ms != 0)
		return;
	uv_update_time(connection->loop);
	connection->waiting_since_ms = uv_now(connection->loop);
	connection->wait_is_told = false;
	snprintf(connection->wait_reason, sizeof(connection->wait_reason), "%s", no_answer);
	uv_timer_start(&connection->wait, connection_on_wait, CONNECTION_WAIT_IS_TOLD_MS, 0);
}

/*
 * The other side has ended it, or is away. Before the first WELCOME that means that eventlogd is
 * just being stopped or started: it tries again while it may wait. Later it is lost, and made anew.
 */
static void connection_cut(struct connection *connection, const char *why)
{
	if (connection->ever_welcomed) {
		connection_fail(connection, why);
		return;
	}
	snprintf(connection->wait_reason, sizeof(connection->wait_reason), "%s", why);
	close_channel(connection);
	uv_timer_start(&connection->retry, connection_on_retry, FIRST_RETRY_MS, 0);
}

static void connection_on_refusal(struct connection *connection, const struct message *message)
{
	struct refusal refusal;
	char why[CONNECTION_REASON_BYTES];
	refusal_read(&refusal, message);
	snprintf(why, sizeof(why), "%.*s: %.*s", 80, refusal.code, CONNECTION_REASON_BYTES - 90,
		refusal.text);
	if (refusal_is_of_stop(&refusal) || refusal_is_passing(&refusal))
		connection_cut(connection, why);
	else
		connection_fail(connection, why);
}

static void connection_on_frame(struct channel *channel, const uint8_t *body, size_t len)
{
	struct connection *connection = channel->owner;
	struct message message;
	const char *why;
	int r = message_decode(&connection->decoder, connection->peer, body, len, &message, &why);
	if (r != MESSAGE_OK) {
		connection_fail(connection, r == MESSAGE_MALFORMED ? why : strerror(-r));
		return;
	}
	if (connection->welcomed) {
		connection->handler->on_message(connection, &message);
		return;
	}
	if (message.type == MESSAGE_ERROR) {
		connection_on_refusal(connection, &message);
		return;
	}
	uint64_t version;
	if (message.type != MESSAGE_WELCOME || !field_u64(&message.field[0], &version) ||
		version != PROTOCOL_VERSION) {
		connection_fail(connection, "the other side does not speak this protocol version");
		return;
	}
	connection->waiting_since_ms = 0;
	uv_timer_stop(&connection->wait);
	connection->welcomed = true;
	connection->ever_welcomed = true;
	connection->retry_ms = FIRST_RETRY_MS;
	connection->handler->on_welcome(connection, &message.field[1]);
}

static void connection_on_drained(struct channel *channel)
{
	struct connection *connection = channel->owner;
	if (connection->welcomed && connection->handler->on_drained != NULL)
		connection->handler->on_drained(connection);
}

static void connection_on_end(struct channel *channel, enum channel_end end)
{
	struct connection *connection = channel->owner;
	connection_cut(connection,
		end == CHANNEL_END_ERROR ? strerror(-channel->error) : channel_end_name(end));
}

static const struct channel_handler channel_handler = {
	connection_on_frame, connection_on_drained, connection_on_end};

static int send_hello(struct connection *connection)
{
	_cleanup_buf_ struct buf frame = {0};
	struct message_writer w;
	message_begin(&w, &frame, MESSAGE_HELLO);
	write_u64(&w, PROTOCOL_VERSION);
	write_text(&w, connection->name);
	int r = message_end(&w);
	return r < 0 ? r : connection_send(connection, &frame);
}

int connection_init(struct connection *connection, uv_loop_t *loop, const char *path,
	const char *name, enum message_sender peer, const struct connection_handler *handler,
	void *owner)
{
	*connection = (struct connection){.handler = handler,
		.owner = owner,
		.loop = loop,
		.path = path,
		.name = name,
		.peer = peer,
		.retry_ms = FIRST_RETRY_MS};
	int r = message_decoder_init(&connection->decoder);
	if (r < 0)
		return r;
	uv_timer_init(loop, &connection->retry);
	uv_timer_init(loop, &connection->wait);
	connection->retry.data = connection->wait.data = connection;
	return 0;
}

void connection_start(struct connection *connection)
{
	if (connection->stopping)
		return;
	if (connection->channel_is_open) { /* its handles are not closed yet */
		uv_timer_start(&connection->retry, connection_on_retry, 1, 0);
		return;
	}
	begin_wait(connection);
	int fd = unix_socket_connect(connection->path);
	if (fd == -EAGAIN) { /* the backlog is full */
		tell_wait(connection);
		uv_timer_start(&connection->retry, connection_on_retry, FIRST_RETRY_MS, 0);
		return;
	}
	if (fd < 0 && connection->ever_connected) {
		connection_cut(connection, strerror(-fd));
		return;
	}
	if (fd < 0) { /* nobody is there, or that is no such place */
		connection_lost(connection, strerror(-fd));
		return;
	}
	struct channel_limits limits = {FRAME_BYTES_MAX, MAX_QUEUED_BYTES};
	int r = channel_open(
		&connection->channel, connection->loop, fd, &limits, &channel_handler, connection);
	if (r < 0) {
		connection_lost(connection, strerror(-r));
		return;
	}
	connection->channel_is_open = connection->ever_connected = true;
	r = send_hello(connection);
	if (r < 0)
		connection_fail(connection, strerror(-r));
}

int connection_send(struct connection *connection, const struct buf *frames)
{
	return channel_send(&connection->channel, frames->data, frames->len);
}

void connection_stop(struct connection *connection)
{
	if (connection->stopping)
		return;
	connection->stopping = true;
	connection->welcomed = false;
	close_channel(connection);
	uv_close((uv_handle_t *)&connection->retry, NULL);
	uv_close((uv_handle_t *)&connection->wait, NULL);
}

void connection_free(struct connection *connection)
{
	message_decoder_free(&connection->decoder);
}
