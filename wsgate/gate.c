#include "wsgate/gate.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "wsgate/query.h"
#include "wsgate/route.h"
#include "wsgate/session.h"

enum {
	STATUS_CONNECTIONS_MAX = 32,
	STATUS_QUEUE_BYTES = 64 * 1024,
	TAIL_LOG_BURST = 5,
	/* Each session has a connection to eventlogd; each TLS connection a socket pair. */
	FDS_PER_CONNECTION = 4,
};
#define TAIL_LOG_INTERVAL_NS (60 * NS_PER_S)

static void gate_on_runtime_exchange(struct ws_server *server, struct ws_exchange *exchange)
{
	route_runtime_request(ws_server_owner(server), exchange);
}

static void gate_on_status_exchange(struct ws_server *server, struct ws_exchange *exchange)
{
	route_status_request(ws_server_owner(server), exchange);
}

static void gate_on_gone(struct ws_server *server, struct ws_exchange *exchange)
{
	(void)server;
	struct asker *asker = ws_exchange_owner(exchange);
	asker->on_gone(asker);
}

static void gate_on_accept_error(struct ws_server *server, int error)
{
	struct gate *gate = ws_server_owner(server);
	unsigned int suppressed;
	if (journal_limit_pass(&gate->tail_log, clock_monotonic_ns(), &suppressed))
		journal(LOG_WARNING, "can't accept a connection: %s, trying again",
			strerror(-error));
}

static const struct ws_server_handler runtime_handler = {.on_exchange = gate_on_runtime_exchange,
	.on_gone = gate_on_gone,
	.on_error = gate_on_accept_error};
static const struct ws_server_handler status_handler = {.on_exchange = gate_on_status_exchange,
	.on_gone = gate_on_gone,
	.on_error = gate_on_accept_error};

int gate_open(struct gate *gate, struct daemon *daemon, const struct config *config,
	const char *token, size_t token_len)
{
	*gate = (struct gate){.daemon = daemon, .config = config};
	gate->refusal_log = (struct journal_limit){.interval_ns = 10 * NS_PER_S, .burst = 20};
	gate->tail_log = (struct journal_limit){
		.interval_ns = TAIL_LOG_INTERVAL_NS, .burst = TAIL_LOG_BURST};
	if (token != NULL)
		crypto_generichash(gate->token_hash, sizeof(gate->token_hash),
			(const uint8_t *)token, token_len, NULL, 0);
	const struct ws_context_config ws_config = {
		.max_connections = (unsigned int)config->limits.connections * FDS_PER_CONNECTION +
				   STATUS_CONNECTIONS_MAX,
		.server_only = true,
	};
	int r = ws_context_open(&gate->ws, &daemon->loop, &ws_config);
	if (r == -EMFILE)
		journal(LOG_ERR,
			"the limit of open descriptors is too low: %llu connections need %u",
			(unsigned long long)config->limits.connections,
			ws_context_fds_needed(ws_config.max_connections));
	else if (r < 0)
		journal(LOG_ERR, "can't start libwebsockets: %s", strerror(-r));
	return r;
}

/* The token is what a TCP listener asks for unless the configuration says otherwise. */
static int decide_on_token(struct gate *gate)
{
	gate->needs_token = gate->config->require_token && !ws_server_is_unix(gate->runtime);
	if (gate->needs_token && gate->config->token_file == NULL) {
		journal(LOG_ERR,
			"\"token_file\" is needed to serve on TCP (or require_token: false)");
		return -EINVAL;
	}
	if (!gate->needs_token && !ws_server_is_unix(gate->runtime))
		journal(LOG_WARNING, "serving on TCP without a token, as configured");
	return 0;
}

int gate_listen(struct gate *gate, int runtime_fd, int status_fd)
{
	const struct config *config = gate->config;
	const struct ws_server_config runtime = {
		.fd = runtime_fd,
		.certificate_file = config->tls.certificate,
		.key_file = config->tls.key,
		.max_connections = (unsigned int)config->limits.connections,
		.max_queued_bytes = config->limits.queue_bytes,
	};
	const struct ws_server_config status = {
		.fd = status_fd,
		.max_connections = STATUS_CONNECTIONS_MAX,
		.max_queued_bytes = STATUS_QUEUE_BYTES,
	};
	int r = ws_server_open(&gate->runtime, gate->ws, &runtime, &runtime_handler, gate);
	if (r < 0) {
		gate->runtime = NULL;
		journal(LOG_ERR, "can't serve backends: %s",
			r == -EINVAL ? "the certificate or its key can't be used" : strerror(-r));
		fd_close(status_fd);
		return r;
	}
	if (status_fd >= 0)
		r = ws_server_open(&gate->status, gate->ws, &status, &status_handler, gate);
	if (r < 0) {
		gate->status = NULL;
		journal(LOG_ERR, "can't serve the status: %s", strerror(-r));
		return r;
	}
	return decide_on_token(gate);
}

void gate_stop(struct gate *gate)
{
	gate->stopping = true;
	ws_server_stop_accepting(gate->runtime);
	session_say_goodbye_to_all(gate);
	query_refuse_all(gate);
	gate_left(gate);
}

void gate_left(struct gate *gate)
{
	if (gate->stopping && gate->sessions == NULL && gate->queries == NULL)
		daemon_quit(gate->daemon);
}

void gate_close(struct gate *gate)
{
	if (gate->runtime != NULL)
		ws_server_close(gate->runtime);
	if (gate->status != NULL)
		ws_server_close(gate->status);
	if (gate->ws != NULL)
		ws_context_close(gate->ws);
}

void gate_free(struct gate *gate)
{
	buf_free(&gate->scratch);
	ws_context_free(gate->ws);
	gate->ws = NULL;
}
