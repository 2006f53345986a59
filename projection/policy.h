/*
 * The policy file: what each role may observe, see and do. docs/policy.md is its reference.
 *
 * Read once at start, before the sandbox. A mistake is told as "file:line:column: what", and no
 * part of such a file is used. All texts are checked here, so that what comes after needs no error
 * of its own.
 *
 * Limits: 64 roles, 32 blocks; in a role 1,024 redact rules and 16,384 globs; a glob of 255 bytes;
 * texts of actions of 1,024 bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "projection/path.h"
#include "projection/secret_pattern.h"
#include "proto/base/attributes.h"
#include "proto/base/yaml_tree.h"

enum {
	POLICY_ROLES_MAX = 64,
	POLICY_REDACT_MAX = 1024,
	POLICY_GLOBS_MAX = 16384,
	POLICY_GLOB_BYTES_MAX = 255,
	POLICY_TEXT_BYTES_MAX = 1024,
	POLICY_BLOCKS_MAX = 32,
	POLICY_NESTED_BY_MAX = 8,
};

/* Where something stands in the file; line 0: nowhere. */
struct policy_place {
	size_t line, column;
};

/* Globs: `*` any run of characters, `?` one; nothing else is special. */
struct glob_list {
	char **glob;
	struct policy_place *place; /* of each */
	size_t count;
	struct policy_place at; /* of the list */
};

/* Whether any of them matches. The text need not end in a NUL. */
bool glob_list_matches(const struct glob_list *list, const char *text, size_t len);
/* Whether that one does. */
bool glob_list_matches_at(const struct glob_list *list, size_t index, const char *text, size_t len);

struct observe_rule {
	char *runtime, *worker;  /* globs */
	struct glob_list except; /* workers */
};

/* In the order of strength: where several rules reach one value, the strongest ones count. */
enum redact_action {
	REDACT_REMOVE,
	REDACT_MASK,
	REDACT_HASH,
	REDACT_REWRITE_PREFIX,
	REDACT_TRUNCATE,
	REDACT_SECRETS,   /* in the file: mask with `secrets` */
	REDACT_IN_FLIGHT, /* of `blocks`: the text goes on in events that follow */
};

/* On a string, and in an object or array on every string within it. */
static inline bool redact_action_works_on_texts(enum redact_action action)
{
	return action >= REDACT_REWRITE_PREFIX;
}

struct redact_rule {
	struct glob_list in;
	struct path path;
	enum redact_action action;
	char *with;      /* mask: the text that stands instead */
	char *from, *to; /* rewrite_prefix */
	bool anywhere;   /* rewrite_prefix: also within longer text */
	uint64_t keep;   /* truncate: characters that stay */
	secret_sets secrets;
	size_t block; /* in flight: of which block */
	char *place;  /* "line:column action path", for --explain */
};

/* Kinds of events that stream one text in pieces. */
struct block_rule {
	char *delta, *done;        /* kinds; done may be NULL */
	struct glob_list all_done; /* kinds of events that end all blocks */
	struct path text;          /* the piece; names only */
	struct path key;  /* tells blocks apart that stream at once; without steps: there is one */
	struct path rest; /* of done: where what was held back is put; without steps: nowhere */
	char *snapshot;   /* the kind that shows blocks in flight, and where; both or neither */
	char *in_flight;
	size_t line, column;
};

struct policy_role {
	char *name;
	struct observe_rule *observe;
	size_t observe_count;
	struct policy_place observe_at;
	struct glob_list events_allow, events_deny;
	struct glob_list commands_allow, commands_deny;
	struct redact_rule *redact;
	size_t redact_count;
	/* The policy's, if a rule asks for secrets. */
	const struct block_rule *block;
	size_t block_count;
	const struct glob_list *nested_by;
};

struct policy {
	struct block_rule *block;
	size_t block_count;
	struct glob_list nested_by; /* names of members, not globs */
	struct policy_role *role;
	size_t role_count;
};

/* 0, -EINVAL with `error`, or another -errno with `error`. `policy` is empty then. */
_must_check_ int policy_load(struct policy *policy, const char *path, struct yaml_error *error);
/* The same from memory; `name` stands for the path in messages. */
_must_check_ int policy_parse(struct policy *policy, const char *name, const void *bytes,
	size_t len, struct yaml_error *error);
void policy_free(struct policy *policy);

/* NULL for a role that the file does not have: it may do nothing. */
const struct policy_role *policy_find_role(
	const struct policy *policy, const char *name, size_t len);

/* Decided by names alone. */
bool policy_may_observe(
	const struct policy_role *role, const char *runtime_id, const char *worker_id);
/* Whether there may be workers of this runtime that it may observe. */
bool policy_may_observe_some(const struct policy_role *role, const char *runtime_id);
bool policy_may_command(const struct policy_role *role, const char *runtime_id,
	const char *worker_id, const char *operation, size_t operation_len);

/* The first rule that needs the key from the command line, or NULL. */
const struct redact_rule *policy_needs_key(const struct policy *policy);

/* "mask", "remove", …; "secrets" for REDACT_SECRETS. */
const char *redact_action_name(enum redact_action action);
