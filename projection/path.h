/*
 * Paths of redact rules: which values inside an event a rule means.
 *
 *	data.output        a member of a member
 *	*                  any member or element
 *	**                 any depth, also none
 *	X[name=glob]       only where X is an object whose string member `name` matches
 *
 * Steps are separated by dots. A name is compared with keys after unescaping; the characters
 * `. * [ ]` can't stand in a name.
 */
#pragma once

#include <stddef.h>

#include "proto/base/attributes.h"

enum { PATH_STEPS_MAX = 16, PATH_NAME_BYTES_MAX = 128 };

enum path_step_kind { PATH_NAME, PATH_ANY, PATH_DEEP };

struct path_step {
	enum path_step_kind kind;
	char *name;             /* for PATH_NAME */
	char *member, *pattern; /* of the predicate; NULL without one */
};

struct path {
	struct path_step step[PATH_STEPS_MAX];
	size_t count;
};

/* 0; -EINVAL with `why` (static text) and `at` (offset in the text); or -ENOMEM. */
_must_check_ int path_parse(struct path *path, const char *text, const char **why, size_t *at);
void path_free(struct path *path);
