/*
 * Quotas of one user: connections, and payload bytes a second.
 *
 * For each uid that ever connected there is a token bucket: it fills at `bytes_per_second` and
 * holds one second's worth, but never less than `bytes_at_once`, so that the largest batch can pass
 * at some time. It is kept while nobody is connected, so that coming back does not fill it. Time
 * comes in as an argument. Root is exempt: its quota_user is NULL, which may do anything.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/attributes.h"

struct quota_user;

struct quotas {
	uint64_t connections;      /* 0: no limit */
	uint64_t bytes_per_second; /* 0: no limit */
	uint64_t bytes_at_once;
	struct quota_user *users;
};

enum quota_result { QUOTA_OK = 0, QUOTA_EXCEEDED = 1 };

/* One more connection of this uid. enum quota_result or -ENOMEM; `*user` is NULL for root. */
_must_check_ int quota_connect(
	struct quotas *quotas, uid_t uid, uint64_t now_ns, struct quota_user **user);
void quota_disconnect(struct quota_user *user);
void quotas_free(struct quotas *quotas);

/* Takes `bytes` out of the bucket, or nothing. */
bool quota_take_bytes(
	struct quotas *quotas, struct quota_user *user, uint64_t bytes, uint64_t now_ns);
/* Puts back what was taken for a batch that was not used after all. */
void quota_return_bytes(struct quotas *quotas, struct quota_user *user, uint64_t bytes);
