#include "eventlogd/ownership.h"

#include <string.h>

#include "proto/ids.h"

bool ownership_allows(const struct publisher_rule *rules, size_t rule_count,
	const struct ownership_question *question, uid_t *owner)
{
	const struct publisher_rule *first = NULL;
	for (size_t i = 0; i < rule_count; i++) {
		if (!glob_matches(rules[i].worker_glob, strlen(rules[i].worker_glob),
			    question->worker, question->worker_len))
			continue;
		if (rules[i].uid == question->peer) {
			*owner = question->peer;
			return true;
		}
		if (first == NULL)
			first = &rules[i];
	}
	if (question->peer == 0) {
		*owner = first != NULL ? first->uid : question->has_owner ? question->owner : 0;
		return true;
	}
	if (first != NULL || (question->has_owner && question->owner != question->peer))
		return false;
	*owner = question->peer;
	return true;
}
