#include "backend-relay/relay.h"

#include <errno.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend-relay/api.h"
#include "backend-relay/client.h"
#include "backend-relay/route.h"
#include "backend-relay/status.h"
#include "proto/base/clock.h"
#include "proto/base/secret_file.h"

enum {
	TICK_MIN_MS = 20,
	TICK_MAX_MS = 1000,
	STATUS_CONNECTIONS_MAX = 64,
	SPARE_CONNECTIONS = 64, /* beyond max_clients: to refuse them in words */
	STOP_DEADLINE_MS = 15000,
};

/* ---- files and keys ---- */

static int load_key(const struct relay *relay, const char *name, uint8_t key[KEY_BYTES],
	struct yaml_error *error)
{
	char path[PATH_MAX];
	int r = secret_file_path(name, relay->config_file, path, sizeof(path));
	if (r == 0)
		r = key_file_read(path, key);
	if (r == -EINVAL)
		snprintf(error->text, sizeof(error->text), "%.300s: not 64 hexadecimal digits",
			path);
	else if (r < 0)
		snprintf(error->text, sizeof(error->text), "%.300s: %s", path, strerror(-r));
	return r;
}

static int load_keys(struct relay *relay, struct yaml_error *error)
{
	uint8_t key[KEY_BYTES];
	int r = 0;
	for (size_t i = 0; r == 0 && i < relay->config.cursor_key_count; i++) {
		r = load_key(relay, relay->config.cursor_keys[i], key, error);
		if (r == 0)
			r = client_cursor_add_key(&relay->cursor_keys, key);
	}
	if (r == 0)
		r = load_key(relay, relay->config.event_id_key, relay->event_id_key.bytes, error);
	sodium_memzero(key, sizeof(key));
	return r;
}

int relay_load(struct relay *relay, const char *config_file, struct yaml_error *error)
{
	char path[PATH_MAX];
	relay->config_file = config_file;
	snprintf(error->text, sizeof(error->text), "%.300s: a name is too long", config_file);
	int r = config_read(&relay->config, config_file, error);
	if (r == 0)
		r = config_path(relay->config.registry, config_file, path, sizeof(path));
	if (r == 0)
		r = registry_load(&relay->registry, path, error);
	if (r == 0)
		r = authenticator_load(&relay->authenticator, &relay->config, config_file, error);
	return r == 0 ? load_keys(relay, error) : r;
}

void relay_reload(struct relay *relay)
{
	struct yaml_error error;
	if (authenticator_reload(&relay->authenticator, &error) < 0) {
		journal(LOG_ERR, "%s; going on with the tokens that are known", error.text);
		return;
	}
	journal(LOG_NOTICE, "%zu tokens read, %zu keys", relay->authenticator.tokens.count,
		relay->authenticator.jwt.keys.count);
	struct client *client, *next;
	for (client = TAILQ_FIRST(&relay->clients); client != NULL; client = next) {
		next = client_next(client);
		client_check_identity(client);
	}
}

/* ---- refusals ---- */

uint64_t relay_not_found_ns(const struct relay *relay)
{
	/* The jitter hides what is left of a difference in how much there was to do. */
	uint64_t least_ns = relay->config.not_found_ms * NS_PER_MS;
	return clock_monotonic_ns() + least_ns +
	       (((uint64_t)randombytes_random() * (least_ns / 4)) >> 32);
}

void relay_note_refusal(
	struct relay *relay, const struct audit_subject *subject, enum diagnostic diagnostic)
{
	audit_refused(
		&relay->audit, subject, diagnostic_row(diagnostic)->code, clock_monotonic_ns());
}

void relay_note_refused_status(
	struct relay *relay, const struct audit_subject *subject, unsigned int status)
{
	audit_refused(
		&relay->audit, subject, ws_exchange_status_word(status), clock_monotonic_ns());
}

void relay_refuse_status(struct relay *relay, struct ws_exchange *exchange,
	const struct audit_subject *subject, unsigned int status, const char *message)
{
	relay_note_refused_status(relay, subject, status);
	ws_exchange_refuse(exchange, status, NULL, message);
}

/* ---- time ---- */

static uint64_t tick_ms(const struct config *config)
{
	const uint64_t limits[] = {config->bookmark_ms, config->stall_ms,
		config->upstream_give_up_ms, config->projection_give_up_ms};
	uint64_t shortest = TICK_MAX_MS * 4;
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		if (limits[i] < shortest)
			shortest = limits[i];
	}
	return shortest / 4 > TICK_MIN_MS ? shortest / 4 : TICK_MIN_MS;
}

static void relay_on_tick(uv_timer_t *handle)
{
	struct relay *relay = handle->data;
	uint64_t now_ns = clock_monotonic_ns();
	audit_tick(&relay->audit, now_ns);
	struct client *client, *next;
	for (client = TAILQ_FIRST(&relay->clients); client != NULL; client = next) {
		next = client_next(client);
		client_tick(client, now_ns);
	}
}

/* ---- opening ---- */

static int open_projector(struct relay *relay)
{
	const struct projector_config config = {
		.loop = &relay->daemon->loop,
		.wakeups = &relay->wakeups,
		.socket_path = relay->config.projection_socket,
		.timeout_ms = relay->config.projection_timeout_ms,
		.pass_bytes = relay->config.projection_queue_bytes,
		.cursor_keys = &relay->cursor_keys,
		.event_id_key = &relay->event_id_key,
	};
	return projector_open(&relay->projector, &config);
}

static int open_server(struct relay *relay, int fd)
{
	const struct config *config = &relay->config;
	const struct ws_server_config server = {
		.fd = fd,
		.max_connections = (unsigned int)config->max_clients + SPARE_CONNECTIONS,
		.max_queued_bytes = config->client_queue_bytes,
		.takes_any_method = true,
		/* A request without a subprotocol waits for projection and for the runtime. */
		.answer_timeout_ms = 2 * config->upstream_timeout_ms +
				     config->projection_timeout_ms + 5000,
	};
	return ws_server_open(&relay->server, relay->context, &server, &route_handler, relay);
}

static int open_context(struct relay *relay)
{
	const struct config *config = &relay->config;
	const struct ws_context_config context = {
		.max_connections = (unsigned int)(config->max_clients + config->max_upstreams) +
				   SPARE_CONNECTIONS + STATUS_CONNECTIONS_MAX,
		.ca_file = config->ca_file,
	};
	int r = ws_context_open(&relay->context, &relay->daemon->loop, &context);
	if (r == -EMFILE)
		journal(LOG_ERR, "the limit of open files is too low for %u connections",
			context.max_connections);
	if (r < 0)
		return r;
	relay->sources = (struct sources){
		.loop = &relay->daemon->loop,
		.context = relay->context,
		.timeout_ms = config->upstream_timeout_ms,
		.max_open = (unsigned int)config->max_upstreams,
		.log_limit = {.interval_ns = 10 * NS_PER_S, .burst = 50},
	};
	relay->streams = (struct streams){
		.sources = &relay->sources,
		.wakeups = &relay->wakeups,
		.recent_bytes = config->stream_ring_bytes,
		.view_bytes = config->view_ring_bytes,
	};
	return 0;
}

int relay_open(struct relay *relay, struct daemon *daemon, int client_fd, int status_fd)
{
	relay->daemon = daemon;
	daemon->owner = relay;
	daemon->stop_deadline_ms = STOP_DEADLINE_MS;
	relay->accept_log = (struct journal_limit){.interval_ns = 10 * NS_PER_S, .burst = 20};
	audit_init(&relay->audit);
	relay->crowd.max_all = relay->config.max_clients;
	relay->crowd.max_each = relay->config.max_clients_per_subject;
	TAILQ_INIT(&relay->clients);
	TAILQ_INIT(&relay->api_requests);
	deferrals_open(&relay->deferrals, &daemon->loop);
	int r = wakeups_open(&relay->wakeups, &daemon->loop);
	if (r < 0)
		return r;
	r = open_context(relay);
	if (r == 0)
		r = open_projector(relay);
	if (r == 0)
		r = open_server(relay, client_fd);
	if (r == 0 && status_fd >= 0)
		r = status_open(relay, status_fd, STATUS_CONNECTIONS_MAX);
	if (r < 0)
		return r;
	uv_timer_init(&daemon->loop, &relay->tick);
	relay->tick.data = relay;
	uint64_t period_ms = tick_ms(&relay->config);
	uv_timer_start(&relay->tick, relay_on_tick, period_ms, period_ms);
	return 0;
}

/* ---- stopping ---- */

static void quit_when_empty(struct relay *relay)
{
	if (relay->stopping && !relay->closed && TAILQ_EMPTY(&relay->clients))
		daemon_quit(relay->daemon);
}

void relay_client_gone(struct relay *relay)
{
	relay->client_count--;
	relay->counters.sessions_ended++;
	quit_when_empty(relay);
}

void relay_stop(struct relay *relay)
{
	relay->stopping = true;
	ws_server_stop_accepting(relay->server);
	struct client *client, *next;
	for (client = TAILQ_FIRST(&relay->clients); client != NULL; client = next) {
		next = client_next(client);
		/* Spread, so that they do not all come back at once. */
		uint64_t after_ms = (relay->config.drain_ms * randombytes_random()) >> 32;
		client_send_away(client, DIAGNOSTIC_BACKEND_GOING_AWAY, (int64_t)after_ms);
	}
	quit_when_empty(relay);
}

void relay_close(struct relay *relay)
{
	relay->closed = true;
	struct client *client;
	for (client = TAILQ_FIRST(&relay->clients); client != NULL; client = client_next(client))
		client_abandon(client);
	audit_flush(&relay->audit);
	api_close(relay);
	if (relay->server != NULL)
		ws_server_close(relay->server);
	if (relay->status_server != NULL)
		ws_server_close(relay->status_server);
	projector_close(relay->projector);
	deferrals_close(&relay->deferrals);
	if (relay->tick.data != NULL)
		uv_close((uv_handle_t *)&relay->tick, NULL);
	if (relay->wakeups.idle.data != NULL)
		wakeups_close(&relay->wakeups);
	if (relay->context != NULL)
		ws_context_close(relay->context);
}

void relay_free(struct relay *relay)
{
	ws_context_free(relay->context);
	registry_free(&relay->registry);
	authenticator_free(&relay->authenticator);
	config_free(&relay->config);
	sodium_memzero(&relay->cursor_keys, sizeof(relay->cursor_keys));
	sodium_memzero(&relay->event_id_key, sizeof(relay->event_id_key));
}
