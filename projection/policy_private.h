/* What the readers of a policy's parts share. */
#pragma once

#include "projection/policy.h"
#include "proto/base/yaml_config.h"

static inline struct policy_place policy_place_of(const yaml_node_t *node)
{
	return (struct policy_place){node->start_mark.line + 1, node->start_mark.column + 1};
}

/* A text of at most max_bytes, copied. 0 or -errno. */
_must_check_ int policy_read_text(const char *key, size_t max_bytes, bool may_be_empty, char **out,
	struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error);

/* A path; `key` for messages. 0 or -errno. */
_must_check_ int policy_read_path(const char *key, struct path *path, char **text,
	struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error);

typedef int glob_reader(const char *key, char **out, struct yaml_tree *tree,
	const yaml_node_t *node, struct yaml_error *error);

/* A list of texts that `read` reads one by one. 0 or -errno. */
_must_check_ int policy_read_list(const char *key, glob_reader *read, struct glob_list *list,
	struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error);

/* Of a name of a kind or command, which may be any text. A glob_reader. */
_must_check_ int policy_read_glob(const char *key, char **out, struct yaml_tree *tree,
	const yaml_node_t *node, struct yaml_error *error);

/* `blocks:` (policy_blocks.c). A reader for struct config_key; the target is the policy. */
_must_check_ int policy_read_blocks(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error);

/* `nested_by:`, likewise. */
_must_check_ int policy_read_nested_by(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error);

/*
 * Once all is read: gives every role that asks for secrets the blocks, and a rule for each place
 * where snapshots show blocks that are in flight. 0 or -ENOMEM.
 */
_must_check_ int policy_share_blocks(struct policy *policy);
