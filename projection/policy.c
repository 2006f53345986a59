#include "projection/policy.h"

#include <stdlib.h>
#include <string.h>

#include "proto/ids.h"

bool glob_list_matches_at(const struct glob_list *list, size_t index, const char *text, size_t len)
{
	return glob_matches(list->glob[index], strlen(list->glob[index]), text, len);
}

bool glob_list_matches(const struct glob_list *list, const char *text, size_t len)
{
	for (size_t i = 0; i < list->count; i++) {
		if (glob_list_matches_at(list, i, text, len))
			return true;
	}
	return false;
}

static void glob_list_free(struct glob_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->glob[i]);
	free(list->glob);
	free(list->place);
}

static void redact_rule_free(struct redact_rule *rule)
{
	glob_list_free(&rule->in);
	path_free(&rule->path);
	free(rule->with);
	free(rule->from);
	free(rule->to);
	free(rule->place);
}

static void role_free(struct policy_role *role)
{
	for (size_t i = 0; i < role->observe_count; i++) {
		free(role->observe[i].runtime);
		free(role->observe[i].worker);
		glob_list_free(&role->observe[i].except);
	}
	for (size_t i = 0; i < role->redact_count; i++)
		redact_rule_free(&role->redact[i]);
	glob_list_free(&role->events_allow);
	glob_list_free(&role->events_deny);
	glob_list_free(&role->commands_allow);
	glob_list_free(&role->commands_deny);
	free(role->observe);
	free(role->redact);
	free(role->name);
}

static void block_free(struct block_rule *block)
{
	free(block->delta);
	free(block->done);
	glob_list_free(&block->all_done);
	free(block->snapshot);
	free(block->in_flight);
	path_free(&block->text);
	path_free(&block->key);
	path_free(&block->rest);
}

void policy_free(struct policy *policy)
{
	for (size_t i = 0; i < policy->block_count; i++)
		block_free(&policy->block[i]);
	free(policy->block);
	glob_list_free(&policy->nested_by);
	for (size_t i = 0; i < policy->role_count; i++)
		role_free(&policy->role[i]);
	free(policy->role);
	*policy = (struct policy){0};
}

const struct policy_role *policy_find_role(
	const struct policy *policy, const char *name, size_t len)
{
	for (size_t i = 0; i < policy->role_count; i++) {
		const char *candidate = policy->role[i].name;
		if (strlen(candidate) == len && memcmp(candidate, name, len) == 0)
			return &policy->role[i];
	}
	return NULL;
}

static bool glob_matches_text(const char *glob, const char *text)
{
	return glob_matches(glob, strlen(glob), text, strlen(text));
}

bool policy_may_observe(
	const struct policy_role *role, const char *runtime_id, const char *worker_id)
{
	for (size_t i = 0; role != NULL && i < role->observe_count; i++) {
		const struct observe_rule *rule = &role->observe[i];
		if (glob_matches_text(rule->runtime, runtime_id) &&
			glob_matches_text(rule->worker, worker_id) &&
			!glob_list_matches(&rule->except, worker_id, strlen(worker_id)))
			return true;
	}
	return false;
}

bool policy_may_observe_some(const struct policy_role *role, const char *runtime_id)
{
	for (size_t i = 0; role != NULL && i < role->observe_count; i++) {
		if (glob_matches_text(role->observe[i].runtime, runtime_id))
			return true;
	}
	return false;
}

bool policy_may_command(const struct policy_role *role, const char *runtime_id,
	const char *worker_id, const char *operation, size_t operation_len)
{
	return policy_may_observe(role, runtime_id, worker_id) &&
	       glob_list_matches(&role->commands_allow, operation, operation_len) &&
	       !glob_list_matches(&role->commands_deny, operation, operation_len);
}

const struct redact_rule *policy_needs_key(const struct policy *policy)
{
	for (size_t i = 0; i < policy->role_count; i++) {
		for (size_t j = 0; j < policy->role[i].redact_count; j++) {
			if (policy->role[i].redact[j].action == REDACT_HASH)
				return &policy->role[i].redact[j];
		}
	}
	return NULL;
}
