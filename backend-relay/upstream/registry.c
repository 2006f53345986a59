#include "backend-relay/upstream/registry.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/secret_file.h"

/* One entry as it is written. */
struct entry {
	char *runtime_id, *display_name, *url, *token_file;
	bool insecure;
};

static const struct config_key entry_keys[] = {
	{.name = "runtime_id",
		.type = CONFIG_STRING,
		.offset = offsetof(struct entry, runtime_id),
		.required = true},
	{.name = "display_name",
		.type = CONFIG_STRING,
		.offset = offsetof(struct entry, display_name)},
	{.name = "url",
		.type = CONFIG_STRING,
		.offset = offsetof(struct entry, url),
		.required = true},
	{.name = "token_file", .type = CONFIG_STRING, .offset = offsetof(struct entry, token_file)},
	{.name = "insecure", .type = CONFIG_BOOL, .offset = offsetof(struct entry, insecure)},
	{0},
};

static int read_token(struct runtime *runtime, const struct entry *entry, struct yaml_tree *tree,
	const yaml_node_t *node, struct yaml_error *error)
{
	const yaml_node_t *at = yaml_lookup(tree, node, "token_file");
	if (!ws_url_is_private(&runtime->url) && !entry->insecure)
		return yaml_fail(error, tree, at,
			"a token is sent only over wss://, unix: or loopback; "
			"use wss:// or say insecure: true");
	char path[PATH_MAX];
	int r = secret_file_path(entry->token_file, tree->path, path, sizeof(path));
	if (r == 0)
		r = secret_file_read(path, &runtime->token, &runtime->token_len);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		return yaml_fail(error, tree, at, "\"token_file\" can't be read: %s", strerror(-r));
	for (size_t i = 0; i < runtime->token_len; i++) {
		/* It goes into a header: visible ASCII only. */
		if (runtime->token[i] <= ' ' || runtime->token[i] > '~')
			return yaml_fail(error, tree, at,
				"the token in \"token_file\" has characters that no token has");
	}
	return 0;
}

static int fill_runtime(struct runtime *runtime, const struct entry *entry, struct yaml_tree *tree,
	const yaml_node_t *node, struct yaml_error *error)
{
	if (!id_set(&runtime->id, entry->runtime_id, strlen(entry->runtime_id)))
		return yaml_fail(error, tree, yaml_lookup(tree, node, "runtime_id"),
			"\"runtime_id\" must be 1 to %d of A-Z a-z 0-9 _ . : -", ID_BYTES_MAX);
	const char *name = entry->display_name != NULL ? entry->display_name : entry->runtime_id;
	runtime->display_name = strdup(name);
	if (runtime->display_name == NULL)
		return -ENOMEM;
	if (ws_url_parse(entry->url, &runtime->url) < 0)
		return yaml_fail(error, tree, yaml_lookup(tree, node, "url"),
			"\"url\" must be ws://HOST:PORT, wss://HOST:PORT or unix:/PATH");
	return entry->token_file != NULL ? read_token(runtime, entry, tree, node, error) : 0;
}

static int read_runtime(struct registry *registry, struct yaml_tree *tree, const yaml_node_t *node,
	struct yaml_error *error)
{
	struct entry entry = {0};
	int r = config_read_mapping(entry_keys, &entry, tree, node, error);
	struct runtime *runtime = &registry->runtimes[registry->count];
	if (r == 0 && registry_find(registry, entry.runtime_id) != NULL)
		r = yaml_fail(error, tree, yaml_lookup(tree, node, "runtime_id"),
			"runtime_id \"%s\" is there twice", entry.runtime_id);
	if (r == 0) {
		registry->count++;
		r = fill_runtime(runtime, &entry, tree, node, error);
	}
	config_free_strings(entry_keys, &entry);
	return r;
}

static int read_runtimes(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct registry *registry = target;
	if (node->type != YAML_SEQUENCE_NODE)
		return yaml_fail(error, tree, node, "\"runtimes\" must be a list");
	size_t count = 0;
	while (yaml_item(tree, node, count) != NULL)
		count++;
	if (count > REGISTRY_RUNTIMES_MAX)
		return yaml_fail(error, tree, node, "more than %d runtimes", REGISTRY_RUNTIMES_MAX);
	registry->runtimes = calloc(count + 1, sizeof(*registry->runtimes));
	if (registry->runtimes == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		int r = read_runtime(registry, tree, yaml_item(tree, node, i), error);
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct config_key registry_keys[] = {
	{.name = "runtimes", .type = CONFIG_CUSTOM, .required = true, .read = read_runtimes},
	{0},
};

int registry_load(struct registry *registry, const char *path, struct yaml_error *error)
{
	*registry = (struct registry){0};
	int r = config_load(registry_keys, registry, path, error);
	if (r < 0)
		registry_free(registry);
	return r;
}

int registry_parse(struct registry *registry, const char *path, const void *bytes, size_t len,
	struct yaml_error *error)
{
	*registry = (struct registry){0};
	struct yaml_tree tree;
	int r = yaml_tree_parse(&tree, path, bytes, len, error);
	if (r < 0)
		return r;
	const yaml_node_t *root = yaml_tree_root(&tree);
	r = root != NULL ? config_read_mapping(registry_keys, registry, &tree, root, error)
			 : yaml_fail(error, &tree, NULL, "\"runtimes\" is missing");
	yaml_tree_free(&tree);
	if (r < 0)
		registry_free(registry);
	return r;
}

void registry_free(struct registry *registry)
{
	for (size_t i = 0; i < registry->count; i++) {
		struct runtime *runtime = &registry->runtimes[i];
		free(runtime->display_name);
		secret_free(runtime->token, runtime->token_len);
	}
	free(registry->runtimes);
	*registry = (struct registry){0};
}

const struct runtime *registry_find(const struct registry *registry, const char *runtime_id)
{
	for (size_t i = 0; i < registry->count; i++) {
		if (strcmp(registry->runtimes[i].id.text, runtime_id) == 0)
			return &registry->runtimes[i];
	}
	return NULL;
}
