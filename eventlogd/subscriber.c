#include "eventlogd/subscriber.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eventlogd/log/reader.h"
#include "eventlogd/status.h"
#include "eventlogd/subscribe.h"
#include "eventlogd/welcome.h"
#include "proto/base/bytes.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/channel.h"
#include "proto/ids.h"
#include "proto/limits.h"
#include "proto/record.h"

enum {
	PIECE_BYTES = 256 * 1024,
	TURN_BYTES = 1024 * 1024, /* to one subscriber before the others have their turn */
	TURN_PIECES = 16,
	REQUEST_BYTES_MAX = 1024 * 1024, /* of one frame: SUBSCRIBE with READER_WORKERS_MAX ids */
	CLOSE_DEADLINE_MS = 2000,
	HELLO_DEADLINE_S = 10,
	RECORDS_HEAD_BYTES = 4 + 1 + 1 + 5,
};
/* A page of workers, or a record of the largest size behind one piece. */
#define QUEUED_BYTES_MAX (RECORD_BYTES_MAX + PIECE_BYTES + 1024u * 1024)

struct subscriber {
	LIST_ENTRY(subscriber) link;
	struct server *server;
	struct channel channel;
	struct peer_credentials peer;
	uint64_t connected_ns;
	struct reader *reader; /* NULL without a subscription, and after its end */
	uint64_t visible_seq;  /* when it met the end of the log last */
	bool is_greeted, is_subscribed, is_closing, is_gone;
	bool follow, is_caught_up, is_paused;
};

static void subscriber_free(struct channel *channel)
{
	struct subscriber *subscriber = channel->owner;
	struct server *server = subscriber->server;
	LIST_REMOVE(subscriber, link);
	free(subscriber);
	server_on_subscriber_closed(server);
}

static void end_subscription(struct subscriber *subscriber)
{
	reader_close(subscriber->reader);
	subscriber->reader = NULL;
}

void subscriber_close(struct subscriber *subscriber, const char *code, const char *text)
{
	if (subscriber->is_closing)
		return;
	subscriber->is_closing = true;
	end_subscription(subscriber);
	struct buf *scratch = &subscriber->server->scratch;
	buf_reset(scratch, PIECE_BYTES);
	if (message_write_error(scratch, UINT64_MAX, code, text) == 0)
		channel_send_last(&subscriber->channel, scratch->data, scratch->len);
	channel_close_after_flush(&subscriber->channel, CLOSE_DEADLINE_MS);
}

static void subscriber_fail(struct subscriber *subscriber, const char *why)
{
	struct server *server = subscriber->server;
	server->counters.readers_protocol_errors++;
	server_log_peer(server, LOG_WARNING, "tail", &subscriber->peer,
		"reader broke the protocol (%s), closing it", why);
	subscriber_close(subscriber, "protocol_error", why);
}

static void subscriber_fail_unavailable(struct subscriber *subscriber, int error)
{
	struct server *server = subscriber->server;
	server->counters.readers_unavailable++;
	server_log_peer(server, LOG_ERR, "tail", &subscriber->peer,
		"can't read for this reader (%s), closing it", strerror(-error));
	subscriber_close(subscriber, "unavailable", "the log can't be read now");
}

/* Sends what a builder has appended to the scratch buffer; `r` is the builder's result. */
static void subscriber_send(struct subscriber *subscriber, int r)
{
	const struct buf *scratch = &subscriber->server->scratch;
	if (r == 0)
		r = channel_send(&subscriber->channel, scratch->data, scratch->len);
	if (r != CHANNEL_OK)
		subscriber_fail_unavailable(subscriber, r < 0 ? r : -ENOBUFS);
}

static struct buf *empty_scratch(struct subscriber *subscriber)
{
	buf_reset(&subscriber->server->scratch, PIECE_BYTES);
	return &subscriber->server->scratch;
}

static int write_refusal(struct buf *out, uint64_t request_id, const char *code, const char *text,
	const char *oldest_cursor)
{
	struct message_writer w;
	message_begin(&w, out, MESSAGE_ERROR);
	write_u64(&w, request_id);
	write_text(&w, code);
	write_text(&w, text);
	if (oldest_cursor != NULL) {
		write_map(&w, 1);
		write_text(&w, "oldest");
		write_text(&w, oldest_cursor);
	} else {
		write_nil(&w);
	}
	return message_end(&w);
}

static void subscriber_refuse(struct subscriber *subscriber, uint64_t request_id, const char *code,
	const char *text, const char *oldest_cursor)
{
	subscriber->server->counters.subscriptions_refused++;
	struct buf *out = empty_scratch(subscriber);
	subscriber_send(subscriber, write_refusal(out, request_id, code, text, oldest_cursor));
}

/* The cursor from which everything that is retained follows. */
static void oldest_cursor(
	const struct subscriber *subscriber, uint64_t oldest_seq, char out[CURSOR_TEXT_BYTES + 1])
{
	struct cursor cursor;
	log_view_cursor(subscriber->server->view, oldest_seq > 0 ? oldest_seq - 1 : 0, &cursor);
	cursor_format(&cursor, out);
}

static void subscriber_start(struct subscriber *subscriber, const struct subscribe *request,
	struct reader *reader, const struct reader_opened *opened)
{
	subscriber->reader = reader;
	subscriber->is_subscribed = true;
	subscriber->follow = request->follow;
	subscriber->server->counters.subscriptions++;
	struct message_writer w;
	message_begin(&w, empty_scratch(subscriber), MESSAGE_SUBSCRIBED);
	write_u64(&w, request->request_id);
	write_u64(&w, opened->start_seq);
	write_u64(&w, opened->oldest_seq);
	write_u64(&w, opened->newest_seq);
	subscriber_send(subscriber, message_end(&w));
	server_turn_soon(subscriber->server);
}

static void subscriber_open_reader(struct subscriber *subscriber, const struct subscribe *request)
{
	struct reader *reader;
	struct reader_opened opened;
	char oldest[CURSOR_TEXT_BYTES + 1];
	int r = reader_open(&reader, subscriber->server->view, &request->selection, &request->start,
		false, &opened);
	switch (r) {
	case READER_OPENED:
		subscriber_start(subscriber, request, reader, &opened);
		break;
	case READER_CURSOR_UNKNOWN:
		subscriber_refuse(subscriber, request->request_id, "cursor_unknown",
			"this log has no such position", NULL);
		break;
	case READER_CURSOR_EXPIRED:
		oldest_cursor(subscriber, opened.oldest_seq, oldest);
		subscriber_refuse(subscriber, request->request_id, "cursor_expired",
			"events after this position are no longer retained", oldest);
		break;
	case READER_WORKER_NOT_FOUND:
		subscriber_refuse(subscriber, request->request_id, "worker_not_found",
			"no such worker", NULL);
		break;
	default:
		subscriber_fail_unavailable(subscriber, r);
		break;
	}
}

static void subscriber_on_subscribe(struct subscriber *subscriber, const struct message *message)
{
	if (subscriber->is_subscribed) {
		subscriber_fail(subscriber, "a second SUBSCRIBE on one connection");
		return;
	}
	struct subscribe request = {0};
	const char *code, *text;
	int r = subscribe_read(&request, message, &code, &text);
	if (r == SUBSCRIBE_OK)
		subscriber_open_reader(subscriber, &request);
	else if (r == SUBSCRIBE_REFUSED)
		subscriber_refuse(subscriber, request.request_id, code, text, NULL);
	else if (r == SUBSCRIBE_MALFORMED)
		subscriber_fail(subscriber, text);
	else
		subscriber_fail_unavailable(subscriber, r);
	subscribe_free(&request);
}

static void subscriber_on_status(struct subscriber *subscriber, const struct message *message)
{
	uint64_t request_id;
	if (!field_u64(&message->field[0], &request_id)) {
		subscriber_fail(subscriber, "STATUS needs a request id");
		return;
	}
	struct buf *out = empty_scratch(subscriber);
	/* Records up to there stand in the queue before this reply. */
	uint64_t position = subscriber->reader != NULL ? reader_position(subscriber->reader) : 0;
	subscriber_send(subscriber, status_write(out, subscriber->server, request_id,
					    subscriber->reader != NULL ? &position : NULL));
}

static void subscriber_on_workers(struct subscriber *subscriber, const struct message *message)
{
	uint64_t request_id, limit = 0;
	const uint8_t *after = NULL;
	size_t after_len = 0;
	if (!field_u64(&message->field[0], &request_id) ||
		(!field_is_nil(&message->field[1]) &&
			!field_bytes(&message->field[1], &after, &after_len)) ||
		(!field_is_nil(&message->field[2]) && !field_u64(&message->field[2], &limit))) {
		subscriber_fail(subscriber, "WORKERS needs a request id, a worker id and a limit");
		return;
	}
	if (after_len > ID_BYTES_MAX) {
		subscriber_fail(subscriber, "the worker id of WORKERS is too long");
		return;
	}
	struct buf *out = empty_scratch(subscriber);
	subscriber_send(subscriber, workers_write(out, subscriber->server, request_id,
					    (const char *)after, after_len, limit));
}

/* The only request that changes something: for operators. */
static void subscriber_on_forget(struct subscriber *subscriber, const struct message *message)
{
	struct server *server = subscriber->server;
	uint64_t request_id;
	const char *worker;
	size_t len;
	if (!field_u64(&message->field[0], &request_id) ||
		!field_text(&message->field[1], &worker, &len, ID_BYTES_MAX) ||
		!id_is_valid(worker, len)) {
		subscriber_fail(subscriber, "FORGET needs a request id and a worker id");
		return;
	}
	struct log_forgotten forgotten;
	uid_t uid = subscriber->peer.uid;
	struct buf *out = empty_scratch(subscriber);
	if (uid != 0 && uid != geteuid())
		subscriber_send(subscriber, write_refusal(out, request_id, "permission_denied",
						    "only for root and eventlogd's user", NULL));
	else if (!event_log_forget(server->log, worker, len, &forgotten))
		subscriber_send(subscriber, write_refusal(out, request_id, "worker_not_found",
						    "the log does not know this worker", NULL));
	else
		subscriber_send(
			subscriber, forgotten_write(out, request_id, worker, len, &forgotten));
}

static void subscriber_on_hello(struct subscriber *subscriber, const struct message *message)
{
	uint64_t version;
	const char *name;
	size_t len;
	if (subscriber->is_greeted) {
		subscriber_fail(subscriber, "a second HELLO");
	} else if (!field_u64(&message->field[0], &version) || version != PROTOCOL_VERSION) {
		subscriber_fail(subscriber, "this protocol version is not spoken here");
	} else if (!field_text(&message->field[1], &name, &len, NAME_BYTES_MAX)) {
		subscriber_fail(subscriber, "the name is not a text of at most 255 bytes");
	} else {
		subscriber->is_greeted = true;
		const struct server *server = subscriber->server;
		struct buf *out = empty_scratch(subscriber);
		subscriber_send(subscriber, welcome_write(out, server->config, server->view));
	}
}

static void subscriber_on_message(struct subscriber *subscriber, const struct message *message)
{
	if (!subscriber->is_greeted && message->type != MESSAGE_HELLO) {
		subscriber_fail(subscriber, "the first frame must be HELLO");
		return;
	}
	switch (message->type) {
	case MESSAGE_HELLO:
		subscriber_on_hello(subscriber, message);
		break;
	case MESSAGE_SUBSCRIBE:
		subscriber_on_subscribe(subscriber, message);
		break;
	case MESSAGE_STATUS:
		subscriber_on_status(subscriber, message);
		break;
	case MESSAGE_WORKERS:
		subscriber_on_workers(subscriber, message);
		break;
	case MESSAGE_FORGET:
		subscriber_on_forget(subscriber, message);
		break;
	default: /* ERROR: the table lets nothing else through */
		subscriber_close(subscriber, "protocol_error", "closed after your ERROR");
		break;
	}
}

static void subscriber_on_frame(struct channel *channel, const uint8_t *body, size_t len)
{
	struct subscriber *subscriber = channel->owner;
	if (subscriber->is_closing)
		return;
	struct message message;
	const char *why;
	int r = message_decode(
		&subscriber->server->decoder, FROM_READER, body, len, &message, &why);
	if (r == MESSAGE_OK)
		subscriber_on_message(subscriber, &message);
	else if (r == MESSAGE_MALFORMED)
		subscriber_fail(subscriber, why);
	else
		subscriber_fail_unavailable(subscriber, r);
	/* Requests are read as fast as their answers are taken. */
	if (!subscriber->is_closing && channel_is_congested(channel) &&
		channel_queued_bytes(channel) > PIECE_BYTES) {
		subscriber->is_paused = true;
		channel_pause(channel);
	}
}

static void subscriber_on_drained(struct channel *channel)
{
	struct subscriber *subscriber = channel->owner;
	if (subscriber->is_paused) {
		subscriber->is_paused = false;
		channel_resume(channel);
	}
	server_turn_soon(subscriber->server);
}

void subscriber_drop(struct subscriber *subscriber)
{
	if (subscriber->is_gone)
		return;
	subscriber->is_closing = true;
	subscriber->is_gone = true;
	end_subscription(subscriber);
	channel_close(&subscriber->channel, subscriber_free);
}

static void subscriber_on_end(struct channel *channel, enum channel_end end)
{
	struct subscriber *subscriber = channel->owner;
	struct server *server = subscriber->server;
	if (end == CHANNEL_END_FRAME_TOO_LONG || end == CHANNEL_END_PASSED_FD)
		subscriber_fail(subscriber, channel_end_name(end));
	else if (end == CHANNEL_END_MID_FRAME)
		server->counters.readers_protocol_errors++;
	server_log_peer(server, LOG_DEBUG, "tail", &subscriber->peer, "reader left: %s",
		channel_end_name(end));
	subscriber_drop(subscriber);
}

static const struct channel_handler subscriber_handler = {
	subscriber_on_frame, subscriber_on_drained, subscriber_on_end};

static void send_records(struct subscriber *subscriber, const struct reader_piece *piece)
{
	/* The frame's head by hand: length, [type, bin 32 of the records]. */
	uint8_t head[RECORDS_HEAD_BYTES];
	uint32_t len = (uint32_t)piece->len;
	put_le32(head, (uint32_t)sizeof(head) - 4 + len);
	head[4] = 0x92;
	head[5] = MESSAGE_RECORDS;
	head[6] = 0xc6;
	head[7] = (uint8_t)(len >> 24);
	head[8] = (uint8_t)(len >> 16);
	head[9] = (uint8_t)(len >> 8);
	head[10] = (uint8_t)len;
	struct counters *counters = &subscriber->server->counters;
	counters->records_sent += piece->count;
	counters->record_bytes_sent += piece->len;
	int r = channel_send_pieces(
		&subscriber->channel, head, sizeof(head), piece->bytes, piece->len);
	if (r == CHANNEL_FULL)
		subscriber_fail_unavailable(subscriber, -ENOBUFS);
	/* -ENOMEM has ended the channel already. */
}

static void send_gap(struct subscriber *subscriber, const struct reader_piece *piece,
	enum reader_gap_reason reason)
{
	subscriber->server->counters.gaps_sent++;
	struct message_writer w;
	message_begin(&w, empty_scratch(subscriber), MESSAGE_GAP);
	write_u64(&w, piece->first);
	write_u64(&w, piece->last);
	write_text(&w, reader_gap_reason_name(reason));
	subscriber_send(subscriber, message_end(&w));
}

static void on_corrupt(struct subscriber *subscriber, const struct reader_piece *piece)
{
	unsigned int suppressed;
	if (journal_limit_pass(&subscriber->server->damage_log, clock_monotonic_ns(), &suppressed))
		journal(LOG_ERR,
			"log segment %s is damaged at %llu: sequences %llu to %llu are told as a "
			"gap (%u such lines suppressed)",
			piece->file != NULL ? piece->file : "?", (unsigned long long)piece->offset,
			(unsigned long long)piece->first, (unsigned long long)piece->last,
			suppressed);
	send_gap(subscriber, piece, READER_GAP_DAMAGED);
}

static void on_overrun(struct subscriber *subscriber, const struct reader_piece *piece)
{
	char oldest[CURSOR_TEXT_BYTES + 1];
	subscriber->server->counters.readers_overrun++;
	oldest_cursor(subscriber, piece->first, oldest);
	struct buf *out = empty_scratch(subscriber);
	struct message_writer w;
	message_begin(&w, out, MESSAGE_ERROR);
	write_nil(&w);
	write_text(&w, "overrun");
	write_text(&w, "events were pruned before this reader took them");
	write_map(&w, 1);
	write_text(&w, "oldest");
	write_text(&w, oldest);
	end_subscription(subscriber);
	if (message_end(&w) == 0)
		channel_send_last(&subscriber->channel, out->data, out->len);
	subscriber->is_closing = true;
	channel_close_after_flush(&subscriber->channel, CLOSE_DEADLINE_MS);
}

static void on_log_end(struct subscriber *subscriber)
{
	subscriber->visible_seq = subscriber->server->progress.visible_seq;
	if (!subscriber->is_caught_up) {
		subscriber->is_caught_up = true;
		struct message_writer w;
		message_begin(&w, empty_scratch(subscriber), MESSAGE_CAUGHT_UP);
		write_u64(&w, reader_position(subscriber->reader));
		subscriber_send(subscriber, message_end(&w));
	}
	if (!subscriber->follow)
		end_subscription(subscriber);
}

/* One step. True to go on at once. */
static bool subscriber_read(struct subscriber *subscriber, size_t *sent_bytes)
{
	struct reader_piece piece;
	int r = reader_next(subscriber->reader, PIECE_BYTES, &piece);
	switch (r) {
	case READER_RECORDS:
		*sent_bytes += piece.len;
		if (piece.len > 0)
			send_records(subscriber, &piece);
		return true;
	case READER_END:
		on_log_end(subscriber);
		return false;
	case READER_GAP:
		send_gap(subscriber, &piece, piece.reason);
		return true;
	case READER_CORRUPT:
		on_corrupt(subscriber, &piece);
		return true;
	case READER_OVERRUN:
		on_overrun(subscriber, &piece);
		return false;
	default:
		subscriber_fail_unavailable(subscriber, r);
		return false;
	}
}

bool subscriber_is_catching_up(const struct subscriber *subscriber)
{
	return subscriber->reader != NULL && !subscriber->is_caught_up && !subscriber->is_closing;
}

size_t subscriber_on_turn(struct subscriber *subscriber)
{
	size_t sent_bytes = 0;
	if (subscriber->is_caught_up &&
		subscriber->visible_seq == subscriber->server->progress.visible_seq)
		return 0;
	for (int pieces = 0; subscriber->reader != NULL && !subscriber->is_closing; pieces++) {
		if (channel_is_congested(&subscriber->channel))
			break; /* on_drained goes on */
		if (pieces == TURN_PIECES || sent_bytes >= TURN_BYTES) {
			server_turn_soon(subscriber->server);
			break;
		}
		if (!subscriber_read(subscriber, &sent_bytes))
			break;
	}
	return sent_bytes;
}

struct subscriber *subscriber_next(struct subscriber *subscriber)
{
	return LIST_NEXT(subscriber, link);
}

bool subscriber_is_overdue(const struct subscriber *subscriber, uint64_t now_ns)
{
	return !subscriber->is_greeted && !subscriber->is_closing &&
	       now_ns - subscriber->connected_ns > HELLO_DEADLINE_S * NS_PER_S;
}

void subscriber_open(struct server *server, int fd, const struct peer_credentials *peer)
{
	struct subscriber *subscriber = calloc(1, sizeof(*subscriber));
	struct channel_limits limits = {REQUEST_BYTES_MAX, QUEUED_BYTES_MAX};
	server->subscriber_count++;
	if (subscriber == NULL) {
		fd_close(fd);
		server_on_subscriber_closed(server);
		return;
	}
	subscriber->server = server;
	subscriber->peer = *peer;
	subscriber->connected_ns = clock_monotonic_ns();
	int r = channel_open(&subscriber->channel, &server->daemon->loop, fd, &limits,
		&subscriber_handler, subscriber);
	if (r < 0) {
		free(subscriber);
		server_on_subscriber_closed(server);
		return;
	}
	LIST_INSERT_HEAD(&server->subscribers, subscriber, link);
}
