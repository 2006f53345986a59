/*
 * Ownership: which user may publish as which worker. Pure: decides, keeps nothing.
 *
 * Where globs of the configuration match a worker id, exactly their users may. Else it belongs to
 * the uid that used it first, as the log remembers. Root may always, and takes nothing away from
 * an owner.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "eventlogd/config.h"

struct ownership_question {
	const char *worker;
	size_t worker_len;
	uid_t peer;
	bool has_owner; /* somebody has used it */
	uid_t owner;
};

/* Whether the peer may; `*owner` is then whom the worker belongs to from now on. */
bool ownership_allows(const struct publisher_rule *rules, size_t rule_count,
	const struct ownership_question *question, uid_t *owner);
