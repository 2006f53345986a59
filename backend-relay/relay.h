/*
 * Relay: what the parts of this process share, and its one clock.
 *
 * Opened once by main(), before the first client. The parts hold a pointer to it; it owns them all.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "backend-relay/audit.h"
#include "backend-relay/client_cursor.h"
#include "backend-relay/config.h"
#include "backend-relay/crowd.h"
#include "backend-relay/deferral.h"
#include "backend-relay/event_id.h"
#include "backend-relay/identity/authenticator.h"
#include "backend-relay/projector/projector.h"
#include "backend-relay/stream.h"
#include "backend-relay/upstream/registry.h"
#include "backend-relay/upstream/source.h"
#include "backend-relay/wakeup.h"
#include "proto/base/daemon.h"
#include "proto/base/journal.h"
#include "proto/ws/ws_context.h"
#include "proto/ws/ws_server.h"

struct client;
struct api_request;

/* A request that is answered later: the owner of its exchange. */
struct waiting_exchange {
	struct ws_exchange *exchange;                      /* NULL once it was answered */
	void (*on_gone)(struct waiting_exchange *waiting); /* the peer left before */
};

struct relay_counters {
	uint64_t sessions, sessions_refused, sessions_ended;
	uint64_t events_delivered, bytes_delivered;
	uint64_t lagging, stalled, joins;
	uint64_t unauthorized, too_often;
};

struct relay {
	struct daemon *daemon;
	const char *config_file;
	struct config config;
	struct registry registry;
	struct authenticator authenticator;
	struct client_cursor_keys cursor_keys;
	struct event_id_key event_id_key;

	struct wakeups wakeups;
	struct deferrals deferrals;
	struct ws_context *context;
	struct sources sources;
	struct streams streams;
	struct projector *projector;
	struct ws_server *server, *status_server;
	uv_timer_t tick;

	TAILQ_HEAD(, client) clients;
	unsigned int client_count; /* with those that are leaving */
	struct crowd crowd;
	TAILQ_HEAD(, api_request) api_requests;
	bool stopping, closed;
	struct relay_counters counters;
	struct journal_limit accept_log;
	struct audit audit;
};

/* Everything that needs no socket: files and keys. 0; -EINVAL with `error`; or another -errno. */
_must_check_ int relay_load(struct relay *relay, const char *config_file, struct yaml_error *error);

/* Takes the listening descriptors; status_fd may be -1. 0 or -errno. */
_must_check_ int relay_open(
	struct relay *relay, struct daemon *daemon, int client_fd, int status_fd);

/* SIGHUP: reads tokens and keys again; a file with a mistake changes nothing. */
void relay_reload(struct relay *relay);
/* SIGTERM: sends every client away; daemon_quit() when the last one has gone. */
void relay_stop(struct relay *relay);

/* After daemon_run(), also after a relay_open() that failed: closes what is left, from the loop. */
void relay_close(struct relay *relay);
/* After daemon_close(). */
void relay_free(struct relay *relay);

/* A request or session of this subject is refused: for the audit. */
void relay_note_refusal(
	struct relay *relay, const struct audit_subject *subject, enum diagnostic diagnostic);
/* The same where no diagnostic says why, only an HTTP status. */
void relay_note_refused_status(
	struct relay *relay, const struct audit_subject *subject, unsigned int status);
/* And answers it, in these words. */
void relay_refuse_status(struct relay *relay, struct ws_exchange *exchange,
	const struct audit_subject *subject, unsigned int status, const char *message);

/* Before this time nobody hears that something is not there: monotonic, for a request that came
 * now.
 */
uint64_t relay_not_found_ns(const struct relay *relay);

/* A client has freed itself. */
void relay_client_gone(struct relay *relay);
