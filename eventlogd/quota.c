#include "eventlogd/quota.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/map.h"

struct quota_user {
	uid_t uid;
	uint64_t connections;
	uint64_t tokens; /* bytes */
	uint64_t filled_ns;
	UT_hash_handle hh;
};

static uint64_t capacity(const struct quotas *quotas)
{
	return quotas->bytes_per_second > quotas->bytes_at_once ? quotas->bytes_per_second
								: quotas->bytes_at_once;
}

static struct quota_user *add_user(struct quotas *quotas, uid_t uid, uint64_t now_ns)
{
	struct quota_user *user = calloc(1, sizeof(*user));
	if (user == NULL)
		return NULL;
	user->uid = uid;
	user->tokens = capacity(quotas);
	user->filled_ns = now_ns;
	HASH_ADD(hh, quotas->users, uid, sizeof(user->uid), user);
	if (!map_has_handle(user)) {
		free(user);
		return NULL;
	}
	return user;
}

int quota_connect(struct quotas *quotas, uid_t uid, uint64_t now_ns, struct quota_user **out)
{
	if (uid == 0) {
		*out = NULL;
		return QUOTA_OK;
	}
	struct quota_user *user;
	HASH_FIND(hh, quotas->users, &uid, sizeof(uid), user);
	if (user == NULL)
		user = add_user(quotas, uid, now_ns);
	if (user == NULL)
		return -ENOMEM;
	if (quotas->connections != 0 && user->connections >= quotas->connections)
		return QUOTA_EXCEEDED;
	user->connections++;
	*out = user;
	return QUOTA_OK;
}

void quota_disconnect(struct quota_user *user)
{
	if (user != NULL)
		user->connections--;
}

void quotas_free(struct quotas *quotas)
{
	struct quota_user *user, *next;
	map_for_each (quotas->users, user, next) {
		HASH_DELETE(hh, quotas->users, user);
		free(user);
	}
}

static void put_tokens(struct quota_user *user, uint64_t tokens, uint64_t max)
{
	user->tokens = tokens >= max - user->tokens ? max : user->tokens + tokens;
}

static void fill(const struct quotas *quotas, struct quota_user *user, uint64_t now_ns)
{
	uint64_t elapsed_ns = now_ns - user->filled_ns;
	uint64_t max = capacity(quotas);
	/* In whole microseconds: the product fits for every rate that the configuration takes. */
	uint64_t elapsed_us = elapsed_ns / 1000;
	uint64_t added;
	if (__builtin_mul_overflow(elapsed_us, quotas->bytes_per_second, &added))
		added = UINT64_MAX;
	added /= 1000000;
	if (added == 0)
		return;
	put_tokens(user, added, max);
	user->filled_ns = now_ns;
}

bool quota_take_bytes(
	struct quotas *quotas, struct quota_user *user, uint64_t bytes, uint64_t now_ns)
{
	if (user == NULL || quotas->bytes_per_second == 0)
		return true;
	fill(quotas, user, now_ns);
	if (bytes > user->tokens)
		return false;
	user->tokens -= bytes;
	return true;
}

void quota_return_bytes(struct quotas *quotas, struct quota_user *user, uint64_t bytes)
{
	if (user != NULL && quotas->bytes_per_second != 0)
		put_tokens(user, bytes, capacity(quotas));
}
