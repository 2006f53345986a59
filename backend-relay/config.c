#include "backend-relay/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	MIB = 1024 * 1024,
	CLIENTS_MAX = 30000, /* each needs up to two of projection's 65,536 passes */
};

/* One text, or a list of them. */
static int read_texts(char **out, size_t *out_count, size_t max, const char *name,
	struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	bool is_list = node->type == YAML_SEQUENCE_NODE;
	for (size_t i = 0;; i++) {
		const yaml_node_t *item = is_list ? yaml_item(tree, node, i) : i == 0 ? node : NULL;
		if (item == NULL)
			return 0;
		const char *text = yaml_text(item);
		if (text == NULL || text[0] == '\0')
			return yaml_fail(error, tree, item, "\"%s\" must be a list of texts", name);
		if (*out_count == max)
			return yaml_fail(
				error, tree, item, "\"%s\" has more than %zu entries", name, max);
		char *copy = strdup(text);
		if (copy == NULL)
			return -ENOMEM;
		out[(*out_count)++] = copy;
	}
}

static int read_cursor_keys(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct config *config = target;
	int r = read_texts(config->cursor_keys, &config->cursor_key_count, CLIENT_CURSOR_KEYS_MAX,
		"cursor_keys", tree, node, error);
	if (r == 0 && config->cursor_key_count == 0)
		r = yaml_fail(error, tree, node, "\"cursor_keys\" needs at least one file");
	return r;
}

static int read_origins(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct config *config = target;
	return read_texts(config->origins, &config->origin_count, CONFIG_ORIGINS_MAX, "origins",
		tree, node, error);
}

static int read_proxies(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct config *config = target;
	char *texts[CONFIG_PROXIES_MAX];
	size_t count = 0;
	int r = read_texts(texts, &count, CONFIG_PROXIES_MAX, "trusted_proxies", tree, node, error);
	for (size_t i = 0; i < count; i++) {
		if (strcmp(texts[i], "unix") == 0)
			config->trusts_unix_peers = true;
		else if (network_parse(
				 texts[i], &config->trusted_proxies[config->trusted_proxy_count]))
			config->trusted_proxy_count++;
		else if (r == 0)
			r = yaml_fail(error, tree,
				node->type == YAML_SEQUENCE_NODE ? yaml_item(tree, node, i) : node,
				"\"trusted_proxies\" needs addresses, networks or \"unix\"");
		free(texts[i]);
	}
	return r;
}

static const char *const jwt_algorithms[] = {"HS256", "RS256", "ES256", NULL};

#define JWT_TEXT(key, need) \
	{ \
		.name = #key, .type = CONFIG_STRING, .offset = offsetof(struct config_jwt, key), \
		.required = need \
	}

static const struct config_key jwt_keys[] = {
	{.name = "algorithm",
		.type = CONFIG_ENUM,
		.offset = offsetof(struct config_jwt, algorithm),
		.required = true,
		.words = jwt_algorithms},
	JWT_TEXT(issuer, true),
	JWT_TEXT(audience, true),
	JWT_TEXT(key_file, false),
	JWT_TEXT(jwks_file, false),
	JWT_TEXT(subject_claim, false),
	JWT_TEXT(role_claim, false),
	{.name = "leeway",
		.type = CONFIG_DURATION_MS,
		.offset = offsetof(struct config_jwt, leeway_ms),
		.max = 600000},
	{0},
};

static int read_jwt(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct config_jwt *jwt = &((struct config *)target)->jwt;
	int r = config_read_mapping(jwt_keys, jwt, tree, node, error);
	if (r < 0)
		return r;
	if ((jwt->key_file != NULL) == (jwt->jwks_file != NULL))
		return yaml_fail(
			error, tree, node, "\"jwt\" needs either \"key_file\" or \"jwks_file\"");
	if (jwt->subject_claim == NULL)
		jwt->subject_claim = strdup("sub");
	if (jwt->role_claim == NULL)
		jwt->role_claim = strdup("role");
	return jwt->subject_claim != NULL && jwt->role_claim != NULL ? 0 : -ENOMEM;
}

#define TEXT(key, need) \
	{ \
		.name = #key, .type = CONFIG_STRING, .offset = offsetof(struct config, key), \
		.required = need \
	}
#define NUMBER(key, kind, member, low, high) \
	{ \
		.name = #key, .type = CONFIG_##kind, .offset = offsetof(struct config, member), \
		.min = low, .max = high \
	}

static const struct config_key keys[] = {
	TEXT(listen, false),
	TEXT(status_listen, false),
	TEXT(projection_socket, true),
	TEXT(registry, true),
	TEXT(tokens, false),
	{.name = "cursor_keys", .type = CONFIG_CUSTOM, .required = true, .read = read_cursor_keys},
	TEXT(event_id_key, true),
	{.name = "origins", .type = CONFIG_CUSTOM, .read = read_origins},
	TEXT(cookie, false),
	TEXT(ca_file, false),
	{.name = "jwt", .type = CONFIG_CUSTOM, .read = read_jwt},
	{.name = "trusted_proxies", .type = CONFIG_CUSTOM, .read = read_proxies},
	NUMBER(max_clients, UINT, max_clients, 1, CLIENTS_MAX),
	NUMBER(max_clients_per_subject, UINT, max_clients_per_subject, 1, CLIENTS_MAX),
	NUMBER(max_upstreams, UINT, max_upstreams, 1, 100000),
	NUMBER(stream_ring_bytes, BYTES, stream_ring_bytes, 64 * 1024, 1024ull * MIB),
	NUMBER(view_ring_bytes, BYTES, view_ring_bytes, 64 * 1024, 1024ull * MIB),
	NUMBER(client_queue_bytes, BYTES, client_queue_bytes, 64 * 1024, 64ull * MIB),
	NUMBER(projection_queue_bytes, BYTES, projection_queue_bytes, 64 * 1024, 64ull * MIB),
	NUMBER(upstream_timeout, DURATION_MS, upstream_timeout_ms, 100, 120000),
	NUMBER(upstream_give_up, DURATION_MS, upstream_give_up_ms, 100, 86400000),
	NUMBER(projection_timeout, DURATION_MS, projection_timeout_ms, 100, 120000),
	NUMBER(projection_give_up, DURATION_MS, projection_give_up_ms, 100, 86400000),
	NUMBER(session_lifetime, DURATION_MS, session_lifetime_ms, 0, 0),
	NUMBER(bookmark_interval, DURATION_MS, bookmark_ms, 100, 30000),
	NUMBER(stall_timeout, DURATION_MS, stall_ms, 100, 3600000),
	NUMBER(drain_time, DURATION_MS, drain_ms, 0, 60000),
	NUMBER(failed_attempts, UINT, failed_attempts, 1, 10000),
	NUMBER(failed_attempt_interval, DURATION_MS, failed_attempt_interval_ms, 1, 3600000),
	NUMBER(not_found_time, DURATION_MS, not_found_ms, 0, 10000),
	{0},
};

static const struct config defaults = {
	.max_clients = 4096,
	.max_clients_per_subject = 1024,
	.max_upstreams = 4096,
	.stream_ring_bytes = 4 * MIB,
	.view_ring_bytes = 16 * MIB,
	.client_queue_bytes = MIB,
	.projection_queue_bytes = MIB,
	.upstream_timeout_ms = 10000,
	.upstream_give_up_ms = 120000,
	.projection_timeout_ms = 5000,
	.projection_give_up_ms = 120000,
	.session_lifetime_ms = 0,
	.bookmark_ms = 25000,
	.stall_ms = 120000,
	.drain_ms = 5000,
	.failed_attempts = 20,
	.failed_attempt_interval_ms = 3000,
	.not_found_ms = 250,
	.jwt = {.leeway_ms = 30000},
};

int config_read(struct config *config, const char *path, struct yaml_error *error)
{
	*config = defaults;
	int r = config_load(keys, config, path, error);
	if (r < 0)
		config_free(config);
	return r;
}

void config_free(struct config *config)
{
	config_free_strings(keys, config);
	config_free_strings(jwt_keys, &config->jwt);
	for (size_t i = 0; i < config->cursor_key_count; i++)
		free(config->cursor_keys[i]);
	for (size_t i = 0; i < config->origin_count; i++)
		free(config->origins[i]);
	config->cursor_key_count = 0;
	config->origin_count = 0;
}

int config_path(const char *name, const char *config_file, char *out, size_t out_size)
{
	const char *slash = strrchr(config_file, '/');
	int n;
	if (name[0] == '/' || slash == NULL)
		n = snprintf(out, out_size, "%s", name);
	else
		n = snprintf(
			out, out_size, "%.*s/%s", (int)(slash - config_file), config_file, name);
	return n < 0 || (size_t)n >= out_size ? -ENAMETOOLONG : 0;
}
