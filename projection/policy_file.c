/* Reading a policy: the tables of keys, and a reader for each type that they need. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "projection/policy_private.h"
#include "proto/ids.h"

static const char *const action_words[] = {
	[REDACT_REMOVE] = "remove",
	[REDACT_MASK] = "mask",
	[REDACT_HASH] = "hash",
	[REDACT_REWRITE_PREFIX] = "rewrite_prefix",
	[REDACT_TRUNCATE] = "truncate",
	NULL,
};

const char *redact_action_name(enum redact_action action)
{
	if (action == REDACT_SECRETS)
		return "secrets";
	return action == REDACT_IN_FLIGHT ? "in_flight" : action_words[action];
}

/* ---- texts and lists ---- */

int policy_read_text(const char *key, size_t max_bytes, bool may_be_empty, char **out,
	struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	const char *text = yaml_text(node);
	if (text == NULL || (text[0] == '\0' && !may_be_empty))
		return yaml_fail(error, tree, node, "%s must be a text", key);
	if (!yaml_is_text(node))
		return yaml_fail(error, tree, node,
			"%s must be a text; what looks like something else goes in quotes", key);
	if (strlen(text) > max_bytes)
		return yaml_fail(error, tree, node, "%s is longer than %zu bytes", key, max_bytes);
	*out = strdup(text);
	return *out != NULL ? 0 : -ENOMEM;
}

/* A glob over ids: one with another character matches none, which is never what was meant. */
static int read_id_glob(const char *key, char **out, struct yaml_tree *tree,
	const yaml_node_t *node, struct yaml_error *error)
{
	const char *text = yaml_text(node);
	for (const char *p = text; p != NULL && *p != '\0'; p++) {
		if (*p != '*' && *p != '?' && !id_is_valid(p, 1))
			return yaml_fail(error, tree, node,
				"%s \"%s\" matches no id, for its character %zu", key, text,
				(size_t)(p - text) + 1);
	}
	return policy_read_text(key, POLICY_GLOB_BYTES_MAX, false, out, tree, node, error);
}

int policy_read_glob(const char *key, char **out, struct yaml_tree *tree, const yaml_node_t *node,
	struct yaml_error *error)
{
	return policy_read_text(key, POLICY_GLOB_BYTES_MAX, false, out, tree, node, error);
}

int policy_read_list(const char *key, glob_reader *read, struct glob_list *list,
	struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	if (node->type != YAML_SEQUENCE_NODE)
		return yaml_fail(error, tree, node, "%s must be a list", key);
	size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
	if (count > POLICY_GLOBS_MAX)
		return yaml_fail(error, tree, node, "%s has too many globs", key);
	list->at = policy_place_of(node);
	list->glob = calloc(count != 0 ? count : 1, sizeof(*list->glob));
	list->place = calloc(count != 0 ? count : 1, sizeof(*list->place));
	if (list->glob == NULL || list->place == NULL)
		return -ENOMEM;
	for (; list->count < count; list->count++) {
		const yaml_node_t *item = yaml_item(tree, node, list->count);
		list->place[list->count] = policy_place_of(item);
		int r = read("a glob", &list->glob[list->count], tree, item, error);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Room for the items of a sequence, zeroed. */
static int allocate_items(const char *key, size_t max_count, size_t item_bytes, void **items,
	struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	if (node->type != YAML_SEQUENCE_NODE)
		return yaml_fail(error, tree, node, "%s must be a list", key);
	size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
	if (count > max_count)
		return yaml_fail(error, tree, node, "%s has more than %zu items", key, max_count);
	*items = calloc(count != 0 ? count : 1, item_bytes);
	return *items != NULL ? 0 : -ENOMEM;
}

/* ---- observe ---- */

static int observe_read_runtime(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct observe_rule *rule = target;
	return read_id_glob("runtime", &rule->runtime, tree, node, error);
}

static int observe_read_worker(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct observe_rule *rule = target;
	return read_id_glob("worker", &rule->worker, tree, node, error);
}

static int observe_read_except(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct observe_rule *rule = target;
	return policy_read_list("except", read_id_glob, &rule->except, tree, node, error);
}

static const struct config_key observe_keys[] = {
	{.name = "runtime", .type = CONFIG_CUSTOM, .required = true, .read = observe_read_runtime},
	{.name = "worker", .type = CONFIG_CUSTOM, .required = true, .read = observe_read_worker},
	{.name = "except", .type = CONFIG_CUSTOM, .read = observe_read_except},
	{.name = NULL},
};

static int role_read_observe(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct policy_role *role = target;
	role->observe_at = policy_place_of(node);
	int r = allocate_items("observe", POLICY_GLOBS_MAX, sizeof(*role->observe),
		(void **)&role->observe, tree, node, error);
	const yaml_node_t *item;
	while (r == 0 && (item = yaml_item(tree, node, role->observe_count)) != NULL)
		r = config_read_mapping(
			observe_keys, &role->observe[role->observe_count++], tree, item, error);
	return r;
}

/* ---- events and commands: allow and deny ---- */

struct allow_deny {
	struct glob_list *allow, *deny;
};

static int read_allow(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	return policy_read_list(
		"allow", policy_read_glob, ((struct allow_deny *)target)->allow, tree, node, error);
}

static int read_deny(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	return policy_read_list(
		"deny", policy_read_glob, ((struct allow_deny *)target)->deny, tree, node, error);
}

static const struct config_key allow_deny_keys[] = {
	{.name = "allow", .type = CONFIG_CUSTOM, .required = true, .read = read_allow},
	{.name = "deny", .type = CONFIG_CUSTOM, .read = read_deny},
	{.name = NULL},
};

static int role_read_events(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct policy_role *role = target;
	struct allow_deny lists = {&role->events_allow, &role->events_deny};
	return config_read_mapping(allow_deny_keys, &lists, tree, node, error);
}

static int role_read_commands(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct policy_role *role = target;
	struct allow_deny lists = {&role->commands_allow, &role->commands_deny};
	return config_read_mapping(allow_deny_keys, &lists, tree, node, error);
}

/* ---- redact ---- */

/* A rule while its keys come by; what may stand beside what is checked at its end. */
struct redact_reading {
	struct redact_rule *rule;
	int action;
	bool anywhere;
	uint64_t keep;
	char *path;
};

static int redact_read_in(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct redact_rule *rule = ((struct redact_reading *)target)->rule;
	int r = policy_read_list("in", policy_read_glob, &rule->in, tree, node, error);
	if (r == 0 && rule->in.count == 0)
		return yaml_fail(error, tree, node, "in must name at least one kind");
	return r;
}

int policy_read_path(const char *key, struct path *path, char **text, struct yaml_tree *tree,
	const yaml_node_t *node, struct yaml_error *error)
{
	int r = policy_read_text(key, POLICY_TEXT_BYTES_MAX, false, text, tree, node, error);
	if (r < 0)
		return r;
	const char *why;
	size_t at;
	r = path_parse(path, *text, &why, &at);
	if (r == -EINVAL)
		return yaml_fail(error, tree, node, "%s \"%s\": %s, at character %zu", key, *text,
			why, at + 1);
	return r;
}

static int redact_read_path(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct redact_reading *reading = target;
	return policy_read_path("path", &reading->rule->path, &reading->path, tree, node, error);
}

static int redact_read_with(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct redact_rule *rule = ((struct redact_reading *)target)->rule;
	return policy_read_text(
		"with", POLICY_TEXT_BYTES_MAX, true, &rule->with, tree, node, error);
}

static int redact_read_from(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct redact_rule *rule = ((struct redact_reading *)target)->rule;
	return policy_read_text(
		"from", POLICY_TEXT_BYTES_MAX, false, &rule->from, tree, node, error);
}

static int redact_read_to(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct redact_rule *rule = ((struct redact_reading *)target)->rule;
	return policy_read_text("to", POLICY_TEXT_BYTES_MAX, true, &rule->to, tree, node, error);
}

static int read_secret_set(secret_sets *sets, struct yaml_tree *tree, const yaml_node_t *node,
	struct yaml_error *error)
{
	const char *text = yaml_text(node);
	for (size_t i = 0; text != NULL && i < SECRETS_SETS; i++) {
		if (strcmp(text, secret_set_names[i]) == 0) {
			*sets |= (secret_sets)1 << i;
			return 0;
		}
	}
	return yaml_fail(
		error, tree, node, "\"%s\" is no set of secrets", text != NULL ? text : "");
}

static int redact_read_secrets(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct redact_rule *rule = ((struct redact_reading *)target)->rule;
	if (node->type != YAML_SEQUENCE_NODE || yaml_item(tree, node, 0) == NULL)
		return yaml_fail(error, tree, node, "secrets must be a list of sets");
	const yaml_node_t *item;
	int r = 0;
	for (size_t i = 0; r == 0 && (item = yaml_item(tree, node, i)) != NULL; i++)
		r = read_secret_set(&rule->secrets, tree, item, error);
	return r;
}

static const struct config_key redact_keys[] = {
	{.name = "in", .type = CONFIG_CUSTOM, .required = true, .read = redact_read_in},
	{.name = "path", .type = CONFIG_CUSTOM, .read = redact_read_path},
	{.name = "secrets", .type = CONFIG_CUSTOM, .read = redact_read_secrets},
	{.name = "action",
		.type = CONFIG_ENUM,
		.offset = offsetof(struct redact_reading, action),
		.required = true,
		.words = action_words},
	{.name = "with", .type = CONFIG_CUSTOM, .read = redact_read_with},
	{.name = "from", .type = CONFIG_CUSTOM, .read = redact_read_from},
	{.name = "to", .type = CONFIG_CUSTOM, .read = redact_read_to},
	{.name = "anywhere",
		.type = CONFIG_BOOL,
		.offset = offsetof(struct redact_reading, anywhere)},
	{.name = "truncate",
		.type = CONFIG_UINT,
		.offset = offsetof(struct redact_reading, keep),
		.max = UINT32_MAX},
	{.name = NULL},
};

/* Which arguments belong to which action. */
static const struct {
	const char *key;
	enum redact_action action;
	bool required;
} arguments[] = {
	{"with", REDACT_MASK, false},
	{"from", REDACT_REWRITE_PREFIX, true},
	{"to", REDACT_REWRITE_PREFIX, true},
	{"anywhere", REDACT_REWRITE_PREFIX, false},
	{"truncate", REDACT_TRUNCATE, true},
};

static int check_arguments(enum redact_action action, struct yaml_tree *tree,
	const yaml_node_t *mapping, struct yaml_error *error)
{
	for (size_t i = 0; i < ARRAY_SIZE(arguments); i++) {
		const yaml_node_t *value = yaml_lookup(tree, mapping, arguments[i].key);
		const char *name = redact_action_name(action);
		if (arguments[i].action != action && value != NULL)
			return yaml_fail(error, tree, value, "action %s takes no \"%s\"", name,
				arguments[i].key);
		if (arguments[i].action == action && arguments[i].required && value == NULL)
			return yaml_fail(error, tree, mapping, "action %s needs \"%s\"", name,
				arguments[i].key);
	}
	return 0;
}

/* Every rule has a path; for one about secrets it may be left out, and means the whole event. */
static int check_target(const struct redact_reading *reading, struct yaml_tree *tree,
	const yaml_node_t *mapping, struct yaml_error *error)
{
	const yaml_node_t *secrets = yaml_lookup(tree, mapping, "secrets");
	if (secrets != NULL && reading->action != REDACT_MASK)
		return yaml_fail(error, tree, secrets, "action %s takes no \"secrets\"",
			redact_action_name((enum redact_action)reading->action));
	if (secrets == NULL && reading->path == NULL)
		return yaml_fail(error, tree, mapping, "\"path\" is missing");
	return 0;
}

static int read_redact_rule(struct redact_rule *rule, struct yaml_tree *tree,
	const yaml_node_t *node, struct yaml_error *error)
{
	struct redact_reading reading = {.rule = rule};
	int r = config_read_mapping(redact_keys, &reading, tree, node, error);
	if (r == 0)
		r = check_arguments((enum redact_action)reading.action, tree, node, error);
	if (r == 0)
		r = check_target(&reading, tree, node, error);
	if (r == 0) {
		rule->action = rule->secrets != 0 ? REDACT_SECRETS
						  : (enum redact_action)reading.action;
		rule->anywhere = reading.anywhere;
		rule->keep = reading.keep;
		struct policy_place place = policy_place_of(node);
		if (asprintf(&rule->place, "%zu:%zu %s %s", place.line, place.column,
			    redact_action_name(rule->action),
			    reading.path != NULL ? reading.path : "**") < 0) {
			rule->place = NULL;
			r = -ENOMEM;
		}
	}
	free(reading.path);
	return r;
}

static int role_read_redact(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct policy_role *role = target;
	int r = allocate_items("redact", POLICY_REDACT_MAX, sizeof(*role->redact),
		(void **)&role->redact, tree, node, error);
	const yaml_node_t *item;
	while (r == 0 && (item = yaml_item(tree, node, role->redact_count)) != NULL)
		r = read_redact_rule(&role->redact[role->redact_count++], tree, item, error);
	return r;
}

/* ---- roles ---- */

static const struct config_key role_keys[] = {
	{.name = "observe", .type = CONFIG_CUSTOM, .read = role_read_observe},
	{.name = "events", .type = CONFIG_CUSTOM, .read = role_read_events},
	{.name = "commands", .type = CONFIG_CUSTOM, .read = role_read_commands},
	{.name = "redact", .type = CONFIG_CUSTOM, .read = role_read_redact},
	{.name = NULL},
};

static int policy_read_roles(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	struct policy *policy = target;
	if (node->type != YAML_MAPPING_NODE)
		return yaml_fail(error, tree, node, "roles must be role names with their rules");
	policy->role = calloc(POLICY_ROLES_MAX, sizeof(*policy->role));
	if (policy->role == NULL)
		return -ENOMEM;
	const yaml_node_t *name, *rules;
	for (size_t i = 0; (name = yaml_pair(tree, node, i, &rules)) != NULL; i++) {
		if (i == POLICY_ROLES_MAX)
			return yaml_fail(error, tree, name, "more than %d roles", POLICY_ROLES_MAX);
		struct policy_role *role = &policy->role[policy->role_count++];
		int r = policy_read_text("a role's name", POLICY_GLOB_BYTES_MAX, false, &role->name,
			tree, name, error);
		if (r == 0)
			r = config_read_mapping(role_keys, role, tree, rules, error);
		if (r < 0)
			return r;
	}
	return 0;
}

static int policy_read_version(
	void *target, struct yaml_tree *tree, const yaml_node_t *node, struct yaml_error *error)
{
	(void)target;
	const char *text = yaml_text(node);
	if (text == NULL || strcmp(text, "1") != 0)
		return yaml_fail(error, tree, node, "version must be 1");
	return 0;
}

static const struct config_key policy_keys[] = {
	{.name = "version", .type = CONFIG_CUSTOM, .required = true, .read = policy_read_version},
	{.name = "roles", .type = CONFIG_CUSTOM, .required = true, .read = policy_read_roles},
	{.name = "blocks", .type = CONFIG_CUSTOM, .read = policy_read_blocks},
	{.name = "nested_by", .type = CONFIG_CUSTOM, .read = policy_read_nested_by},
	{.name = NULL},
};

/* Takes the tree. */
static int read_tree(struct policy *policy, struct yaml_tree *tree, struct yaml_error *error)
{
	const yaml_node_t *root = yaml_tree_root(tree);
	int r = root != NULL ? config_read_mapping(policy_keys, policy, tree, root, error)
			     : yaml_fail(error, tree, NULL, "the policy is empty");
	if (r == 0)
		r = policy_share_blocks(policy);
	if (r == -ENOMEM)
		snprintf(error->text, sizeof(error->text), "%s: out of memory", tree->path);
	yaml_tree_free(tree);
	if (r < 0)
		policy_free(policy);
	return r;
}

int policy_load(struct policy *policy, const char *path, struct yaml_error *error)
{
	*policy = (struct policy){0};
	struct yaml_tree tree;
	int r = yaml_tree_load(&tree, path, error);
	return r < 0 ? r : read_tree(policy, &tree, error);
}

int policy_parse(struct policy *policy, const char *name, const void *bytes, size_t len,
	struct yaml_error *error)
{
	*policy = (struct policy){0};
	struct yaml_tree tree;
	int r = yaml_tree_parse(&tree, name, bytes, len, error);
	return r < 0 ? r : read_tree(policy, &tree, error);
}
