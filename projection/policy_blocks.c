/* Reading `blocks:`: which kinds of events stream one text in pieces. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "projection/policy_private.h"

static int block_read_delta(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	return policy_read_glob("delta", &((struct block_rule *)target)->delta, tree, node, error);
}

static int block_read_done(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	return policy_read_glob("done", &((struct block_rule *)target)->done, tree, node, error);
}

static int block_read_all_done(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	return policy_read_list("all_done", policy_read_glob,
		&((struct block_rule *)target)->all_done, tree, node, error);
}

static int block_read_snapshot(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	return policy_read_glob(
		"snapshot", &((struct block_rule *)target)->snapshot, tree, node, error);
}

/* A path of names alone: it means one place. */
static int read_place(const char *key, struct path *path, struct yaml_tree *tree,
	const yaml_node_t *node, struct yaml_error *error)
{
	char *text = NULL;
	int r = policy_read_path(key, path, &text, tree, node, error);
	free(text);
	for (size_t i = 0; r == 0 && i < path->count; i++) {
		if (path->step[i].kind != PATH_NAME || path->step[i].member != NULL)
			return yaml_fail(error, tree, node, "%s must be a path of names", key);
	}
	return r;
}

static int block_read_text(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	return read_place("text", &((struct block_rule *)target)->text, tree, node, error);
}

static int block_read_key(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	return read_place("key", &((struct block_rule *)target)->key, tree, node, error);
}

static int block_read_rest(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	return read_place("rest", &((struct block_rule *)target)->rest, tree, node, error);
}

static int block_read_in_flight(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct block_rule *block = target;
	struct path path = {0};
	int r = policy_read_path("in_flight", &path, &block->in_flight, tree, node, error);
	path_free(&path);
	return r;
}

static const struct config_key block_keys[] = {
	{.name = "delta", .type = CONFIG_CUSTOM, .required = true, .read = block_read_delta},
	{.name = "text", .type = CONFIG_CUSTOM, .required = true, .read = block_read_text},
	{.name = "key", .type = CONFIG_CUSTOM, .read = block_read_key},
	{.name = "done", .type = CONFIG_CUSTOM, .read = block_read_done},
	{.name = "all_done", .type = CONFIG_CUSTOM, .read = block_read_all_done},
	{.name = "rest", .type = CONFIG_CUSTOM, .read = block_read_rest},
	{.name = "snapshot", .type = CONFIG_CUSTOM, .read = block_read_snapshot},
	{.name = "in_flight", .type = CONFIG_CUSTOM, .read = block_read_in_flight},
	{.name = NULL},
};

static int read_block(struct block_rule *block, struct yaml_tree *tree, const yaml_node_t *node,
	struct yaml_error *error)
{
	block->line = node->start_mark.line + 1;
	block->column = node->start_mark.column + 1;
	int r = config_read_mapping(block_keys, block, tree, node, error);
	if (r == 0 && (block->snapshot == NULL) != (block->in_flight == NULL))
		return yaml_fail(error, tree, node, "snapshot and in_flight go together");
	if (r == 0 && block->rest.count > 0 && block->done == NULL)
		return yaml_fail(error, tree, node, "rest goes with done");
	return r;
}

static int read_member_name(const char *key, char **out, struct yaml_tree *tree,
	const yaml_node_t *node, struct yaml_error *error)
{
	(void)key;
	return policy_read_text(
		"a member's name", PATH_NAME_BYTES_MAX, false, out, tree, node, error);
}

int policy_read_nested_by(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct glob_list *names = &((struct policy *)target)->nested_by;
	int r = policy_read_list("nested_by", read_member_name, names, tree, node, error);
	if (r == 0 && (names->count == 0 || names->count > POLICY_NESTED_BY_MAX))
		return yaml_fail(error, tree, node, "nested_by must name 1 to %d members",
			POLICY_NESTED_BY_MAX);
	return r;
}

int policy_read_blocks(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct policy *policy = target;
	if (node->type != YAML_SEQUENCE_NODE)
		return yaml_fail(error, tree, node, "blocks must be a list");
	policy->block = calloc(POLICY_BLOCKS_MAX, sizeof(*policy->block));
	if (policy->block == NULL)
		return -ENOMEM;
	const yaml_node_t *item;
	int r = 0;
	while (r == 0 && (item = yaml_item(tree, node, policy->block_count)) != NULL) {
		if (policy->block_count == POLICY_BLOCKS_MAX)
			return yaml_fail(
				error, tree, item, "more than %d blocks", POLICY_BLOCKS_MAX);
		r = read_block(&policy->block[policy->block_count++], tree, item, error);
	}
	return r;
}

static int add_in_flight_rule(
	struct redact_rule *rule, const struct block_rule *block, size_t number)
{
	const char *why;
	size_t at;
	*rule = (struct redact_rule){.action = REDACT_IN_FLIGHT, .block = number};
	rule->in.glob = calloc(1, sizeof(*rule->in.glob));
	if (rule->in.glob == NULL || (rule->in.glob[0] = strdup(block->snapshot)) == NULL)
		return -ENOMEM;
	rule->in.count = 1;
	if (asprintf(&rule->place, "%zu:%zu in_flight %s", block->line, block->column,
		    block->in_flight) < 0) {
		rule->place = NULL;
		return -ENOMEM;
	}
	return path_parse(&rule->path, block->in_flight, &why, &at);
}

static bool asks_for_secrets(const struct policy_role *role)
{
	for (size_t i = 0; i < role->redact_count; i++) {
		if (role->redact[i].secrets != 0)
			return true;
	}
	return false;
}

int policy_share_blocks(struct policy *policy)
{
	for (size_t i = 0; i < policy->role_count; i++) {
		struct policy_role *role = &policy->role[i];
		if (!asks_for_secrets(role) || policy->block_count == 0)
			continue;
		struct redact_rule *redact = realloc(
			role->redact, (role->redact_count + policy->block_count) * sizeof(*redact));
		if (redact == NULL)
			return -ENOMEM;
		role->redact = redact;
		role->block = policy->block;
		role->block_count = policy->block_count;
		role->nested_by = &policy->nested_by;
		for (size_t j = 0; j < policy->block_count; j++) {
			if (policy->block[j].in_flight == NULL)
				continue;
			int r = add_in_flight_rule(
				&redact[role->redact_count++], &policy->block[j], j);
			if (r < 0)
				return r;
		}
	}
	return 0;
}
