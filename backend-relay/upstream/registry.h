/*
 * The registry: which runtimes there are and how this backend reaches them.
 *
 *	runtimes:
 *	  - runtime_id: prod-eu-1
 *	    display_name: Production, Frankfurt
 *	    url: wss://runtime.example:7443
 *	    token_file: prod-eu-1.token
 *
 * A token travels only over wss, a Unix socket or loopback, unless the entry says insecure: true.
 * What is here beside runtime_id and display_name never leaves this process: no frame, header,
 * metric or log line carries it.
 *
 * Results: 0; -EINVAL with `error` as "file:line:column: what"; another -errno with `error` too.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/yaml_config.h"
#include "proto/ids.h"
#include "proto/ws/ws_url.h"

enum { REGISTRY_RUNTIMES_MAX = 4096 };

struct runtime {
	struct id id;
	char *display_name; /* the id when the file gives none */
	struct ws_url url;
	char *token; /* NULL: none is sent */
	size_t token_len;
};

struct registry {
	struct runtime *runtimes; /* in the order of the file */
	size_t count;
};

_must_check_ int registry_load(
	struct registry *registry, const char *path, struct yaml_error *error);

/* The same from memory; token files are named relative to `path`. For tests. */
_must_check_ int registry_parse(struct registry *registry, const char *path, const void *bytes,
	size_t len, struct yaml_error *error);
void registry_free(struct registry *registry);

/* NULL when there is none. */
const struct runtime *registry_find(const struct registry *registry, const char *runtime_id);
