/*
 * backend-relay.yaml: where to listen, whom to ask, which keys, and every limit and time.
 *
 * Mistakes are told as "file:line:column: what". File names are kept as written; config_path()
 * tells where a secret leads, everything else stands beside the configuration unless absolute.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend-relay/client_cursor.h"
#include "backend-relay/identity/network.h"
#include "proto/base/yaml_config.h"

enum { CONFIG_ORIGINS_MAX = 64, CONFIG_PROXIES_MAX = 64 };

/* How JWTs are checked; issuer NULL: none is right. */
struct config_jwt {
	int algorithm; /* enum jwt_algorithm */
	char *issuer, *audience;
	char *key_file, *jwks_file; /* exactly one of them */
	char *subject_claim, *role_claim;
	uint64_t leeway_ms;
};

struct config {
	char *listen;            /* HOST:PORT or unix:/path; unused when "client" is inherited */
	char *status_listen;     /* the same for "status"; NULL: no status listener */
	char *projection_socket; /* path */
	char *registry;          /* file */
	char *tokens;            /* file; NULL: everybody is anonymous */
	char *cursor_keys[CLIENT_CURSOR_KEYS_MAX]; /* files; the first one seals */
	size_t cursor_key_count;
	char *event_id_key; /* file */
	char *origins[CONFIG_ORIGINS_MAX];
	size_t origin_count;
	char *cookie;  /* name of the cookie that may carry a token; NULL: none */
	char *ca_file; /* PEM trusted for wss:// instead of the system's store; NULL */
	struct config_jwt jwt;
	struct network trusted_proxies[CONFIG_PROXIES_MAX]; /* whose `Forwarded` is believed */
	size_t trusted_proxy_count;
	bool trusts_unix_peers;

	uint64_t max_clients, max_clients_per_subject;
	uint64_t max_upstreams;          /* connections to runtimes at once */
	uint64_t stream_ring_bytes;      /* unprojected events waiting, of one stream */
	uint64_t view_ring_bytes;        /* projected frames kept for clients, of one view */
	uint64_t client_queue_bytes;     /* frames handed to one client's socket, at most */
	uint64_t projection_queue_bytes; /* events without an answer, of one pass */

	uint64_t upstream_timeout_ms, upstream_give_up_ms;
	uint64_t projection_timeout_ms, projection_give_up_ms;
	uint64_t session_lifetime_ms; /* 0: no limit */
	uint64_t bookmark_ms, stall_ms;
	uint64_t drain_ms; /* over which clients are sent away when stopping */
	uint64_t failed_attempts, failed_attempt_interval_ms; /* attempts.h */
	uint64_t not_found_ms; /* "not found" takes at least this long */
};

/* Defaults, then the file. 0; -EINVAL or another -errno with `error`. */
_must_check_ int config_read(struct config *config, const char *path, struct yaml_error *error);
void config_free(struct config *config);

/*
 * Where a file that is no secret lies: absolute as it is, else beside the configuration.
 * 0 or -ENAMETOOLONG.
 */
_must_check_ int config_path(const char *name, const char *config_file, char *out, size_t out_size);
