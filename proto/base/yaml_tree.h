/*
 * A YAML file as libyaml's document tree, where every node knows its line and column.
 *
 * Configuration, registry and policy files are read through this, so that each mistake is told as
 * "file:line:column: what". Limits: 1 MiB a file, one document, 32 levels, 65,536 nodes, no
 * aliases (so that a small file can't become a large tree), no tags, nothing that is null.
 *
 * Results: 0; -EINVAL with `error` filled for a mistake in the file; another -errno (with `error`
 * filled too) when the file can't be read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

#include "proto/base/attributes.h"

enum { YAML_ERROR_BYTES = 512, YAML_FILE_MAX_BYTES = 1024 * 1024, YAML_MAX_DEPTH = 32 };

struct yaml_tree {
	char *path; /* as given, for messages */
	yaml_document_t document;
	bool loaded;
};

struct yaml_error {
	char text[YAML_ERROR_BYTES];
};

_must_check_ int yaml_tree_load(struct yaml_tree *tree, const char *path, struct yaml_error *error);
/* The same from memory; `name` stands for the path in messages. */
_must_check_ int yaml_tree_parse(struct yaml_tree *tree, const char *name, const void *bytes,
	size_t len, struct yaml_error *error);
void yaml_tree_free(struct yaml_tree *tree);

/* NULL when the document is empty. */
const yaml_node_t *yaml_tree_root(struct yaml_tree *tree);

/* Fills `error` with "path:line:column: text" and returns -EINVAL. */
_printf_(4, 5) int yaml_fail(struct yaml_error *error, const struct yaml_tree *tree,
	const yaml_node_t *at, const char *format, ...);

/* The value of a key in a mapping, or NULL. Duplicate keys are refused when the file is loaded. */
const yaml_node_t *yaml_lookup(struct yaml_tree *tree, const yaml_node_t *mapping, const char *key);

/* The text of a scalar, NUL-terminated, or NULL for other nodes. Scalars hold no NUL inside. */
const char *yaml_text(const yaml_node_t *node);

/* Whether a scalar is a text for YAML's core schema too: in quotes, or no number and no boolean. */
bool yaml_is_text(const yaml_node_t *node);

/*
 * Walks a sequence or mapping by position. NULL at the end.
 *	for (size_t i = 0; (item = yaml_item(tree, sequence, i)) != NULL; i++)
 */
const yaml_node_t *yaml_item(struct yaml_tree *tree, const yaml_node_t *sequence, size_t index);
const yaml_node_t *yaml_pair(struct yaml_tree *tree, const yaml_node_t *mapping, size_t index,
	const yaml_node_t **value);
