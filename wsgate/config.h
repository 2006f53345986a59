/*
 * wsgate.yaml: which runtime this is, where its log is read, where backends are served.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/yaml_config.h"

struct config {
	char *runtime_id;
	char *tail_socket;
	char *listen;        /* HOST:PORT or unix:/path; unused when "runtime" is inherited */
	char *status_listen; /* the same for "status"; NULL: no status listener */
	char *token_file;    /* looked up as secret_file.h says; NULL: no token is known */
	bool require_token;  /* on a TCP listener; default true */
	struct {
		char *certificate; /* PEM with the chain; NULL: no TLS */
		char *key;
	} tls;
	struct {
		uint64_t connections; /* of backends, at once */
		uint64_t queue_bytes; /* to one backend that does not read */
		uint64_t give_up_ms;  /* until a session without eventlogd ends */
		uint64_t bookmark_ms; /* a session that gets nothing gets a bookmark this often */
		uint64_t drain_ms;    /* for goodbyes when stopping */
	} limits;
};

/* 0; -EINVAL with `error` ("file:line:col: message"), -ENOMEM or the -errno of reading. */
_must_check_ int config_read(struct config *config, const char *path, struct yaml_error *error);
void config_free(struct config *config);
