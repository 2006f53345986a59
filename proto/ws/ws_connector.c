#include "proto/ws/ws_connector.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_TIMEOUT_MS = 10000 };

static void connector_on_soon(uv_idle_t *idle);

static void work_soon(struct connector *connector)
{
	if (connector->handles_open > 0 && !uv_is_active((uv_handle_t *)&connector->soon))
		uv_idle_start(&connector->soon, connector_on_soon);
}

void connector_end(struct connector *connector, enum ws_client_result result)
{
	if (connector->state == CONNECTOR_ENDING)
		return;
	connector->state = CONNECTOR_ENDING;
	connector->end.result = result;
	if (connector->looking_up)
		uv_cancel((uv_req_t *)&connector->lookup); /* or wait for its answer */
	work_soon(connector);
}

/* ---- the answer's head ---- */

/* What the server says of itself, while the library still has the head. */
static void take_answer_head(struct connector *connector, struct lws *wsi)
{
	static const char name[] = "sightline-code:";
	struct ws_client_end *end = &connector->end;
	unsigned int status = lws_http_client_http_response(wsi);
	if (status == 0)
		return;
	end->http_status = status;
	char code[sizeof(end->code)];
	if (lws_hdr_custom_copy(wsi, code, sizeof(code), name, (int)strlen(name)) <= 0)
		return;
	/* It goes to log lines and tables: only what a code of ours can be made of. */
	if (strspn(code, "abcdefghijklmnopqrstuvwxyz._0123456789") == strlen(code))
		memcpy(end->code, code, sizeof(end->code));
}

static int add_request_headers(struct connector *connector, unsigned char **at, size_t len)
{
	if (connector->bearer == NULL)
		return 0;
	int n = snprintf((char *)*at, len, "Authorization: Bearer %s\r\n", connector->bearer);
	if (n < 0 || (size_t)n >= len)
		return -1;
	*at += n;
	return 0;
}

/* ---- one connection ---- */

static bool connector_is_tls(const struct connector *connector)
{
	return connector->url.scheme == WS_URL_TLS;
}

/* Why there is no connection, from how far it came and what the library says. */
static enum ws_client_result reason_of_failure(
	const struct connector *connector, const char *text, size_t len)
{
	static const char handshake[] = "HS:";
	if (connector->state == CONNECTOR_CONNECTING) {
		static const char *const words[] = {"tls", "TLS", "ssl", "SSL", "cert"};
		for (size_t i = 0; connector_is_tls(connector) && i < ARRAY_SIZE(words); i++) {
			if (text != NULL && memmem(text, len, words[i], strlen(words[i])) != NULL)
				return WS_CLIENT_TLS;
		}
		return WS_CLIENT_UNREACHABLE;
	}
	if (connector->end.http_status != 0 && connector->end.http_status != 101)
		return WS_CLIENT_STATUS;
	if (text != NULL && len >= strlen(handshake) &&
		memcmp(text, handshake, strlen(handshake)) == 0)
		return WS_CLIENT_MALFORMED;
	return WS_CLIENT_LOST;
}

static void attempt_failed(struct connector *connector, enum ws_client_result result)
{
	if (connector->state == CONNECTOR_ENDING)
		return;
	connector->end.result = result;
	if (connector->state != CONNECTOR_CONNECTING ||
		connector->next_address >= connector->address_count)
		connector_end(connector, result);
	/* Else the next address, once this connection is gone. */
}

static int attempt_on_event(
	struct ws_link *link, enum lws_callback_reasons reason, void *in, size_t len)
{
	struct connector *connector = ((struct connector_attempt *)link)->connector;
	if (connector == NULL)
		return -1;
	switch (reason) {
	case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
		if (connector->state == CONNECTOR_CONNECTING)
			connector->state = CONNECTOR_ASKING;
		return add_request_headers(connector, in, len);
	case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
	case LWS_CALLBACK_CLIENT_FILTER_PRE_ESTABLISH:
		take_answer_head(connector, link->wsi);
		break;
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		take_answer_head(connector, link->wsi);
		attempt_failed(connector, reason_of_failure(connector, in, len));
		return 0;
	default:
		break;
	}
	if (connector->state == CONNECTOR_ENDING)
		return -1;
	return connector->on_event(connector, reason, in, len);
}

static void free_handle(uv_handle_t *handle)
{
	free(handle);
}

static void close_if_orphaned(uv_handle_t *handle, void *wsi)
{
	if (handle->type == UV_POLL && handle->data == wsi && !uv_is_closing(handle))
		uv_close(handle, free_handle);
}

static void attempt_on_destroyed(struct ws_link *link)
{
	struct connector_attempt *attempt = (struct connector_attempt *)link;
	struct connector *connector = attempt->connector;
	/*
	 * When connecting fails, the library (4.1.6) forgets the poll handle that it has allocated
	 * with malloc(): whatever is not closing by now never would.
	 */
	uv_walk(attempt->loop, close_if_orphaned, link->wsi);
	if (connector != NULL) {
		connector->attempt = NULL;
		work_soon(connector);
	}
	free(attempt);
}

static void describe_connection(const struct connector *connector, char address[],
	size_t address_size, char host[], size_t host_size)
{
	const struct ws_url *url = &connector->url;
	if (url->scheme == WS_URL_UNIX) {
		snprintf(address, address_size, "+%s", url->path);
		snprintf(host, host_size, "localhost");
		return;
	}
	snprintf(address, address_size, "%s", connector->addresses[connector->next_address]);
	snprintf(host, host_size, strchr(url->host, ':') != NULL ? "[%s]" : "%s", url->host);
}

static void start_attempt(struct connector *connector)
{
	char address[WS_URL_PATH_BYTES_MAX + 2], host[WS_URL_HOST_BYTES_MAX + 3];
	struct connector_attempt *attempt = calloc(1, sizeof(*attempt));
	if (attempt == NULL) {
		connector_end(connector, WS_CLIENT_UNREACHABLE);
		return;
	}
	attempt->link.on_event = attempt_on_event;
	attempt->link.on_destroyed = attempt_on_destroyed;
	attempt->connector = connector;
	attempt->loop = connector->context->loop;
	connector->attempt = attempt;
	connector->state = CONNECTOR_CONNECTING;
	connector->context->links++;
	describe_connection(connector, address, sizeof(address), host, sizeof(host));
	connector->next_address++;
	struct lws_client_connect_info info = {
		.context = connector->context->lws,
		.vhost = connector->context->vhost,
		.address = address,
		.port = connector->url.port,
		.ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT |
				  (connector_is_tls(connector) ? LCCSCF_USE_SSL : 0),
		.path = connector->path,
		.host = host,
		.method = connector->method,
		.protocol = connector->subprotocols,
		.local_protocol_name = ws_client_protocol_name,
		.alpn = "http/1.1",
		.retry_and_idle_policy = &ws_no_idle_policy,
		.opaque_user_data = &attempt->link,
	};
	struct lws *wsi = lws_client_connect_via_info(&info);
	/* Nothing more is heard of a connection that failed here but that it is gone. */
	if (wsi == NULL && connector->attempt == attempt) {
		attempt->connector = NULL;
		connector->attempt = NULL;
		work_soon(connector);
	}
	if (wsi == NULL)
		attempt_failed(connector, WS_CLIENT_UNREACHABLE);
	else
		attempt->link.wsi = wsi;
}

/* ---- ending ---- */

static void connector_on_handle_closed(uv_handle_t *handle)
{
	struct connector *connector = handle->data;
	if (--connector->handles_open > 0)
		return;
	free(connector->path);
	free(connector->bearer);
	free(connector->subprotocols);
	connector->on_finished(connector);
}

static void close_handles(struct connector *connector)
{
	uv_close((uv_handle_t *)&connector->timer, connector_on_handle_closed);
	uv_close((uv_handle_t *)&connector->soon, connector_on_handle_closed);
}

static void connector_on_soon(uv_idle_t *idle)
{
	struct connector *connector = idle->data;
	uv_idle_stop(idle);
	if (connector->state == CONNECTOR_ENDING) {
		if (connector->attempt != NULL && connector->attempt->link.wsi != NULL)
			lws_set_timeout(connector->attempt->link.wsi, PENDING_TIMEOUT_USER_OK,
				LWS_TO_KILL_SYNC);
		else if (connector->attempt == NULL && !connector->looking_up &&
			 !uv_is_closing((uv_handle_t *)idle))
			close_handles(connector);
		return;
	}
	if (connector->attempt != NULL)
		return;
	bool may_try = connector->state == CONNECTOR_RESOLVING ||
		       connector->state == CONNECTOR_CONNECTING;
	if (may_try && connector->next_address < connector->address_count)
		start_attempt(connector);
	else
		connector_end(connector, WS_CLIENT_LOST);
}

/* ---- starting ---- */

static void connector_on_deadline(uv_timer_t *timer)
{
	struct connector *connector = timer->data;
	connector_end(connector, WS_CLIENT_TIMEOUT);
}

static void connector_on_tick(uv_timer_t *timer)
{
	struct connector *connector = timer->data;
	connector->on_tick(connector);
}

void connector_opened(struct connector *connector, uint64_t tick_ms)
{
	connector->state = CONNECTOR_OPEN;
	uv_timer_start(&connector->timer, connector_on_tick, tick_ms, tick_ms);
}

static void connector_on_addresses(uv_getaddrinfo_t *lookup, int status, struct addrinfo *list)
{
	struct connector *connector = lookup->data;
	connector->looking_up = false;
	for (const struct addrinfo *at = list; at != NULL; at = at->ai_next) {
		if (connector->address_count == CONNECTOR_ADDRESSES_MAX)
			break;
		char *text = connector->addresses[connector->address_count];
		if (uv_ip_name(at->ai_addr, text, CONNECTOR_ADDRESS_BYTES) == 0)
			connector->address_count++;
	}
	uv_freeaddrinfo(list);
	if (connector->state == CONNECTOR_ENDING)
		work_soon(connector);
	else if (status < 0 || connector->address_count == 0)
		connector_end(connector, WS_CLIENT_NAME);
	else
		work_soon(connector);
}

static int start_lookup(struct connector *connector)
{
	static const struct addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	connector->lookup.data = connector;
	int r = uv_getaddrinfo(connector->context->loop, &connector->lookup, connector_on_addresses,
		connector->url.host, NULL, &hints);
	connector->looking_up = r == 0;
	return r;
}

static bool is_address(const char *host)
{
	struct in6_addr address;
	return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

static char *copy_text(const char *text, int *r)
{
	char *copy = text != NULL ? strdup(text) : NULL;
	if (text != NULL && copy == NULL)
		*r = -ENOMEM;
	return copy;
}

static int copy_request(struct connector *connector, const struct connector_request *request)
{
	int r = 0;
	const char *base = request->url->scheme == WS_URL_UNIX ? "" : request->url->path;
	if (asprintf(&connector->path, "%s%s", base, request->path) < 0) {
		connector->path = NULL;
		r = -ENOMEM;
	}
	connector->url = *request->url;
	connector->method = request->method;
	connector->bearer = copy_text(request->bearer, &r);
	connector->subprotocols = copy_text(request->subprotocols, &r);
	/* These become lines of a head. */
	const char *const texts[] = {connector->path, connector->bearer, connector->subprotocols};
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(texts); i++) {
		for (const char *c = texts[i]; c != NULL && *c != '\0'; c++) {
			if (*c < ' ' || *c == 0x7f)
				r = -EINVAL;
		}
	}
	return r;
}

int connector_start(struct connector *connector, struct ws_context *context,
	const struct connector_request *request)
{
	connector->context = context;
	int r = copy_request(connector, request);
	uv_timer_init(context->loop, &connector->timer);
	uv_idle_init(context->loop, &connector->soon);
	connector->timer.data = connector;
	connector->soon.data = connector;
	connector->handles_open = 2;
	if (r < 0) {
		connector_end(connector, WS_CLIENT_UNREACHABLE);
		return r;
	}
	uv_timer_start(&connector->timer, connector_on_deadline,
		request->timeout_ms != 0 ? request->timeout_ms : DEFAULT_TIMEOUT_MS, 0);
	const struct ws_url *url = request->url;
	if (url->scheme != WS_URL_UNIX && !is_address(url->host)) {
		if (start_lookup(connector) < 0)
			connector_end(connector, WS_CLIENT_NAME);
		return 0;
	}
	snprintf(connector->addresses[0], CONNECTOR_ADDRESS_BYTES, "%.*s",
		CONNECTOR_ADDRESS_BYTES - 1, url->host);
	connector->address_count = 1;
	work_soon(connector);
	return 0;
}
