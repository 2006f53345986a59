#include "proto/base/yaml_config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit {
	const char *suffix;
	uint64_t factor;
};

static int parse_with_units(const char *text, const struct unit *units, uint64_t *out)
{
	if (text[0] < '0' || text[0] > '9')
		return -EINVAL; /* strtoull would take a sign or white space */
	char *end;
	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	if (errno != 0)
		return -EINVAL;
	while (*end == ' ')
		end++;
	for (; units->suffix != NULL; units++) {
		uint64_t value;
		if (strcmp(end, units->suffix) != 0)
			continue;
		if (__builtin_mul_overflow((uint64_t)number, units->factor, &value))
			return -EINVAL;
		*out = value;
		return 0;
	}
	return -EINVAL;
}

int config_parse_uint(const char *text, uint64_t *out)
{
	static const struct unit units[] = {{"", 1}, {NULL, 0}};
	return parse_with_units(text, units, out);
}

int config_parse_bytes(const char *text, uint64_t *out)
{
	static const struct unit units[] = {
		{"", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {NULL, 0}};
	return parse_with_units(text, units, out);
}

int config_parse_duration_ms(const char *text, uint64_t *out)
{
	static const struct unit units[] = {{"ms", 1}, {"s", 1000}, {"min", 60 * 1000},
		{"h", 60 * 60 * 1000}, {"d", 24 * 60 * 60 * 1000}, {NULL, 0}};
	return parse_with_units(text, units, out);
}

static void *member(const struct config_key *key, void *target)
{
	return (char *)target + key->offset;
}

static int read_number(const struct config_key *key, void *target, struct yaml_tree *tree,
	const yaml_node_t *node, struct yaml_error *error)
{
	static const struct {
		int (*parse)(const char *text, uint64_t *out);
		const char *expected;
	} kinds[] = {
		[CONFIG_UINT] = {config_parse_uint, "a number"},
		[CONFIG_BYTES] = {config_parse_bytes, "a size such as 64MiB"},
		[CONFIG_DURATION_MS] = {config_parse_duration_ms, "a time such as 20ms or 7d"},
	};
	const char *text = yaml_text(node);
	uint64_t value;
	if (text == NULL || kinds[key->type].parse(text, &value) < 0)
		return yaml_fail(error, tree, node, "\"%s\" must be %s", key->name,
			kinds[key->type].expected);
	if (value < key->min || (key->max != 0 && value > key->max))
		return yaml_fail(error, tree, node,
			"\"%s\" must be between %" PRIu64 " and %" PRIu64 "%s", key->name, key->min,
			key->max != 0 ? key->max : UINT64_MAX,
			key->type == CONFIG_BYTES         ? " bytes"
			: key->type == CONFIG_DURATION_MS ? " ms"
							  : "");
	memcpy(member(key, target), &value, sizeof(value));
	return 0;
}

static int read_string(const struct config_key *key, void *target, struct yaml_tree *tree,
	const yaml_node_t *node, struct yaml_error *error)
{
	const char *text = yaml_text(node);
	if (text == NULL || text[0] == '\0')
		return yaml_fail(error, tree, node, "\"%s\" must be a text", key->name);
	char *copy = strdup(text);
	if (copy == NULL)
		return -ENOMEM;
	char **place = member(key, target);
	free(*place);
	*place = copy;
	return 0;
}

static int read_word(const struct config_key *key, void *target, struct yaml_tree *tree,
	const yaml_node_t *node, struct yaml_error *error)
{
	static const char *const booleans[] = {"false", "true", NULL};
	const char *const *words = key->type == CONFIG_BOOL ? booleans : key->words;
	const char *text = yaml_text(node);
	for (int i = 0; text != NULL && words[i] != NULL; i++) {
		if (strcmp(text, words[i]) != 0)
			continue;
		if (key->type == CONFIG_BOOL)
			*(bool *)member(key, target) = i == 1;
		else
			*(int *)member(key, target) = i;
		return 0;
	}
	char expected[128] = "";
	for (int i = 0; words[i] != NULL; i++) {
		size_t len = strlen(expected);
		snprintf(expected + len, sizeof(expected) - len, "%s%s", i > 0 ? ", " : "",
			words[i]);
	}
	return yaml_fail(error, tree, node, "\"%s\" must be one of: %s", key->name, expected);
}

static int read_value(const struct config_key *key, void *target, struct yaml_tree *tree,
	const yaml_node_t *node, struct yaml_error *error)
{
	switch (key->type) {
	case CONFIG_STRING:
		return read_string(key, target, tree, node, error);
	case CONFIG_UINT:
	case CONFIG_BYTES:
	case CONFIG_DURATION_MS:
		return read_number(key, target, tree, node, error);
	case CONFIG_BOOL:
	case CONFIG_ENUM:
		return read_word(key, target, tree, node, error);
	case CONFIG_CUSTOM:
		return key->read(target, tree, node, error);
	}
	return -EINVAL;
}

int config_read_mapping(const struct config_key *keys, void *target, struct yaml_tree *tree,
	const yaml_node_t *mapping, struct yaml_error *error)
{
	if (mapping->type != YAML_MAPPING_NODE)
		return yaml_fail(error, tree, mapping, "expected keys and values here");
	const yaml_node_t *name, *value;
	for (size_t i = 0; (name = yaml_pair(tree, mapping, i, &value)) != NULL; i++) {
		const struct config_key *key = keys;
		while (key->name != NULL && strcmp(key->name, yaml_text(name)) != 0)
			key++;
		if (key->name == NULL)
			return yaml_fail(error, tree, name, "unknown key \"%s\"", yaml_text(name));
		int r = read_value(key, target, tree, value, error);
		if (r < 0)
			return r;
	}
	for (const struct config_key *key = keys; key->name != NULL; key++) {
		if (key->required && yaml_lookup(tree, mapping, key->name) == NULL)
			return yaml_fail(error, tree, mapping, "\"%s\" is missing", key->name);
	}
	return 0;
}

int config_load(
	const struct config_key *keys, void *target, const char *path, struct yaml_error *error)
{
	struct yaml_tree tree;
	int r = yaml_tree_load(&tree, path, error);
	if (r < 0)
		return r;
	const yaml_node_t *root = yaml_tree_root(&tree);
	if (root != NULL) {
		r = config_read_mapping(keys, target, &tree, root, error);
	} else {
		for (const struct config_key *key = keys; r == 0 && key->name != NULL; key++) {
			if (key->required)
				r = yaml_fail(error, &tree, NULL, "\"%s\" is missing", key->name);
		}
	}
	if (r == -ENOMEM)
		snprintf(error->text, sizeof(error->text), "%s: out of memory", path);
	yaml_tree_free(&tree);
	return r;
}

void config_free_strings(const struct config_key *keys, void *target)
{
	for (const struct config_key *key = keys; key->name != NULL; key++) {
		if (key->type != CONFIG_STRING)
			continue;
		char **place = member(key, target);
		free(*place);
		*place = NULL;
	}
}
