#include "eventlogd/config.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "eventlogd/log/event_log.h"
#include "proto/limits.h"
#include "proto/record.h"

static int parse_user(const char *text, uid_t *out)
{
	uint64_t number;
	if (config_parse_uint(text, &number) == 0) {
		if (number >= UINT32_MAX) /* (uid_t)-1 names nobody */
			return -EINVAL;
		*out = (uid_t)number;
		return 0;
	}
	errno = 0;
	const struct passwd *user = getpwnam(text);
	if (user == NULL)
		return errno == ENOMEM ? -ENOMEM : -EINVAL;
	*out = user->pw_uid;
	return 0;
}

struct rule_texts {
	char *worker, *user;
};

static int read_rule(struct publisher_rule *rule, struct yaml_tree *tree, const yaml_node_t *node,
	struct yaml_error *error)
{
	static const struct config_key keys[] = {
		{.name = "worker",
			.type = CONFIG_STRING,
			.offset = offsetof(struct rule_texts, worker),
			.required = true},
		{.name = "user",
			.type = CONFIG_STRING,
			.offset = offsetof(struct rule_texts, user),
			.required = true},
		{0},
	};
	struct rule_texts texts = {0};
	int r = config_read_mapping(keys, &texts, tree, node, error);
	if (r == 0) {
		r = parse_user(texts.user, &rule->uid);
		if (r == -EINVAL)
			yaml_fail(error, tree, yaml_lookup(tree, node, "user"),
				"there is no user \"%s\"", texts.user);
	}
	if (r == 0) {
		rule->worker_glob = texts.worker;
		texts.worker = NULL;
	}
	config_free_strings(keys, &texts);
	return r;
}

static int read_publishers(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct config *config = target;
	if (node->type != YAML_SEQUENCE_NODE)
		return yaml_fail(error, tree, node, "\"publishers\" must be a list");
	const yaml_node_t *item;
	size_t count = 0;
	while (yaml_item(tree, node, count) != NULL)
		count++;
	if (count > PUBLISHER_RULES_MAX)
		return yaml_fail(error, tree, node, "\"publishers\" has more than %d entries",
			PUBLISHER_RULES_MAX);
	config->rules = calloc(count > 0 ? count : 1, sizeof(*config->rules));
	if (config->rules == NULL)
		return -ENOMEM;
	for (size_t i = 0; (item = yaml_item(tree, node, i)) != NULL; i++) {
		int r = read_rule(&config->rules[i], tree, item, error);
		if (r < 0)
			return r;
		config->rule_count++;
	}
	return 0;
}

static int read_retention(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	static const struct config_key keys[] = {
		{.name = "bytes",
			.type = CONFIG_BYTES,
			.offset = offsetof(struct config, retention.bytes)},
		{.name = "age",
			.type = CONFIG_DURATION_MS,
			.offset = offsetof(struct config, retention.age_ms),
			.max = UINT64_C(100) * 365 * 24 * 3600 * 1000},
		{.name = "keyframe_reserve",
			.type = CONFIG_BYTES,
			.offset = offsetof(struct config, retention.keyframe_reserve)},
		{0},
	};
	return config_read_mapping(keys, target, tree, node, error);
}

static int read_quotas(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	static const struct config_key keys[] = {
		{.name = "workers",
			.type = CONFIG_UINT,
			.offset = offsetof(struct config, quotas.workers),
			.max = UINT32_MAX},
		{.name = "bytes_per_second",
			.type = CONFIG_BYTES,
			.offset = offsetof(struct config, quotas.bytes_per_second),
			.max = UINT64_C(1) << 40},
		{.name = "connections",
			.type = CONFIG_UINT,
			.offset = offsetof(struct config, quotas.connections),
			.max = UINT32_MAX},
		{0},
	};
	return config_read_mapping(keys, target, tree, node, error);
}

static const struct config_key keys[] = {
	{.name = "directory",
		.type = CONFIG_STRING,
		.offset = offsetof(struct config, directory),
		.required = true},
	{.name = "publish_socket",
		.type = CONFIG_STRING,
		.offset = offsetof(struct config, publish_socket)},
	{.name = "tail_socket",
		.type = CONFIG_STRING,
		.offset = offsetof(struct config, tail_socket)},
	{.name = "durability",
		.type = CONFIG_ENUM,
		.offset = offsetof(struct config, durability),
		.words = durability_names},
	{.name = "sync_interval",
		.type = CONFIG_DURATION_MS,
		.offset = offsetof(struct config, sync_interval_ms),
		.min = 1,
		.max = 60000},
	{.name = "sync_bytes",
		.type = CONFIG_BYTES,
		.offset = offsetof(struct config, sync_bytes),
		.min = 4096,
		.max = UINT64_C(1) << 30},
	{.name = "segment_bytes",
		.type = CONFIG_BYTES,
		.offset = offsetof(struct config, segment_bytes),
		.min = SEGMENT_BYTES_MIN,
		.max = SEGMENT_BYTES_MAX},
	{.name = "max_event_bytes",
		.type = CONFIG_BYTES,
		.offset = offsetof(struct config, max_event_bytes),
		.min = EVENT_BYTES_MIN,
		.max = EVENT_BYTES_MAX},
	{.name = "max_workers",
		.type = CONFIG_UINT,
		.offset = offsetof(struct config, max_workers),
		.min = 1,
		.max = 1000000},
	{.name = "max_publishers",
		.type = CONFIG_UINT,
		.offset = offsetof(struct config, max_publishers),
		.min = 1,
		.max = 100000},
	{.name = "max_readers",
		.type = CONFIG_UINT,
		.offset = offsetof(struct config, max_readers),
		.min = 1,
		.max = 100000},
	{.name = "retention", .type = CONFIG_CUSTOM, .read = read_retention},
	{.name = "publishers", .type = CONFIG_CUSTOM, .read = read_publishers},
	{.name = "quotas", .type = CONFIG_CUSTOM, .read = read_quotas},
	{0},
};

/* A record of the largest event has to fit into half a segment. */
static bool event_fits_segment(const struct config *config)
{
	return config->max_event_bytes + RECORD_OVERHEAD_MAX <= config->segment_bytes / 2;
}

static int fail_at_segment_bytes(const char *path, struct yaml_error *error)
{
	static const char text[] = "\"segment_bytes\" must be more than twice \"max_event_bytes\"";
	struct yaml_tree tree;
	int r = yaml_tree_load(&tree, path, error);
	if (r < 0)
		return r;
	const yaml_node_t *root = yaml_tree_root(&tree);
	const yaml_node_t *at = yaml_lookup(&tree, root, "segment_bytes");
	if (at == NULL)
		at = yaml_lookup(&tree, root, "max_event_bytes");
	r = yaml_fail(error, &tree, at != NULL ? at : root, "%s", text);
	yaml_tree_free(&tree);
	return r;
}

int config_read(struct config *config, const char *path, struct yaml_error *error)
{
	*config = (struct config){
		.durability = DURABILITY_INTERVAL,
		.sync_interval_ms = 20,
		.sync_bytes = UINT64_C(1) << 20,
		.segment_bytes = SEGMENT_BYTES_DEFAULT,
		.max_event_bytes = EVENT_BYTES_DEFAULT,
		.max_workers = MAX_WORKERS_DEFAULT,
		.max_publishers = 1024,
		.max_readers = 1024,
		.retention.keyframe_reserve = UINT64_MAX,
	};
	int r = config_load(keys, config, path, error);
	if (r == 0 && !event_fits_segment(config))
		r = fail_at_segment_bytes(path, error);
	if (r < 0)
		config_free(config);
	return r;
}

void config_free(struct config *config)
{
	for (size_t i = 0; i < config->rule_count; i++)
		free(config->rules[i].worker_glob);
	free(config->rules);
	config->rules = NULL;
	config->rule_count = 0;
	config_free_strings(keys, config);
}
