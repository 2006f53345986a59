#include "proto/ws/ws_client.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/ws/ws_connector.h"

enum {
	TICK_MS = 1000,
	KEEP_BUFFER_BYTES = 512 * 1024,
	FIN_AND_CLOSE = 0x88,
	MASKED = 0x80,
	CLOSE_NORMAL = 1000,
};

struct ws_client {
	struct connector connector; /* first */
	const struct ws_client_handler *handler;
	void *owner;
	size_t max_message_bytes;
	char subprotocol[64];
	struct buf message; /* what has come of one that comes in pieces */
	bool paused, ping_wanted, goodbye_wanted, server_closes, failed_to_start;
	struct ws_liveness liveness;
};

static struct lws *wsi_of(const struct ws_client *client)
{
	const struct connector_attempt *attempt = client->connector.attempt;
	return attempt != NULL ? attempt->link.wsi : NULL;
}

/* ---- reading ---- */

static int take_piece(struct ws_client *client, const uint8_t *bytes, size_t len)
{
	struct lws *wsi = wsi_of(client);
	client->liveness.heard_ns = clock_monotonic_ns();
	bool is_last = lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0;
	if (client->message.len + len > client->max_message_bytes) {
		connector_end(&client->connector, WS_CLIENT_TOO_LONG);
		return -1;
	}
	enum ws_message_type type = lws_frame_is_binary(wsi) ? WS_BINARY : WS_TEXT;
	if (is_last && client->message.len == 0) {
		client->handler->on_message(client, type, bytes, len);
		return 0;
	}
	if (buf_append(&client->message, bytes, len) < 0) {
		connector_end(&client->connector, WS_CLIENT_TOO_LONG);
		return -1;
	}
	if (is_last) {
		struct buf message = client->message;
		client->message = (struct buf){0};
		client->handler->on_message(client, type, message.data, message.len);
		buf_reset(&message, KEEP_BUFFER_BYTES);
		client->message = message;
	}
	return 0;
}

/* ---- events ---- */

static void take_subprotocol(struct ws_client *client)
{
	if (lws_hdr_copy(wsi_of(client), client->subprotocol, sizeof(client->subprotocol),
		    WSI_TOKEN_PROTOCOL) <= 0)
		client->subprotocol[0] = '\0';
}

static void client_on_established(struct ws_client *client)
{
	client->liveness.heard_ns = clock_monotonic_ns();
	connector_opened(&client->connector, TICK_MS);
	client->handler->on_open(client, client->subprotocol);
}

/* A close frame of our own making: the library has no public way to send one and live on. */
static int write_goodbye(struct ws_client *client)
{
	uint8_t bytes[LWS_PRE + 8];
	uint8_t *frame = bytes + LWS_PRE, *mask = frame + 2;
	frame[0] = FIN_AND_CLOSE;
	frame[1] = MASKED | 2;
	randombytes_buf(mask, 4);
	frame[6] = mask[0] ^ (CLOSE_NORMAL >> 8);
	frame[7] = mask[1] ^ (CLOSE_NORMAL & 0xff);
	return lws_write(wsi_of(client), frame, 8, LWS_WRITE_HTTP);
}

static int client_on_writable(struct ws_client *client)
{
	if (client->goodbye_wanted) {
		write_goodbye(client);
		connector_end(&client->connector, WS_CLIENT_CLOSED);
		return -1;
	}
	if (client->ping_wanted) {
		client->ping_wanted = false;
		return ws_link_write_ping(&client->connector.attempt->link);
	}
	return 0;
}

static void client_on_server_close(struct ws_client *client, const uint8_t *payload, size_t len)
{
	struct ws_client_end *end = &client->connector.end;
	if (len >= 2)
		end->close_code = (uint16_t)(payload[0] << 8 | payload[1]);
	client->goodbye_wanted = false;
	client->server_closes = true;
}

static int client_on_event(
	struct connector *connector, enum lws_callback_reasons reason, void *in, size_t len)
{
	struct ws_client *client = (struct ws_client *)connector;
	switch (reason) {
	case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
		/* The head of the answer: anything but 101 ends it here. */
		return connector->end.http_status == 101 ? 0 : -1;
	case LWS_CALLBACK_CLIENT_FILTER_PRE_ESTABLISH:
		take_subprotocol(client); /* the last look at the head */
		return 0;
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		client_on_established(client);
		return 0;
	case LWS_CALLBACK_CLIENT_RECEIVE:
		return take_piece(client, in, len);
	case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
		client->liveness.heard_ns = clock_monotonic_ns();
		return 0;
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		return client_on_writable(client);
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		client_on_server_close(client, in, len);
		return 0;
	case LWS_CALLBACK_CLIENT_CLOSED:
		connector_end(connector, client->server_closes ? WS_CLIENT_CLOSED : WS_CLIENT_LOST);
		return 0;
	default:
		return 0;
	}
}

static void client_on_tick(struct connector *connector)
{
	struct ws_client *client = (struct ws_client *)connector;
	struct ws_liveness *liveness = &client->liveness;
	uint64_t now_ns = clock_monotonic_ns();
	if (client->goodbye_wanted) {
		connector_end(connector, WS_CLIENT_CLOSED); /* it could not be said in time */
		return;
	}
	if (client->paused)
		liveness->heard_ns = now_ns; /* a reader that has paused can't see an answer */
	switch (ws_liveness_check(liveness, &connector->context->liveness_policy, now_ns)) {
	case WS_ALIVE:
		return;
	case WS_ASK:
		client->ping_wanted = true;
		if (wsi_of(client) != NULL)
			lws_callback_on_writable(wsi_of(client));
		return;
	case WS_LOST:
		connector_end(connector, WS_CLIENT_LOST);
		return;
	}
}

static void client_on_finished(struct connector *connector)
{
	struct ws_client *client = (struct ws_client *)connector;
	struct ws_client_end end = connector->end;
	if (!client->failed_to_start)
		client->handler->on_end(client, &end);
	buf_free(&client->message);
	free(client);
}

/* ---- interface ---- */

int ws_client_open(struct ws_client **out, struct ws_context *context,
	const struct ws_client_config *config, const struct ws_client_handler *handler, void *owner)
{
	struct ws_client *client = calloc(1, sizeof(*client));
	if (client == NULL)
		return -ENOMEM;
	client->handler = handler;
	client->owner = owner;
	client->max_message_bytes = config->max_message_bytes;
	client->connector.on_event = client_on_event;
	client->connector.on_tick = client_on_tick;
	client->connector.on_finished = client_on_finished;
	const struct connector_request request = {
		.url = config->url,
		.path = config->path,
		.bearer = config->bearer,
		.subprotocols = config->subprotocols,
		.timeout_ms = config->connect_timeout_ms,
	};
	int r = connector_start(&client->connector, context, &request);
	if (r < 0) {
		client->failed_to_start = true; /* frees itself without a word */
		return r;
	}
	*out = client;
	return 0;
}

void *ws_client_owner(const struct ws_client *client)
{
	return client->owner;
}

void ws_client_pause(struct ws_client *client)
{
	if (client->paused || client->connector.state != CONNECTOR_OPEN || wsi_of(client) == NULL)
		return;
	client->paused = true;
	lws_rx_flow_control(wsi_of(client), 0);
}

void ws_client_resume(struct ws_client *client)
{
	if (!client->paused)
		return;
	client->paused = false;
	client->liveness.heard_ns = clock_monotonic_ns();
	if (wsi_of(client) == NULL)
		return;
	lws_rx_flow_control(wsi_of(client), 1);
	/* What was read ahead is only looked at when the library runs. */
	lws_cancel_service(client->connector.context->lws);
}

bool ws_client_is_paused(const struct ws_client *client)
{
	return client->paused;
}

void ws_client_close(struct ws_client *client)
{
	if (client->connector.state != CONNECTOR_OPEN || wsi_of(client) == NULL) {
		connector_end(&client->connector, WS_CLIENT_CLOSED);
		return;
	}
	client->goodbye_wanted = true;
	lws_callback_on_writable(wsi_of(client));
}
