#include "proto/ws/ws_get.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/ws/ws_connector.h"

enum { READ_BYTES = 4096 };

struct ws_get {
	struct connector connector; /* first */
	void (*on_done)(struct ws_get *get, const struct ws_get_answer *answer);
	void *owner;
	struct buf body;
	bool failed_to_start;
};

static int take_body(struct ws_get *get, const void *bytes, size_t len)
{
	if (buf_append(&get->body, bytes, len) == 0)
		return 0;
	connector_end(&get->connector, WS_CLIENT_TOO_LONG);
	return -1;
}

/* Asks the library to decode what has come; it answers with RECEIVE_CLIENT_HTTP_READ. */
static int read_body(struct ws_get *get)
{
	char bytes[LWS_PRE + READ_BYTES];
	char *at = bytes + LWS_PRE;
	int len = READ_BYTES;
	return lws_http_client_read(get->connector.attempt->link.wsi, &at, &len) < 0 ? -1 : 0;
}

static int get_on_event(
	struct connector *connector, enum lws_callback_reasons reason, void *in, size_t len)
{
	struct ws_get *get = (struct ws_get *)connector;
	switch (reason) {
	case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
		return read_body(get);
	case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
		return take_body(get, in, len);
	case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
		connector_end(connector, WS_CLIENT_CLOSED);
		return -1;
	case LWS_CALLBACK_CLOSED_CLIENT_HTTP:
		connector_end(connector, WS_CLIENT_LOST);
		return 0;
	default:
		return 0;
	}
}

static void get_on_tick(struct connector *connector)
{
	(void)connector; /* its deadline stands until the end */
}

static void get_on_finished(struct connector *connector)
{
	struct ws_get *get = (struct ws_get *)connector;
	struct ws_get_answer answer = {
		.result = connector->end.result,
		.http_status = connector->end.http_status,
		.body = get->body.data,
		.len = get->body.len,
	};
	memcpy(answer.code, connector->end.code, sizeof(answer.code));
	if (!get->failed_to_start)
		get->on_done(get, &answer);
	buf_free(&get->body);
	free(get);
}

int ws_get_open(struct ws_get **out, struct ws_context *context, const struct ws_get_config *config,
	void (*on_done)(struct ws_get *get, const struct ws_get_answer *answer), void *owner)
{
	struct ws_get *get = calloc(1, sizeof(*get));
	if (get == NULL)
		return -ENOMEM;
	get->on_done = on_done;
	get->owner = owner;
	buf_init(&get->body, config->max_body_bytes);
	get->connector.on_event = get_on_event;
	get->connector.on_tick = get_on_tick;
	get->connector.on_finished = get_on_finished;
	const struct connector_request request = {
		.url = config->url,
		.method = "GET",
		.path = config->path,
		.bearer = config->bearer,
		.timeout_ms = config->timeout_ms,
	};
	int r = connector_start(&get->connector, context, &request);
	if (r < 0) {
		get->failed_to_start = true; /* frees itself without a word */
		return r;
	}
	*out = get;
	return 0;
}

void *ws_get_owner(const struct ws_get *get)
{
	return get->owner;
}

void ws_get_cancel(struct ws_get *get)
{
	connector_end(&get->connector, WS_CLIENT_LOST);
}
