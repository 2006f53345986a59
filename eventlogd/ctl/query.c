#include "eventlogd/ctl/query.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "eventlogd/ctl/connection.h"
#include "eventlogd/ctl/gist.h"
#include "proto/limits.h"

enum { ANSWER_MS = 30000 };

struct asking {
	const struct query *query;
	void *owner;
	char who[64]; /* "eventlogctl status", for messages and HELLO */
	const char *socket;
	struct connection connection;
	uv_timer_t deadline; /* of an answer */
	int result;
};

static void asking_end(struct asking *asking, int result, const char *why)
{
	if (result != EXIT_DONE)
		fprintf(stderr, "%s: %s: %s\n", asking->who, asking->socket, why);
	asking->result = result;
	connection_stop(&asking->connection);
	uv_close((uv_handle_t *)&asking->deadline, NULL);
}

static void asking_on_deadline(uv_timer_t *timer)
{
	asking_end(timer->data, EXIT_FAILED, "the answer does not come");
}

static void ask(struct asking *asking)
{
	_cleanup_buf_ struct buf frame = {0};
	int r = asking->query->write_request(asking->owner, &frame);
	if (r == QUERY_DONE) {
		asking_end(asking, EXIT_DONE, NULL);
		return;
	}
	if (r == 0)
		r = connection_send(&asking->connection, &frame);
	if (r != 0)
		asking_end(asking, EXIT_FAILED, strerror(r < 0 ? -r : ENOBUFS));
	else
		uv_timer_start(&asking->deadline, asking_on_deadline, ANSWER_MS, 0);
}

static void asking_on_welcome(struct connection *connection, const msgpack_object *map)
{
	(void)map;
	ask(connection->owner);
}

static void asking_on_message(struct connection *connection, const struct message *message)
{
	struct asking *asking = connection->owner;
	const char *text;
	size_t len;
	if (message->type == MESSAGE_STATUS_REPLY || message->type == MESSAGE_WORKERS_REPLY ||
		message->type == MESSAGE_FORGET_REPLY) {
		if (asking->query->on_reply(asking->owner, message->type, &message->field[1]))
			ask(asking);
		else
			asking_end(asking, EXIT_FAILED, "the reply can't be understood");
	} else if (message->type == MESSAGE_ERROR) {
		char why[2 * ERROR_TEXT_BYTES_MAX] = "refused";
		if (field_text(&message->field[2], &text, &len, ERROR_TEXT_BYTES_MAX))
			terminal_copy(why, sizeof(why), text, len);
		asking_end(asking, EXIT_FAILED, why);
	}
}

static void asking_on_lost(struct connection *connection, const char *why)
{
	asking_end(connection->owner, EXIT_FAILED, why);
}

static void asking_on_wait(struct connection *connection, const char *why)
{
	const struct asking *asking = connection->owner;
	fprintf(stderr, "%s: %s: %s: waiting\n", asking->who, asking->socket, why);
}

static const struct connection_handler handler = {
	asking_on_welcome, asking_on_message, NULL, asking_on_wait, asking_on_lost};

static int run_loop(struct asking *asking)
{
	uv_loop_t loop;
	int r = uv_loop_init(&loop);
	if (r == 0)
		r = connection_init(&asking->connection, &loop, asking->socket, asking->who,
			FROM_TAIL, &handler, asking);
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", asking->who, strerror(-r));
		return EXIT_FAILED;
	}
	uv_timer_init(&loop, &asking->deadline);
	asking->deadline.data = asking;
	connection_start(&asking->connection);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	connection_free(&asking->connection);
	return asking->result;
}

int query_run(const struct verb *verb, const struct query_options *options,
	const struct query *query, void *owner)
{
	struct asking asking = {.query = query, .owner = owner, .result = EXIT_FAILED};
	snprintf(asking.who, sizeof(asking.who), "eventlogctl %s", verb->name);
	asking.socket = verb_socket(options->socket, ENVIRONMENT_TAIL_SOCKET, DEFAULT_TAIL_SOCKET);
	return run_loop(&asking);
}
