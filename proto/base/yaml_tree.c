#include "proto/base/yaml_tree.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/fd.h"
#include "proto/base/map.h"
#include "proto/base/utf8.h"

enum { MAX_NODES = 65536 };

static int fail_at(struct yaml_error *error, const char *path, yaml_mark_t mark, const char *text)
{
	snprintf(error->text, sizeof(error->text), "%s:%zu:%zu: %s", path, mark.line + 1,
		mark.column + 1, text);
	return -EINVAL;
}

int yaml_fail(struct yaml_error *error, const struct yaml_tree *tree, const yaml_node_t *at,
	const char *format, ...)
{
	char text[YAML_ERROR_BYTES / 2]; /* the other half is for the path */
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	yaml_mark_t start = at != NULL ? at->start_mark : (yaml_mark_t){0};
	return fail_at(error, tree->path, start, text);
}

/* Where libyaml says that it stopped; of bytes that are no text it knows only their offset. */
static yaml_mark_t place_of_problem(const yaml_parser_t *parser, const uint8_t *bytes, size_t len)
{
	if (parser->error != YAML_READER_ERROR)
		return parser->problem_mark;
	yaml_mark_t mark = {0};
	for (size_t i = 0; i < len && i < parser->problem_offset; i++) {
		bool ends_line = bytes[i] == '\n';
		mark.line += ends_line ? 1 : 0;
		mark.column = ends_line ? 0 : mark.column + !utf8_is_continuation(bytes[i]);
	}
	return mark;
}

static bool has_tag(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return event->data.scalar.tag != NULL;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.tag != NULL;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.tag != NULL;
	default:
		return false;
	}
}

/* What YAML's core schema takes for null: nothing of ours is ever null. */
static bool is_null(const yaml_event_t *event)
{
	static const char *const words[] = {"", "~", "null", "Null", "NULL"};
	if (event->type != YAML_SCALAR_EVENT || event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp((const char *)event->data.scalar.value, words[i]) == 0)
			return true;
	}
	return false;
}

/*
 * Refuses aliases before the tree is built: libyaml resolves them to shared nodes, and a file of a
 * few lines could then describe a tree of billions.
 */
static int check_events(
	const char *name, const uint8_t *bytes, size_t len, struct yaml_error *error)
{
	yaml_parser_t parser;
	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&parser, bytes, len);
	int r = 0;
	size_t nodes = 0, depth = 0, documents = 0;
	for (bool done = false; r == 0 && !done;) {
		yaml_event_t event;
		if (!yaml_parser_parse(&parser, &event)) {
			r = parser.error == YAML_MEMORY_ERROR
				    ? -ENOMEM
				    : fail_at(error, name, place_of_problem(&parser, bytes, len),
					      parser.problem != NULL ? parser.problem : "not YAML");
			break;
		}
		switch (event.type) {
		case YAML_ALIAS_EVENT:
			r = fail_at(error, name, event.start_mark, "aliases are not supported");
			break;
		case YAML_DOCUMENT_START_EVENT:
			if (++documents > 1)
				r = fail_at(error, name, event.start_mark,
					"more than one document in the file");
			break;
		case YAML_SEQUENCE_START_EVENT:
		case YAML_MAPPING_START_EVENT:
			if (++depth > YAML_MAX_DEPTH)
				r = fail_at(error, name, event.start_mark, "nested too deeply");
			nodes++;
			break;
		case YAML_SEQUENCE_END_EVENT:
		case YAML_MAPPING_END_EVENT:
			depth--;
			break;
		case YAML_SCALAR_EVENT:
			if (memchr(event.data.scalar.value, '\0', event.data.scalar.length) != NULL)
				r = fail_at(error, name, event.start_mark, "NUL in a value");
			nodes++;
			break;
		case YAML_STREAM_END_EVENT:
			done = true;
			break;
		default:
			break;
		}
		if (r == 0 && has_tag(&event))
			r = fail_at(error, name, event.start_mark, "tags are not supported");
		if (r == 0 && is_null(&event))
			r = fail_at(error, name, event.start_mark,
				"a value is missing here; a text goes in quotes");
		if (r == 0 && nodes > MAX_NODES)
			r = fail_at(error, name, event.start_mark, "too many values in the file");
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	return r;
}

struct seen_key {
	const char *text;
	UT_hash_handle hh;
};

static int check_mapping_keys(
	struct yaml_tree *tree, const yaml_node_t *mapping, struct yaml_error *error)
{
	size_t count = (size_t)(mapping->data.mapping.pairs.top -
				mapping->data.mapping.pairs.start);
	if (count == 0)
		return 0;
	struct seen_key *keys = calloc(count, sizeof(*keys));
	if (keys == NULL)
		return -ENOMEM;
	struct seen_key *seen = NULL;
	int r = 0;
	for (size_t i = 0; i < count && r == 0; i++) {
		const yaml_node_t *value;
		const yaml_node_t *key = yaml_pair(tree, mapping, i, &value);
		keys[i].text = yaml_text(key);
		if (keys[i].text == NULL) {
			r = yaml_fail(error, tree, key, "a key must be a word");
			break;
		}
		struct seen_key *found;
		size_t len = strlen(keys[i].text);
		HASH_FIND(hh, seen, keys[i].text, len, found);
		if (found != NULL)
			r = yaml_fail(error, tree, key, "duplicate key \"%s\"", keys[i].text);
		else
			HASH_ADD_KEYPTR(hh, seen, keys[i].text, len, &keys[i]);
	}
	HASH_CLEAR(hh, seen);
	free(keys);
	return r;
}

static int check_all_keys(struct yaml_tree *tree, struct yaml_error *error)
{
	for (const yaml_node_t *node = tree->document.nodes.start; node < tree->document.nodes.top;
		node++) {
		if (node->type != YAML_MAPPING_NODE)
			continue;
		int r = check_mapping_keys(tree, node, error);
		if (r < 0)
			return r;
	}
	return 0;
}

int yaml_tree_parse(struct yaml_tree *tree, const char *name, const void *bytes, size_t len,
	struct yaml_error *error)
{
	*tree = (struct yaml_tree){0};
	snprintf(error->text, sizeof(error->text), "%s: out of memory", name);
	int r = check_events(name, bytes, len, error);
	if (r < 0)
		return r;
	tree->path = strdup(name);
	yaml_parser_t parser;
	if (tree->path == NULL || !yaml_parser_initialize(&parser)) {
		yaml_tree_free(tree);
		return -ENOMEM;
	}
	yaml_parser_set_input_string(&parser, bytes, len);
	tree->loaded = yaml_parser_load(&parser, &tree->document);
	r = tree->loaded ? check_all_keys(tree, error) : -ENOMEM;
	yaml_parser_delete(&parser);
	if (r < 0)
		yaml_tree_free(tree);
	return r;
}

int yaml_tree_load(struct yaml_tree *tree, const char *path, struct yaml_error *error)
{
	*tree = (struct yaml_tree){0};
	_cleanup_buf_ struct buf content = {0};
	int r = fd_read_file(path, YAML_FILE_MAX_BYTES, &content);
	if (r < 0) {
		snprintf(error->text, sizeof(error->text), "%s: %s", path, strerror(-r));
		return r;
	}
	return yaml_tree_parse(tree, path, content.data, content.len, error);
}

void yaml_tree_free(struct yaml_tree *tree)
{
	if (tree->loaded)
		yaml_document_delete(&tree->document);
	free(tree->path);
	*tree = (struct yaml_tree){0};
}

const yaml_node_t *yaml_tree_root(struct yaml_tree *tree)
{
	return yaml_document_get_root_node(&tree->document);
}

const yaml_node_t *yaml_lookup(struct yaml_tree *tree, const yaml_node_t *mapping, const char *key)
{
	const yaml_node_t *name, *value;
	for (size_t i = 0; (name = yaml_pair(tree, mapping, i, &value)) != NULL; i++) {
		const char *text = yaml_text(name);
		if (text != NULL && strcmp(text, key) == 0)
			return value;
	}
	return NULL;
}

bool yaml_is_text(const yaml_node_t *node)
{
	static const char *const booleans[] = {"true", "True", "TRUE", "false", "False", "FALSE"};
	const char *text = yaml_text(node);
	if (text == NULL || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return text != NULL;
	for (size_t i = 0; i < ARRAY_SIZE(booleans); i++) {
		if (strcmp(text, booleans[i]) == 0)
			return false;
	}
	const char *digits = text + strspn(text, "+-.");
	char *end;
	strtod(text, &end);
	return digits - text > 2 || *digits < '0' || *digits > '9' || *end != '\0';
}

const char *yaml_text(const yaml_node_t *node)
{
	if (node == NULL || node->type != YAML_SCALAR_NODE)
		return NULL;
	return (const char *)node->data.scalar.value;
}

const yaml_node_t *yaml_item(struct yaml_tree *tree, const yaml_node_t *sequence, size_t index)
{
	if (sequence == NULL || sequence->type != YAML_SEQUENCE_NODE)
		return NULL;
	yaml_node_item_t *items = sequence->data.sequence.items.start;
	if (index >= (size_t)(sequence->data.sequence.items.top - items))
		return NULL;
	return yaml_document_get_node(&tree->document, items[index]);
}

const yaml_node_t *yaml_pair(
	struct yaml_tree *tree, const yaml_node_t *mapping, size_t index, const yaml_node_t **value)
{
	if (mapping == NULL || mapping->type != YAML_MAPPING_NODE)
		return NULL;
	yaml_node_pair_t *pairs = mapping->data.mapping.pairs.start;
	if (index >= (size_t)(mapping->data.mapping.pairs.top - pairs))
		return NULL;
	*value = yaml_document_get_node(&tree->document, pairs[index].value);
	return yaml_document_get_node(&tree->document, pairs[index].key);
}
