#include "eventlogd/publisher.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "eventlogd/ownership.h"
#include "eventlogd/reply_queue.h"
#include "eventlogd/welcome.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/channel.h"
#include "proto/ids.h"
#include "proto/limits.h"
#include "proto/record.h"

enum {
	QUEUED_BYTES_MAX = 256 * 1024, /* of replies, in the channel */
	CLOSE_DEADLINE_MS = 2000,
	HELLO_DEADLINE_S = 10,
};

/* Why it is not read now. */
enum pause_reason {
	PAUSE_REPLIES = 1,  /* too many wait, or it does not read them */
	PAUSE_HELD = 2,     /* a frame waits for the log */
	PAUSE_STOPPING = 4, /* for good */
};

struct publisher {
	LIST_ENTRY(publisher) link;
	LIST_ENTRY(publisher) busy_link; /* while is_busy */
	bool is_busy;
	struct server *server;
	struct channel channel;
	struct peer_credentials peer;
	struct quota_user *quota;
	uint64_t connected_ns;
	bool is_greeted, is_closing, is_gone;
	bool has_producer;
	char producer_id[NAME_BYTES_MAX + 1];
	size_t producer_len;
	uint64_t producer;
	unsigned int paused; /* enum pause_reason */
	struct reply_queue replies;
	struct buf held; /* one frame that could not be handled yet */
};

/* It has something for the next turn: a reply that waits, or a frame. */
static void publisher_set_busy(struct publisher *publisher)
{
	if (!publisher->is_busy)
		LIST_INSERT_HEAD(&publisher->server->busy_publishers, publisher, busy_link);
	publisher->is_busy = true;
	server_turn_soon(publisher->server);
}

static void publisher_set_idle(struct publisher *publisher)
{
	if (publisher->is_busy)
		LIST_REMOVE(publisher, busy_link);
	publisher->is_busy = false;
}

static void publisher_free(struct channel *channel)
{
	struct publisher *publisher = channel->owner;
	struct server *server = publisher->server;
	LIST_REMOVE(publisher, link);
	publisher_set_idle(publisher);
	quota_disconnect(publisher->quota);
	reply_queue_free(&publisher->replies);
	buf_free(&publisher->held);
	free(publisher);
	server_on_publisher_closed(server);
}

static void publisher_pause(struct publisher *publisher, enum pause_reason reason)
{
	if (publisher->paused == 0)
		channel_pause(&publisher->channel);
	publisher->paused |= (unsigned int)reason;
}

static void publisher_resume(struct publisher *publisher, enum pause_reason reason)
{
	if (publisher->paused == 0)
		return;
	publisher->paused &= ~(unsigned int)reason;
	if (publisher->paused == 0)
		channel_resume(&publisher->channel);
}

/* The last word: what is queued goes out first. */
void publisher_close(struct publisher *publisher, const char *code, const char *text)
{
	if (publisher->is_closing)
		return;
	publisher->is_closing = true;
	struct buf *scratch = &publisher->server->scratch;
	buf_reset(scratch, QUEUED_BYTES_MAX);
	if (message_write_error(scratch, UINT64_MAX, code, text) == 0)
		channel_send_last(&publisher->channel, scratch->data, scratch->len);
	channel_close_after_flush(&publisher->channel, CLOSE_DEADLINE_MS);
}

static void publisher_fail(struct publisher *publisher, const char *why)
{
	struct server *server = publisher->server;
	server->counters.publishers_protocol_errors++;
	server_log_peer(server, LOG_WARNING, "publish", &publisher->peer,
		"publisher broke the protocol (%s), closing it", why);
	publisher_close(publisher, "protocol_error", why);
}

static void publisher_fail_unavailable(struct publisher *publisher, int error)
{
	server_log_peer(publisher->server, LOG_ERR, "publish", &publisher->peer,
		"can't serve this publisher (%s), closing it", strerror(-error));
	publisher_close(publisher, "unavailable", "the log can't be written now");
}

static void publisher_push(struct publisher *publisher, const struct reply *reply)
{
	if (reply_queue_push(&publisher->replies, reply) < 0) {
		publisher_fail_unavailable(publisher, -ENOMEM);
		return;
	}
	if (reply_queue_is_full(&publisher->replies) && !(publisher->paused & PAUSE_REPLIES)) {
		publisher->server->counters.publishers_paused++;
		publisher_pause(publisher, PAUSE_REPLIES);
	}
	publisher_set_busy(publisher);
}

static void publisher_refuse(
	struct publisher *publisher, uint64_t request_id, const struct publish_refusal *refusal)
{
	struct reply reply = {.type = REPLY_NACK, .request_id = request_id};
	reply.nack.code = refusal->code;
	reply.nack.text = strdup(refusal->text);
	reply.nack.has_index = refusal->has_index;
	reply.nack.index = refusal->index;
	server_count_nack(publisher->server, refusal->code);
	publisher_push(publisher, &reply);
}

static void publisher_refuse_plainly(
	struct publisher *publisher, uint64_t request_id, const char *code, const char *text)
{
	struct publish_refusal refusal = {.code = code};
	strncpy(refusal.text, text, sizeof(refusal.text) - 1);
	publisher_refuse(publisher, request_id, &refusal);
}

static bool publisher_owns(struct publisher *publisher, struct event_log_batch *batch)
{
	struct server *server = publisher->server;
	struct log_worker known;
	struct ownership_question question = {.worker = batch->worker,
		.worker_len = batch->worker_len,
		.peer = publisher->peer.uid};
	if (event_log_worker(server->log, batch->worker, batch->worker_len, &known)) {
		question.has_owner = true;
		question.owner = known.owner_uid;
	}
	uid_t owner;
	if (!ownership_allows(server->config->rules, server->config->rule_count, &question, &owner))
		return false;
	batch->owner_uid = owner;
	return true;
}

enum handling { HANDLED, HOLD };

/* Keeps a frame, and everything behind it, until the log moves on. */
static enum handling publisher_hold(struct publisher *publisher)
{
	publisher->server->counters.publishers_held++;
	return HOLD;
}

static enum handling publisher_stage(struct publisher *publisher, struct publish_batch *request)
{
	struct server *server = publisher->server;
	struct reply reply = {.type = REPLY_ACK, .request_id = request->request_id};
	uint64_t id = request->request_id;
	int r = event_log_stage(server->log, &request->batch, clock_wall_ns(), &reply.ack);
	switch (r) {
	case EVENT_LOG_OK:
		break;
	case EVENT_LOG_BUSY:
		quota_return_bytes(&server->quotas, publisher->quota, request->payload_bytes);
		return publisher_hold(publisher);
	case EVENT_LOG_NO_SPACE:
		publisher_refuse_plainly(publisher, id, "no_space", "the log's disk is full");
		return HANDLED;
	case EVENT_LOG_READ_ONLY:
		publisher_refuse_plainly(
			publisher, id, "read_only", "the log's disk failed; nothing is written");
		return HANDLED;
	case EVENT_LOG_QUOTA:
		publisher_refuse_plainly(
			publisher, id, "quota_exceeded", "no room for one more worker or producer");
		return HANDLED;
	case EVENT_LOG_PRODUCER_GAP:
		publisher_refuse_plainly(publisher, id, "producer_gap",
			"events before this batch are missing in the log");
		return HANDLED;
	case EVENT_LOG_BATCH_TOO_LARGE:
		publisher_refuse_plainly(
			publisher, id, "batch_too_large", "more than a log segment holds");
		return HANDLED;
	default:
		publisher_fail_unavailable(publisher, r);
		return HANDLED;
	}
	server->last_ticket = reply.ack.ticket;
	server->counters.batches++;
	server->counters.events_skipped += reply.ack.skipped;
	if (reply.ack.first_seq != 0)
		server->counters.events += reply.ack.last_seq - reply.ack.first_seq + 1;
	publisher_push(publisher, &reply);
	return HANDLED;
}

static enum handling publisher_on_publish(
	struct publisher *publisher, const struct message *message)
{
	struct server *server = publisher->server;
	struct publish_batch *request = &server->batch;
	struct publish_refusal refusal;
	int r = publish_batch_read(request, message, server->config->max_event_bytes, &refusal);
	if (r == PUBLISH_BATCH_MALFORMED) {
		publisher_fail(publisher, refusal.text);
		return HANDLED;
	}
	if (r == PUBLISH_BATCH_REFUSED) {
		publisher_refuse(publisher, request->request_id, &refusal);
		return HANDLED;
	}
	if (r < 0) {
		publisher_fail_unavailable(publisher, -ENOMEM);
		return HANDLED;
	}
	if (server->phase != SERVER_RUNNING) {
		publisher_refuse_plainly(
			publisher, request->request_id, "shutting_down", "eventlogd is stopping");
		return HANDLED;
	}
	if (!publisher_owns(publisher, &request->batch)) {
		publisher_refuse_plainly(publisher, request->request_id, "worker_id_denied",
			"this worker id belongs to another user");
		return HANDLED;
	}
	if (!publisher->has_producer)
		request->batch.has_producer_seq = false;
	request->batch.producer = publisher->producer;
	if (!quota_take_bytes(&server->quotas, publisher->quota, request->payload_bytes,
		    clock_monotonic_ns())) {
		publisher_refuse_plainly(publisher, request->request_id, "quota_exceeded",
			"more bytes a second than this user may publish");
		return HANDLED;
	}
	return publisher_stage(publisher, request);
}

static enum handling publisher_on_position(
	struct publisher *publisher, const struct message *message)
{
	struct reply reply = {.type = REPLY_POSITION};
	const uint8_t *worker;
	size_t worker_len;
	if (!field_u64(&message->field[0], &reply.request_id) || reply.request_id == UINT64_MAX ||
		!field_bytes(&message->field[1], &worker, &worker_len)) {
		publisher_fail(publisher, "POSITION needs a request id and a worker id");
		return HANDLED;
	}
	/* What is still staged may be dropped again: the answer waits until that is known. */
	if (publisher->replies.waiting_acks > 0)
		return publisher_hold(publisher);
	if (publisher->has_producer && id_is_valid((const char *)worker, worker_len))
		reply.position.has_last = event_log_producer_seq(publisher->server->log,
			(const char *)worker, worker_len, publisher->producer,
			&reply.position.last);
	publisher_push(publisher, &reply);
	return HANDLED;
}

static enum handling publisher_on_hello(struct publisher *publisher, const struct message *message)
{
	struct server *server = publisher->server;
	uint64_t version;
	const char *id;
	size_t len;
	if (publisher->is_greeted) {
		publisher_fail(publisher, "a second HELLO");
	} else if (!field_u64(&message->field[0], &version) || version != PROTOCOL_VERSION) {
		publisher_fail(publisher, "this protocol version is not spoken here");
	} else if (!field_text(&message->field[1], &id, &len, NAME_BYTES_MAX)) {
		publisher_fail(publisher, "the producer id is not a text of at most 255 bytes");
	} else {
		publisher->is_greeted = true;
		publisher->has_producer = len > 0;
		memcpy(publisher->producer_id, id, len);
		publisher->producer_len = len;
		publisher->producer = record_producer(publisher->peer.uid, id, len);
		buf_reset(&server->scratch, QUEUED_BYTES_MAX);
		if (welcome_write(&server->scratch, server->config, server->view) < 0 ||
			channel_send(&publisher->channel, server->scratch.data,
				server->scratch.len) != CHANNEL_OK)
			publisher_fail_unavailable(publisher, -ENOMEM);
	}
	return HANDLED;
}

static enum handling publisher_on_message(
	struct publisher *publisher, const struct message *message)
{
	if (message->type == MESSAGE_HELLO)
		return publisher_on_hello(publisher, message);
	if (message->type == MESSAGE_ERROR) {
		publisher_close(publisher, "protocol_error", "closed after your ERROR");
		return HANDLED;
	}
	if (!publisher->is_greeted) {
		publisher_fail(publisher, "the first frame must be HELLO");
		return HANDLED;
	}
	if (message->type == MESSAGE_PUBLISH)
		return publisher_on_publish(publisher, message);
	return publisher_on_position(publisher, message);
}

static enum handling publisher_handle(struct publisher *publisher, const uint8_t *body, size_t len)
{
	struct message message;
	const char *why;
	int r = message_decode(&publisher->server->decoder, FROM_WORKER, body, len, &message, &why);
	if (r == MESSAGE_OK)
		return publisher_on_message(publisher, &message);
	if (r == MESSAGE_MALFORMED)
		publisher_fail(publisher, why);
	else
		publisher_fail_unavailable(publisher, -ENOMEM);
	return HANDLED;
}

static void publisher_on_frame(struct channel *channel, const uint8_t *body, size_t len)
{
	struct publisher *publisher = channel->owner;
	if (publisher->is_closing || publisher_handle(publisher, body, len) == HANDLED)
		return;
	buf_reset(&publisher->held, 0);
	if (buf_append(&publisher->held, body, len) < 0) {
		publisher_fail_unavailable(publisher, -ENOMEM);
		return;
	}
	publisher_pause(publisher, PAUSE_HELD);
	publisher_set_busy(publisher);
}

static void publisher_on_drained(struct channel *channel)
{
	publisher_set_busy(channel->owner);
}

void publisher_drop(struct publisher *publisher)
{
	if (publisher->is_gone)
		return;
	publisher->is_closing = true;
	publisher->is_gone = true;
	channel_close(&publisher->channel, publisher_free);
}

static void publisher_on_end(struct channel *channel, enum channel_end end)
{
	struct publisher *publisher = channel->owner;
	struct server *server = publisher->server;
	if (end == CHANNEL_END_FRAME_TOO_LONG || end == CHANNEL_END_PASSED_FD)
		publisher_fail(publisher, channel_end_name(end));
	else if (end == CHANNEL_END_MID_FRAME)
		server->counters.publishers_protocol_errors++;
	server_log_peer(server, LOG_DEBUG, "publish", &publisher->peer, "publisher left: %s",
		channel_end_name(end));
	publisher_drop(publisher);
}

static const struct channel_handler publisher_handler = {
	publisher_on_frame, publisher_on_drained, publisher_on_end};

/* Only into an empty channel: a publisher that does not read its replies is sent no more. */
static int publisher_send_due(struct publisher *publisher)
{
	struct server *server = publisher->server;
	if (publisher->replies.count == 0 || channel_is_congested(&publisher->channel))
		return 0;
	const char *word = server->config->durability == DURABILITY_DURABLE ? "synced" : "written";
	buf_reset(&server->scratch, QUEUED_BYTES_MAX);
	int r = reply_queue_write_due(&publisher->replies, server->progress.acked, word,
		QUEUED_BYTES_MAX / 2, &server->scratch);
	if (r < 0 || server->scratch.len == 0)
		return r;
	r = channel_send(&publisher->channel, server->scratch.data, server->scratch.len);
	if (publisher->replies.count > 0)
		channel_is_congested(&publisher->channel); /* asks for on_drained */
	return r;
}

static void publisher_take_turn(struct publisher *publisher)
{
	int r = publisher_send_due(publisher);
	if (r < 0) {
		publisher_fail_unavailable(publisher, r);
		return;
	}
	if (publisher->server->is_read_only && publisher->replies.waiting_acks > 0) {
		/* Written, and not known to be on the disk: neither ACK nor NACK would be true. */
		publisher_fail_unavailable(publisher, -EROFS);
		return;
	}
	if (publisher->held.len > 0 && !reply_queue_is_full(&publisher->replies)) {
		/* Handled in place: its fields borrow from `held`. */
		if (publisher_handle(publisher, publisher->held.data, publisher->held.len) == HOLD)
			return;
		buf_reset(&publisher->held, 0);
		publisher_resume(publisher, PAUSE_HELD);
	}
	if ((publisher->paused & PAUSE_REPLIES) && publisher->replies.count < REPLIES_MAX / 2)
		publisher_resume(publisher, PAUSE_REPLIES);
}

void publisher_on_turn(struct publisher *publisher)
{
	if (!publisher->is_closing)
		publisher_take_turn(publisher);
	if (publisher->is_closing || (publisher->replies.count == 0 && publisher->held.len == 0 &&
					     !(publisher->paused & PAUSE_REPLIES)))
		publisher_set_idle(publisher);
}

void publisher_on_dropped(
	struct publisher *publisher, uint64_t ticket, const char *code, const char *text)
{
	size_t before = publisher->replies.waiting_acks;
	reply_queue_refuse_above(&publisher->replies, ticket, code, text);
	for (size_t i = publisher->replies.waiting_acks; i < before; i++)
		server_count_nack(publisher->server, code);
}

void publisher_stop_reading(struct publisher *publisher)
{
	if (!publisher->is_closing)
		publisher_pause(publisher, PAUSE_STOPPING);
}

struct publisher *publisher_next(struct publisher *publisher)
{
	return LIST_NEXT(publisher, link);
}

struct publisher *publisher_next_busy(struct publisher *publisher)
{
	return LIST_NEXT(publisher, busy_link);
}

bool publisher_is_overdue(const struct publisher *publisher, uint64_t now_ns)
{
	return !publisher->is_greeted && !publisher->is_closing &&
	       now_ns - publisher->connected_ns > HELLO_DEADLINE_S * NS_PER_S;
}

void publisher_open(struct server *server, int fd, const struct peer_credentials *peer)
{
	struct publisher *publisher = calloc(1, sizeof(*publisher));
	struct channel_limits limits = {
		FRAME_BYTES((size_t)server->config->max_event_bytes), QUEUED_BYTES_MAX};
	server->publisher_count++;
	if (publisher == NULL) {
		fd_close(fd);
		server_on_publisher_closed(server);
		return;
	}
	publisher->server = server;
	publisher->peer = *peer;
	publisher->connected_ns = clock_monotonic_ns();
	int r = channel_open(&publisher->channel, &server->daemon->loop, fd, &limits,
		&publisher_handler, publisher);
	if (r < 0) {
		free(publisher);
		server_on_publisher_closed(server);
		return;
	}
	LIST_INSERT_HEAD(&server->publishers, publisher, link);
	r = quota_connect(&server->quotas, peer->uid, publisher->connected_ns, &publisher->quota);
	if (r == QUOTA_EXCEEDED) {
		server->counters.publishers_refused++;
		publisher_close(
			publisher, "quota_exceeded", "more connections than this user may have");
	} else if (r < 0) {
		publisher_fail_unavailable(publisher, -ENOMEM);
	}
}
