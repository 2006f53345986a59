#include "backend-relay/projector/link.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/base/unix_socket.h"
#include "proto/channel.h"
#include "proto/limits.h"

enum { QUEUED_BYTES_MAX = 4 * 1024 * 1024 };

struct link {
	struct channel channel;
	struct message_decoder decoder;
	const struct link_handler *handler;
	void *owner; /* NULL once it was closed */
	bool is_up;
};

/* ---- what comes ---- */

static const char *take_welcome(struct link *link, const struct message *message)
{
	uint64_t version;
	if (link->is_up)
		return "a second WELCOME";
	if (!field_u64(&message->field[0], &version) || version != PROTOCOL_VERSION)
		return "another protocol version";
	link->is_up = true;
	link->handler->on_up(link->owner);
	return NULL;
}

static const char *take_message(struct link *link, const struct message *message)
{
	if (message->type == MESSAGE_WELCOME)
		return take_welcome(link, message);
	if (message->type == MESSAGE_ERROR)
		return "it answered with an error";
	if (!link->is_up)
		return "no WELCOME at the beginning";
	return link->handler->on_answer(link->owner, message);
}

static void link_on_frame(struct channel *channel, const uint8_t *body, size_t len)
{
	struct link *link = channel->owner;
	if (link->owner == NULL)
		return;
	struct message message;
	const char *why = "out of memory";
	if (message_decode(&link->decoder, FROM_PROJECTION, body, len, &message, &why) ==
		MESSAGE_OK)
		why = take_message(link, &message);
	if (why != NULL && link->owner != NULL)
		link->handler->on_end(link->owner, why);
}

static void link_on_drained(struct channel *channel)
{
	struct link *link = channel->owner;
	if (link->owner != NULL)
		link->handler->on_drained(link->owner);
}

static void link_on_end(struct channel *channel, enum channel_end end)
{
	struct link *link = channel->owner;
	if (link->owner != NULL)
		link->handler->on_end(link->owner, channel_end_name(end));
}

static const struct channel_handler channel_handler = {link_on_frame, link_on_drained, link_on_end};

/* ---- opening and closing ---- */

static bool send_hello(struct link *link)
{
	_cleanup_buf_ struct buf out = {0};
	struct message_writer writer;
	message_begin(&writer, &out, MESSAGE_HELLO);
	write_u64(&writer, PROTOCOL_VERSION);
	write_text(&writer, "backend-relay");
	return message_end(&writer) == 0 && link_send(link, &out);
}

static void link_free(struct link *link)
{
	message_decoder_free(&link->decoder);
	free(link);
}

static void link_on_closed(struct channel *channel)
{
	link_free(channel->owner);
}

int link_open(struct link **out, uv_loop_t *loop, const char *socket_path,
	const struct link_handler *handler, void *owner)
{
	const struct channel_limits limits = {
		.max_frame_bytes = FRAME_BYTES_MAX,
		.max_queued_bytes = FRAME_BYTES_MAX + QUEUED_BYTES_MAX,
	};
	struct link *link = calloc(1, sizeof(*link));
	if (link == NULL)
		return -ENOMEM;
	link->handler = handler;
	link->owner = owner;
	int r = message_decoder_init(&link->decoder);
	if (r == 0)
		r = unix_socket_connect(socket_path);
	if (r >= 0)
		r = channel_open(&link->channel, loop, r, &limits, &channel_handler, link);
	if (r < 0) {
		link_free(link);
		return r;
	}
	if (!send_hello(link)) {
		link_close(link);
		return -ENOMEM;
	}
	*out = link;
	return 0;
}

void link_close(struct link *link)
{
	if (link == NULL)
		return;
	link->owner = NULL;
	channel_close(&link->channel, link_on_closed);
}

/* ---- what goes ---- */

bool link_send(struct link *link, const struct buf *frames)
{
	return channel_send(&link->channel, frames->data, frames->len) == CHANNEL_OK;
}

bool link_has_room(struct link *link)
{
	if (channel_queued_bytes(&link->channel) < QUEUED_BYTES_MAX)
		return true;
	channel_is_congested(&link->channel); /* so that on_drained comes */
	return false;
}
