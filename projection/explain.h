/* `--explain`: events from stdin, and what a role would see of each, so that a policy can be tried.
 */
#pragma once

#include <stdio.h>

#include "projection/policy.h"
#include "projection/rules.h"
#include "proto/base/attributes.h"

/*
 * Reads one event a line and prints one JSON object a line:
 *	{"line":1,"kind":"…","verdict":"rewrite","rules":["12:9 mask data.output"],"payload":"…"}
 * `rules` are those that denied the event or one nested in it, and those that changed something, by
 * their place in the policy; `payload` is the text that the role would get, or null. Empty lines
 * are skipped. 0 or -errno.
 */
_must_check_ int explain(const struct policy_role *role, const struct projection_key *key,
	const char *runtime_id, const char *worker_id, FILE *in, FILE *out);
