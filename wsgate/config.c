#include "wsgate/config.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "proto/ids.h"

#define TEXT(key, need) \
	{ \
		.name = #key, .type = CONFIG_STRING, .offset = offsetof(struct config, key), \
		.required = need \
	}

static const struct config_key tls_keys[] = {
	{.name = "certificate",
		.type = CONFIG_STRING,
		.offset = offsetof(struct config, tls.certificate),
		.required = true},
	{.name = "key",
		.type = CONFIG_STRING,
		.offset = offsetof(struct config, tls.key),
		.required = true},
	{0},
};

#define LIMIT(key, kind, member, low, high) \
	{ \
		.name = #key, .type = CONFIG_##kind, \
		.offset = offsetof(struct config, limits.member), .min = low, .max = high \
	}

static const struct config_key limit_keys[] = {
	LIMIT(connections, UINT, connections, 1, 60000),
	LIMIT(queue_bytes, BYTES, queue_bytes, 64 * 1024, 1024u * 1024 * 1024),
	LIMIT(give_up, DURATION_MS, give_up_ms, 0, 24u * 3600 * 1000),
	LIMIT(bookmark_interval, DURATION_MS, bookmark_ms, 100, 30 * 1000),
	LIMIT(drain_time, DURATION_MS, drain_ms, 0, 60 * 1000),
	{0},
};

static int read_runtime_id(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct config *config = target;
	const char *text = yaml_text(node);
	if (text == NULL || !id_is_valid(text, strlen(text)))
		return yaml_fail(error, tree, node,
			"\"runtime_id\" must be 1 to 128 characters of A-Z a-z 0-9 _ . : -");
	config->runtime_id = strdup(text);
	return config->runtime_id != NULL ? 0 : -ENOMEM;
}

static int read_tls(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	return config_read_mapping(tls_keys, target, tree, node, error);
}

static int read_limits(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	return config_read_mapping(limit_keys, target, tree, node, error);
}

static const struct config_key keys[] = {
	{.name = "runtime_id", .type = CONFIG_CUSTOM, .required = true, .read = read_runtime_id},
	TEXT(tail_socket, true),
	TEXT(listen, false),
	TEXT(status_listen, false),
	TEXT(token_file, false),
	{.name = "require_token",
		.type = CONFIG_BOOL,
		.offset = offsetof(struct config, require_token)},
	{.name = "tls", .type = CONFIG_CUSTOM, .read = read_tls},
	{.name = "limits", .type = CONFIG_CUSTOM, .read = read_limits},
	{0},
};

static const struct config defaults = {
	.require_token = true,
	.limits =
		{
			.connections = 1024,
			.queue_bytes = 1024 * 1024,
			.give_up_ms = 120 * 1000,
			.bookmark_ms = 25 * 1000,
			.drain_ms = 3 * 1000,
		},
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
	config_free_strings(tls_keys, config);
	free(config->runtime_id);
	config->runtime_id = NULL;
}
