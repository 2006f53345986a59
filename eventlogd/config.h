/*
 * eventlogd.yaml: where the log is, how durable, for how long, and who may publish as whom.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/yaml_config.h"

enum { PUBLISHER_RULES_MAX = 1024 };

/* Worker ids that match the glob may be published by this user (and by root). */
struct publisher_rule {
	char *worker_glob;
	uid_t uid;
};

struct config {
	char *directory;
	char *publish_socket, *tail_socket; /* not used for sockets that are inherited */
	int durability;                     /* enum durability */
	uint64_t sync_interval_ms, sync_bytes;
	uint64_t segment_bytes;
	uint64_t max_event_bytes;
	uint64_t max_workers;
	uint64_t max_publishers, max_readers; /* connections */
	struct {
		uint64_t bytes;            /* 0: no limit */
		uint64_t age_ms;           /* 0: no limit */
		uint64_t keyframe_reserve; /* bytes; UINT64_MAX: a quarter of `bytes` */
	} retention;
	struct {
		uint64_t workers;          /* worker ids of one uid; 0: no limit */
		uint64_t bytes_per_second; /* payload of one uid; 0: no limit */
		uint64_t connections;      /* to publish.sock of one uid; 0: no limit */
	} quotas;                          /* root is exempt */
	struct publisher_rule *rules;
	size_t rule_count;
};

/* Defaults, then the file. 0; -EINVAL with `error`; or another -errno with `error`. */
_must_check_ int config_read(struct config *config, const char *path, struct yaml_error *error);
void config_free(struct config *config);
