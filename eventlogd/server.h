/*
 * Server: the log, the two listening sockets and everybody connected to them, on one loop.
 *
 * A turn of the loop: frames come in and are staged; server_on_turn() then commits once, answers
 * the publishers whose replies are due, and lets the readers see what has become visible. Whoever
 * has something for the next turn calls server_turn_soon().
 *
 * Lifecycle: server_open, server_listen, the daemon runs; server_stop (from the daemon's on_stop)
 * stops accepting and reading, waits until what is staged is acknowledged, says shutting_down to
 * everybody and ends the loop; server_close seals the log.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#include "eventlogd/config.h"
#include "eventlogd/log/event_log.h"
#include "eventlogd/log/view.h"
#include "eventlogd/lookout.h"
#include "eventlogd/publish_batch.h"
#include "eventlogd/quota.h"
#include "proto/base/attributes.h"
#include "proto/base/daemon.h"
#include "proto/base/journal.h"
#include "proto/base/unix_socket.h"
#include "proto/message.h"

struct publisher;
struct subscriber;
LIST_HEAD(publisher_list, publisher);
LIST_HEAD(subscriber_list, subscriber);

struct counters {
#define COUNTER(name) uint64_t name;
#include "eventlogd/counters.def"
#undef COUNTER
};

enum server_stop_phase {
	SERVER_RUNNING,
	SERVER_DRAINING, /* until what is staged is acknowledged */
	SERVER_CLOSING,  /* until every connection is closed */
};

struct server {
	struct daemon *daemon;
	const struct config *config;
	struct event_log *log;
	struct log_view *view;

	struct publisher_list publishers;
	struct publisher_list busy_publishers; /* those with something for the next turn */
	struct subscriber_list subscribers;
	unsigned int publisher_count, subscriber_count;
	struct quotas quotas;
	struct counters counters;
	struct event_log_progress progress; /* as of the last turn */
	uint64_t last_ticket;               /* the newest that was staged */
	enum server_stop_phase phase;
	bool is_read_only; /* the disk failed: what is not acknowledged by now never is */

	/* One at a time is in use: a callback works on one frame. */
	struct message_decoder decoder;
	struct publish_batch batch;
	struct buf scratch;

	struct journal_limit accept_log, peer_log, damage_log;

	/* private */
	struct unix_listener publish_listener, tail_listener;
	bool is_listening;
	uv_async_t wake;
	uv_timer_t tick;
	uv_check_t turn;
	uv_idle_t turn_soon;
	struct lookout lookout; /* in durable mode */
	bool is_turn_due;
	struct subscriber *turn_of; /* catches up and comes first; NULL: whoever is first */
	enum event_log_result last_commit;
};

/* Opens the log. 0; or -errno, told in the journal already. */
_must_check_ int server_open(
	struct server *server, struct daemon *daemon, const struct config *config);
/* Takes both listening descriptors. 0 or -errno. */
_must_check_ int server_listen(struct server *server, int publish_fd, int tail_fd);
void server_stop(struct server *server);
/* After the loop has ended. 0, or the -errno of sealing the log. */
int server_close(struct server *server);

/* There will be a turn before the loop waits again. */
void server_turn_soon(struct server *server);

/* Connections report that they are gone. */
void server_on_publisher_closed(struct server *server);
void server_on_subscriber_closed(struct server *server);

/* Counts a NACK by its code. */
void server_count_nack(struct server *server, const char *code);

/* Logs a line about a peer, rate-limited, with its credentials as fields. */
_printf_(5, 6) void server_log_peer(struct server *server, int level, const char *socket,
	const struct peer_credentials *peer, const char *format, ...);
