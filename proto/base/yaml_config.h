/*
 * Configuration files as a table: key, type, unit, range, and where the value goes.
 *
 * A mapping is read against an array of struct config_key that ends with a NULL name. A key that
 * the table does not have, a value of the wrong type or out of range, and a missing required key
 * are each an error with file, line and column. What the file does not say keeps the value that
 * the caller's struct had: defaults stand in the caller's initialiser.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/yaml_tree.h"

enum config_type {
	CONFIG_STRING,      /* char *, strdup'ed; not empty */
	CONFIG_UINT,        /* uint64_t, decimal */
	CONFIG_BYTES,       /* uint64_t; a number, optionally with KiB, MiB, GiB */
	CONFIG_DURATION_MS, /* uint64_t milliseconds; a number with ms, s, min, h or d */
	CONFIG_BOOL,        /* bool; true or false */
	CONFIG_ENUM,        /* int; index into `words` */
	CONFIG_CUSTOM,      /* whatever `read` makes of the node: lists, nested mappings */
};

struct config_key {
	const char *name;
	enum config_type type;
	size_t offset; /* of the member in the caller's struct */
	bool required;
	uint64_t min, max;        /* for numbers; max 0 means no upper limit */
	const char *const *words; /* for CONFIG_ENUM, NULL-terminated */
	int (*read)(void *target, struct yaml_tree *tree, const yaml_node_t *node,
		struct yaml_error *error); /* for CONFIG_CUSTOM; `target` is the caller's struct */
};

/* Reads a mapping node into `target`. 0, -EINVAL with `error`, or -ENOMEM. */
_must_check_ int config_read_mapping(const struct config_key *keys, void *target,
	struct yaml_tree *tree, const yaml_node_t *mapping, struct yaml_error *error);

/* Loads a file whose root is such a mapping. An empty file is an empty mapping. */
_must_check_ int config_load(
	const struct config_key *keys, void *target, const char *path, struct yaml_error *error);

/* Frees the CONFIG_STRING members and sets them to NULL. */
void config_free_strings(const struct config_key *keys, void *target);

/* The parsers, for command lines. 0 or -EINVAL. */
_must_check_ int config_parse_uint(const char *text, uint64_t *out);
_must_check_ int config_parse_bytes(const char *text, uint64_t *out);
_must_check_ int config_parse_duration_ms(const char *text, uint64_t *out);
