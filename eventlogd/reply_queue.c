#include "eventlogd/reply_queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/message.h"

enum { FIRST_ALLOCATION = 16 };

static struct reply *reply_at(struct reply_queue *queue, size_t index)
{
	return &queue->ring[(queue->head + index) & (queue->allocated - 1)];
}

void reply_queue_free(struct reply_queue *queue)
{
	for (size_t i = 0; i < queue->count; i++) {
		struct reply *reply = reply_at(queue, i);
		if (reply->type == REPLY_NACK)
			free(reply->nack.text);
	}
	free(queue->ring);
	*queue = (struct reply_queue){0};
}

bool reply_queue_is_full(const struct reply_queue *queue)
{
	return queue->count >= REPLIES_MAX;
}

static int grow(struct reply_queue *queue)
{
	size_t allocated = queue->allocated > 0 ? queue->allocated * 2 : FIRST_ALLOCATION;
	struct reply *ring = calloc(allocated, sizeof(*ring));
	if (ring == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < queue->count; i++)
		ring[i] = *reply_at(queue, i);
	free(queue->ring);
	queue->ring = ring;
	queue->head = 0;
	queue->allocated = allocated;
	return 0;
}

int reply_queue_push(struct reply_queue *queue, const struct reply *reply)
{
	assert(!reply_queue_is_full(queue));
	if (queue->count == queue->allocated && grow(queue) < 0) {
		if (reply->type == REPLY_NACK)
			free(reply->nack.text);
		return -ENOMEM;
	}
	*reply_at(queue, queue->count++) = *reply;
	queue->waiting_acks += reply->type == REPLY_ACK;
	return 0;
}

static int write_reply(const struct reply *reply, const char *ack_word, struct buf *out)
{
	static const enum message_type types[] = {
		[REPLY_ACK] = MESSAGE_ACK,
		[REPLY_NACK] = MESSAGE_NACK,
		[REPLY_POSITION] = MESSAGE_POSITION_REPLY,
	};
	struct message_writer w;
	message_begin(&w, out, types[reply->type]);
	write_u64(&w, reply->request_id);
	switch (reply->type) {
	case REPLY_ACK:
		if (reply->ack.first_seq != 0) {
			write_u64(&w, reply->ack.first_seq);
			write_u64(&w, reply->ack.last_seq);
		} else {
			write_nil(&w);
			write_nil(&w);
		}
		write_u64(&w, reply->ack.skipped);
		write_text(&w, ack_word);
		break;
	case REPLY_NACK:
		write_text(&w, reply->nack.code);
		write_text(&w, reply->nack.text != NULL ? reply->nack.text : "");
		if (reply->nack.has_index)
			write_u64(&w, reply->nack.index);
		else
			write_nil(&w);
		break;
	case REPLY_POSITION:
		if (reply->position.has_last)
			write_u64(&w, reply->position.last);
		else
			write_nil(&w);
		break;
	}
	return message_end(&w);
}

int reply_queue_write_due(struct reply_queue *queue, uint64_t acked_ticket, const char *ack_word,
	size_t max_bytes, struct buf *out)
{
	while (queue->count > 0 && out->len < max_bytes) {
		struct reply *reply = reply_at(queue, 0);
		if (reply->type == REPLY_ACK && reply->ack.ticket > acked_ticket)
			return 0;
		int r = write_reply(reply, ack_word, out);
		if (r < 0)
			return r;
		queue->waiting_acks -= reply->type == REPLY_ACK;
		if (reply->type == REPLY_NACK)
			free(reply->nack.text);
		queue->head = (queue->head + 1) & (queue->allocated - 1);
		queue->count--;
	}
	return 0;
}

void reply_queue_refuse_above(
	struct reply_queue *queue, uint64_t ticket, const char *code, const char *text)
{
	for (size_t i = 0; i < queue->count; i++) {
		struct reply *reply = reply_at(queue, i);
		if (reply->type != REPLY_ACK || reply->ack.ticket <= ticket)
			continue;
		reply->type = REPLY_NACK;
		reply->nack.code = code;
		reply->nack.text = strdup(text); /* without memory for it, the code says enough */
		reply->nack.has_index = false;
		queue->waiting_acks--;
	}
}
