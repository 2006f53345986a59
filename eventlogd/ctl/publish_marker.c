#include "eventlogd/ctl/publish_marker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "eventlogd/ctl/connection.h"
#include "eventlogd/ctl/refusal.h"
#include "eventlogd/ctl/verb.h"
#include "proto/limits.h"

enum { REQUEST_POSITION = 1, REQUEST_PUBLISH = 2, ANSWER_MS = 30000, RETRY_MS = 500 };

struct marking {
	const struct publish_marker *marker;
	struct connection connection;
	uv_timer_t timer; /* until an answer is overdue, or the next try is due */
	bool sets, is_set;
	bool is_waiting_told; /* said why nothing goes on */
	int result;
};

static void marking_end(struct marking *marking, const char *why)
{
	const struct publish_marker *marker = marking->marker;
	if (why != NULL)
		fprintf(stderr, "%s: %s: %s\n", marker->who, marker->socket, why);
	marking->result = why != NULL ? EXIT_FAILED : EXIT_DONE;
	connection_stop(&marking->connection);
	uv_close((uv_handle_t *)&marking->timer, NULL);
}

static void marking_on_deadline(uv_timer_t *timer)
{
	marking_end(timer->data, "the answer does not come");
}

static void send_request(struct marking *marking, enum message_type type)
{
	_cleanup_buf_ struct buf frame = {0};
	struct message_writer w;
	message_begin(&w, &frame, type);
	write_u64(&w, type == MESSAGE_POSITION ? REQUEST_POSITION : REQUEST_PUBLISH);
	write_text(&w, marking->marker->worker_id);
	if (type == MESSAGE_PUBLISH) {
		write_u64(&w, 1);
		write_array(&w, 1);
		write_array(&w, 2);
		write_nil(&w);
		write_nil(&w);
	}
	int r = message_end(&w);
	if (r == 0)
		r = connection_send(&marking->connection, &frame);
	if (r != 0)
		marking_end(marking, strerror(r < 0 ? -r : ENOBUFS));
	else
		uv_timer_start(&marking->timer, marking_on_deadline, ANSWER_MS, 0);
}

static void marking_on_welcome(struct connection *connection, const msgpack_object *map)
{
	struct marking *marking = connection->owner;
	const char *not_this = marking->marker->not_log_id, *text;
	const msgpack_object *id = field_map_get(map, "log_id");
	size_t len;
	if (id == NULL || !field_text(id, &text, &len, NAME_BYTES_MAX))
		marking_end(marking, "eventlogd sent a malformed WELCOME");
	else if (len == strlen(not_this) && memcmp(text, not_this, len) == 0)
		marking_end(marking, "this very log has been exported: it has had all of it");
	else
		send_request(marking, MESSAGE_POSITION);
}

static void say_waiting(struct marking *marking, const char *why, const char *text)
{
	if (!marking->is_waiting_told)
		fprintf(stderr, "%s: %s: %s: waiting\n", marking->marker->who, why, text);
	marking->is_waiting_told = true;
}

static void marking_on_retry(uv_timer_t *timer)
{
	send_request(timer->data, MESSAGE_POSITION);
}

static void marking_on_nack(struct marking *marking, const struct message *message)
{
	struct refusal refusal;
	refusal_read(&refusal, message);
	if (refusal_is_passing(&refusal)) {
		say_waiting(marking, refusal.code, refusal.text);
		uv_timer_start(&marking->timer, marking_on_retry, RETRY_MS, 0);
		return;
	}
	fprintf(stderr, "%s: can't be marked in this log: %s: %s: going on\n", marking->marker->who,
		refusal.code, refusal.text);
	marking_end(marking, NULL);
}

static void marking_on_error(struct marking *marking, const struct message *message)
{
	struct refusal refusal;
	refusal_read(&refusal, message);
	if (!refusal_is_of_stop(&refusal)) /* else the connection ends */
		marking_end(marking, refusal.text);
}

static void marking_on_message(struct connection *connection, const struct message *message)
{
	struct marking *marking = connection->owner;
	switch (message->type) {
	case MESSAGE_POSITION_REPLY:
		marking->is_set = !field_is_nil(&message->field[1]);
		if (marking->sets && !marking->is_set)
			send_request(marking, MESSAGE_PUBLISH);
		else
			marking_end(marking, NULL);
		break;
	case MESSAGE_ACK:
		marking_end(marking, NULL);
		break;
	case MESSAGE_NACK:
		marking_on_nack(marking, message);
		break;
	case MESSAGE_ERROR:
		marking_on_error(marking, message);
		break;
	default:
		break;
	}
}

static void marking_on_wait(struct connection *connection, const char *why)
{
	const struct marking *marking = connection->owner;
	const struct publish_marker *marker = marking->marker;
	fprintf(stderr, "%s: %s: %s: waiting\n", marker->who, marker->socket, why);
}

static void marking_on_lost(struct connection *connection, const char *why)
{
	struct marking *marking = connection->owner;
	if (!connection->ever_welcomed) {
		marking_end(marking, why);
		return;
	}
	say_waiting(marking, "eventlogd is away", why);
	uv_timer_stop(&marking->timer);
}

static const struct connection_handler handler = {
	marking_on_welcome, marking_on_message, NULL, marking_on_wait, marking_on_lost};

static int run_loop(struct marking *marking)
{
	const struct publish_marker *marker = marking->marker;
	uv_loop_t loop;
	int r = uv_loop_init(&loop);
	if (r == 0)
		r = connection_init(&marking->connection, &loop, marker->socket,
			marker->producer_id, FROM_PUBLISH, &handler, marking);
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", marker->who, strerror(-r));
		return EXIT_FAILED;
	}
	uv_timer_init(&loop, &marking->timer);
	marking->timer.data = marking;
	connection_start(&marking->connection);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	connection_free(&marking->connection);
	return marking->result;
}

int publish_marker_get(const struct publish_marker *marker, bool *is_set)
{
	struct marking marking = {.marker = marker};
	int result = run_loop(&marking);
	if (result == EXIT_DONE)
		*is_set = marking.is_set;
	return result;
}

int publish_marker_set(const struct publish_marker *marker)
{
	struct marking marking = {.marker = marker, .sets = true};
	return run_loop(&marking);
}
