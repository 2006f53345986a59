#include "eventlogd/server.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "eventlogd/publisher.h"
#include "eventlogd/subscriber.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/limits.h"

enum { TICK_MS = 250, LOG_LINES_BURST = 20 };
enum { CATCH_UP_TURN_BYTES = 2 * 1024 * 1024 }; /* a millisecond's worth */
static const uint64_t LOG_LINES_NS = 10 * NS_PER_S;

static void server_on_finding(void *owner, const struct finding *finding)
{
	static const int levels[] = {
		[FINDING_INFO] = LOG_INFO,
		[FINDING_ATTENTION] = LOG_WARNING,
		[FINDING_DAMAGE] = LOG_ERR,
	};
	(void)owner;
	char place[160] = "", range[80] = "", count[40] = "", reason[80] = "";
	if (finding->file != NULL)
		snprintf(
			place, sizeof(place), " in %s at %" PRIu64, finding->file, finding->offset);
	else if (finding->bytes != 0)
		snprintf(place, sizeof(place), ": new ones have %" PRIu64 " bytes", finding->bytes);
	if (finding->last != 0)
		snprintf(range, sizeof(range), ", sequences %" PRIu64 " to %" PRIu64,
			finding->first, finding->last);
	if (finding->count != 0)
		snprintf(count, sizeof(count), ", %" PRIu64 " records", finding->count);
	if (finding->error != 0)
		snprintf(reason, sizeof(reason), ": %s", strerror(-finding->error));
	journal(levels[finding_severity(finding->kind)], "event log: %s%s%s%s%s",
		finding_name(finding->kind), place, range, count, reason);
}

static void server_on_wake(void *owner)
{
	struct server *server = owner;
	uv_async_send(&server->wake);
}

static int open_log(struct server *server)
{
	const struct config *config = server->config;
	struct event_log_config log;
	event_log_config_init(&log);
	log.directory = config->directory;
	log.durability = (enum durability)config->durability;
	log.sync_interval_ns = config->sync_interval_ms * NS_PER_MS;
	log.sync_bytes = config->sync_bytes;
	log.segment_bytes = config->segment_bytes;
	log.max_event_bytes = (uint32_t)config->max_event_bytes;
	log.max_workers = (uint32_t)config->max_workers;
	log.max_workers_per_uid = (uint32_t)config->quotas.workers;
	log.retention.bytes = config->retention.bytes;
	log.retention.age_ns = config->retention.age_ms * NS_PER_MS;
	log.retention.keyframe_reserve = config->retention.keyframe_reserve;
	log.findings.report = server_on_finding;
	log.findings.owner = server;
	log.wake = server_on_wake;
	log.wake_owner = server;
	int r = event_log_open(&server->log, &log, clock_wall_ns());
	if (r == -EBUSY)
		journal(LOG_ERR, "%s is in use by another eventlogd", config->directory);
	else if (r < 0)
		journal(LOG_ERR, "can't open the log in %s: %s", config->directory, strerror(-r));
	if (r < 0)
		return r;
	server->view = event_log_view(server->log);
	return 0;
}

static void refuse_dropped(struct server *server, enum event_log_result result)
{
	const char *code = result == EVENT_LOG_NO_SPACE ? "no_space" : "read_only";
	const char *text = result == EVENT_LOG_NO_SPACE
				   ? "the log's disk is full"
				   : "the log's disk failed; nothing is written";
	if (result != server->last_commit)
		journal(LOG_CRIT, "%s: %s; publishers are refused, readers go on", code, text);
	struct publisher *next;
	for (struct publisher *p = LIST_FIRST(&server->busy_publishers); p != NULL; p = next) {
		next = publisher_next_busy(p);
		publisher_on_dropped(p, server->progress.written, code, text);
	}
	server->last_ticket = server->progress.written;
	server->is_read_only = result == EVENT_LOG_READ_ONLY;
}

static void visit_publishers(struct server *server)
{
	struct publisher *next;
	for (struct publisher *p = LIST_FIRST(&server->busy_publishers); p != NULL; p = next) {
		next = publisher_next_busy(p);
		publisher_on_turn(p);
	}
}

/*
 * Readers at the end of the log are all served. Those that catch up take whatever they get, which
 * would keep publishers waiting: they share so many bytes a turn, and the next turn begins with the
 * first that was left out.
 */
static void visit_subscribers(struct server *server)
{
	struct subscriber *s = server->turn_of, *left = NULL;
	size_t sent_bytes = 0;
	for (unsigned int i = 0; i < server->subscriber_count; i++) {
		if (s == NULL)
			s = LIST_FIRST(&server->subscribers);
		if (!subscriber_is_catching_up(s))
			subscriber_on_turn(s);
		else if (sent_bytes < CATCH_UP_TURN_BYTES)
			sent_bytes += subscriber_on_turn(s);
		else if (left == NULL)
			left = s;
		s = subscriber_next(s);
	}
	server->turn_of = left;
	if (left != NULL)
		server_turn_soon(server);
}

static void server_quit_when_empty(struct server *server)
{
	if (server->phase == SERVER_CLOSING && server->publisher_count == 0 &&
		server->subscriber_count == 0)
		daemon_quit(server->daemon);
}

/* Everything staged is acknowledged or dropped: the rest of an orderly stop. */
static void say_shutting_down(struct server *server)
{
	static const char code[] = "shutting_down", text[] = "eventlogd is stopping";
	server->phase = SERVER_CLOSING;
	struct publisher *next_publisher;
	for (struct publisher *p = LIST_FIRST(&server->publishers); p != NULL; p = next_publisher) {
		next_publisher = publisher_next(p);
		publisher_close(p, code, text);
	}
	struct subscriber *next_subscriber;
	for (struct subscriber *s = LIST_FIRST(&server->subscribers); s != NULL;
		s = next_subscriber) {
		next_subscriber = subscriber_next(s);
		subscriber_close(s, code, text);
	}
	server_quit_when_empty(server);
}

static void server_on_turn(uv_check_t *handle)
{
	struct server *server = handle->data;
	if (!server->is_turn_due)
		return;
	server->is_turn_due = false;
	uv_idle_stop(&server->turn_soon);
	enum event_log_result result = event_log_commit(server->log, clock_wall_ns());
	event_log_progress(server->log, &server->progress);
	if (result == EVENT_LOG_NO_SPACE || result == EVENT_LOG_READ_ONLY)
		refuse_dropped(server, result);
	else if (server->last_commit == EVENT_LOG_NO_SPACE)
		journal(LOG_NOTICE, "there is room again, publishers are served");
	server->last_commit = result;
	visit_publishers(server);
	visit_subscribers(server);
	bool is_drained = server->is_read_only || server->progress.acked >= server->last_ticket;
	if (server->config->durability == DURABILITY_DURABLE)
		lookout_note(&server->lookout, is_drained, clock_monotonic_ns());
	if (server->phase == SERVER_DRAINING && is_drained)
		say_shutting_down(server);
}

/* Only keeps the loop from waiting; the turn comes behind the poll for events. */
static void server_on_turn_soon(uv_idle_t *handle)
{
	(void)handle;
}

void server_turn_soon(struct server *server)
{
	if (server->is_turn_due)
		return;
	server->is_turn_due = true;
	uv_idle_start(&server->turn_soon, server_on_turn_soon);
}

static void server_on_async(uv_async_t *handle)
{
	server_turn_soon(handle->data);
}

static void close_overdue(struct server *server, uint64_t now_ns)
{
	static const char code[] = "protocol_error", text[] = "no HELLO in time";
	struct publisher *next_publisher;
	for (struct publisher *p = LIST_FIRST(&server->publishers); p != NULL; p = next_publisher) {
		next_publisher = publisher_next(p);
		if (publisher_is_overdue(p, now_ns))
			publisher_close(p, code, text);
	}
	struct subscriber *next_subscriber;
	for (struct subscriber *s = LIST_FIRST(&server->subscribers); s != NULL;
		s = next_subscriber) {
		next_subscriber = subscriber_next(s);
		if (subscriber_is_overdue(s, now_ns))
			subscriber_close(s, code, text);
	}
}

static void server_on_tick(uv_timer_t *timer)
{
	struct server *server = timer->data;
	uint64_t now_ns = clock_monotonic_ns();
	event_log_tick(server->log, clock_wall_ns(), now_ns);
	close_overdue(server, now_ns);
	server_turn_soon(server);
}

static void open_handles(struct server *server)
{
	uv_loop_t *loop = &server->daemon->loop;
	uv_async_init(loop, &server->wake, server_on_async);
	uv_timer_init(loop, &server->tick);
	uv_check_init(loop, &server->turn);
	uv_idle_init(loop, &server->turn_soon);
	lookout_init(&server->lookout, loop);
	server->wake.data = server->tick.data = server;
	server->turn.data = server->turn_soon.data = server;
	uv_timer_start(&server->tick, server_on_tick, TICK_MS, TICK_MS);
	uv_check_start(&server->turn, server_on_turn);
}

static void close_handles(struct server *server)
{
	uv_close((uv_handle_t *)&server->wake, NULL);
	uv_close((uv_handle_t *)&server->tick, NULL);
	uv_close((uv_handle_t *)&server->turn, NULL);
	uv_close((uv_handle_t *)&server->turn_soon, NULL);
	lookout_close(&server->lookout);
}

int server_open(struct server *server, struct daemon *daemon, const struct config *config)
{
	*server = (struct server){.daemon = daemon,
		.config = config,
		.quotas = {.connections = config->quotas.connections,
			.bytes_per_second = config->quotas.bytes_per_second,
			.bytes_at_once = FRAME_BYTES(config->max_event_bytes)}};
	LIST_INIT(&server->publishers);
	LIST_INIT(&server->busy_publishers);
	LIST_INIT(&server->subscribers);
	struct journal_limit limit = {.interval_ns = LOG_LINES_NS, .burst = LOG_LINES_BURST};
	server->accept_log = server->peer_log = server->damage_log = limit;
	int r = message_decoder_init(&server->decoder);
	if (r == 0)
		r = publish_batch_init(&server->batch);
	if (r < 0) {
		journal(LOG_ERR, "out of memory");
		message_decoder_free(&server->decoder);
		return r;
	}
	open_handles(server);
	r = open_log(server);
	if (r < 0) {
		close_handles(server);
		publish_batch_free(&server->batch);
		message_decoder_free(&server->decoder);
		return r;
	}
	event_log_progress(server->log, &server->progress);
	return 0;
}

_printf_(5, 6) void server_log_peer(struct server *server, int level, const char *socket,
	const struct peer_credentials *peer, const char *format, ...)
{
	unsigned int suppressed;
	struct journal_limit *limit = level >= LOG_INFO ? &server->accept_log : &server->peer_log;
	if (level == LOG_DEBUG || !journal_limit_pass(limit, clock_monotonic_ns(), &suppressed))
		return;
	char text[256], pid[16], uid[16], gid[16];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(pid, sizeof(pid), "%ld", (long)peer->pid);
	snprintf(uid, sizeof(uid), "%lu", (unsigned long)peer->uid);
	snprintf(gid, sizeof(gid), "%lu", (unsigned long)peer->gid);
	const struct journal_field fields[] = {{"SOCKET", socket}, {"PEER_PID", pid},
		{"PEER_UID", uid}, {"PEER_GID", gid}, {NULL, NULL}};
	if (suppressed > 0)
		journal_fields(level, fields, "%s (%u such lines suppressed)", text, suppressed);
	else
		journal_fields(level, fields, "%s", text);
}

static void server_on_publisher_accepted(
	struct unix_listener *listener, int fd, const struct peer_credentials *peer)
{
	struct server *server = listener->owner;
	server->counters.publishers_accepted++;
	server_log_peer(server, LOG_INFO, "publish", peer, "publisher connected");
	publisher_open(server, fd, peer);
}

static void server_on_subscriber_accepted(
	struct unix_listener *listener, int fd, const struct peer_credentials *peer)
{
	struct server *server = listener->owner;
	server->counters.readers_accepted++;
	server_log_peer(server, LOG_INFO, "tail", peer, "reader connected");
	subscriber_open(server, fd, peer);
}

static void server_on_accept_error(struct unix_listener *listener, int error)
{
	struct server *server = listener->owner;
	unsigned int suppressed;
	server->counters.accept_errors++;
	if (journal_limit_pass(&server->peer_log, clock_monotonic_ns(), &suppressed))
		journal(LOG_ERR, "can't accept a connection: %s; trying again", strerror(-error));
}

int server_listen(struct server *server, int publish_fd, int tail_fd)
{
	server->publish_listener = (struct unix_listener){.owner = server,
		.on_accept = server_on_publisher_accepted,
		.on_error = server_on_accept_error};
	server->tail_listener = (struct unix_listener){.owner = server,
		.on_accept = server_on_subscriber_accepted,
		.on_error = server_on_accept_error};
	uv_loop_t *loop = &server->daemon->loop;
	int r = unix_listener_start(&server->publish_listener, loop, publish_fd,
		(unsigned int)server->config->max_publishers);
	if (r < 0) {
		fd_close(tail_fd);
		return r;
	}
	r = unix_listener_start(
		&server->tail_listener, loop, tail_fd, (unsigned int)server->config->max_readers);
	if (r < 0) {
		unix_listener_close(&server->publish_listener);
		return r;
	}
	server->is_listening = true;
	return 0;
}

void server_on_publisher_closed(struct server *server)
{
	server->publisher_count--;
	server->counters.publishers_closed++;
	unix_listener_released(&server->publish_listener);
	server_quit_when_empty(server);
}

void server_on_subscriber_closed(struct server *server)
{
	server->turn_of = NULL; /* it may have been the one */
	server->subscriber_count--;
	server->counters.readers_closed++;
	unix_listener_released(&server->tail_listener);
	server_quit_when_empty(server);
}

void server_count_nack(struct server *server, const char *code)
{
	struct counters *c = &server->counters;
	const struct {
		const char *code;
		uint64_t *counter;
	} table[] = {
		{"invalid_json", &c->nack_invalid_json},
		{"not_an_object", &c->nack_not_an_object},
		{"event_too_large", &c->nack_event_too_large},
		{"batch_too_large", &c->nack_batch_too_large},
		{"worker_id_invalid", &c->nack_worker_id_invalid},
		{"worker_id_denied", &c->nack_worker_id_denied},
		{"producer_gap", &c->nack_producer_gap},
		{"no_space", &c->nack_no_space},
		{"read_only", &c->nack_read_only},
		{"quota_exceeded", &c->nack_quota_exceeded},
		{"shutting_down", &c->nack_shutting_down},
	};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (strcmp(table[i].code, code) == 0)
			(*table[i].counter)++;
	}
}

static void stop_listening(struct server *server)
{
	if (!server->is_listening)
		return;
	server->is_listening = false;
	unix_listener_close(&server->publish_listener);
	unix_listener_close(&server->tail_listener);
}

void server_stop(struct server *server)
{
	journal(LOG_INFO, "stopping: %u publishers, %u readers", server->publisher_count,
		server->subscriber_count);
	server->phase = SERVER_DRAINING;
	stop_listening(server);
	struct publisher *next;
	for (struct publisher *p = LIST_FIRST(&server->publishers); p != NULL; p = next) {
		next = publisher_next(p);
		publisher_stop_reading(p);
	}
	server_turn_soon(server);
}

static void drop_connections(struct server *server)
{
	struct publisher *next_publisher;
	for (struct publisher *p = LIST_FIRST(&server->publishers); p != NULL; p = next_publisher) {
		next_publisher = publisher_next(p);
		publisher_drop(p);
	}
	struct subscriber *next_subscriber;
	for (struct subscriber *s = LIST_FIRST(&server->subscribers); s != NULL;
		s = next_subscriber) {
		next_subscriber = subscriber_next(s);
		subscriber_drop(s);
	}
	while (server->publisher_count > 0 || server->subscriber_count > 0)
		uv_run(&server->daemon->loop, UV_RUN_ONCE);
}

int server_close(struct server *server)
{
	stop_listening(server);
	uv_check_stop(&server->turn);
	drop_connections(server);
	int r = event_log_close(server->log, clock_wall_ns());
	if (r < 0)
		journal(LOG_ERR, "can't seal the log: %s; the next start recovers it",
			strerror(-r));
	close_handles(server); /* only now: the sync thread sends to `wake` */
	publish_batch_free(&server->batch);
	message_decoder_free(&server->decoder);
	quotas_free(&server->quotas);
	buf_free(&server->scratch);
	return r;
}
