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
	NUMBER(max_clients, UINT, max_clients, 1, CLIENTS_MAX),
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
	{0},
};

static const struct config defaults = {
	.max_clients = 4096,
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
