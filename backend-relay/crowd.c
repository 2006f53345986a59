#include "backend-relay/crowd.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "proto/base/map.h"

struct crowd_member {
	uint8_t who[IDENTITY_WHO_BYTES];
	size_t count;
	UT_hash_handle hh;
};

static struct crowd_member *find(const struct crowd *crowd, const uint8_t who[IDENTITY_WHO_BYTES])
{
	struct crowd_member *member;
	HASH_FIND(hh, crowd->members, who, IDENTITY_WHO_BYTES, member);
	return member;
}

bool crowd_has_room(const struct crowd *crowd, const uint8_t who[IDENTITY_WHO_BYTES])
{
	const struct crowd_member *member = find(crowd, who);
	return crowd->count < crowd->max_all && (member == NULL || member->count < crowd->max_each);
}

int crowd_enter(struct crowd *crowd, const uint8_t who[IDENTITY_WHO_BYTES])
{
	struct crowd_member *member = find(crowd, who);
	if (member == NULL) {
		member = calloc(1, sizeof(*member));
		if (member == NULL)
			return -ENOMEM;
		memcpy(member->who, who, sizeof(member->who));
		HASH_ADD(hh, crowd->members, who, sizeof(member->who), member);
		if (!map_has_handle(member)) {
			free(member);
			return -ENOMEM;
		}
	}
	member->count++;
	crowd->count++;
	return 0;
}

void crowd_leave(struct crowd *crowd, const uint8_t who[IDENTITY_WHO_BYTES])
{
	struct crowd_member *member = find(crowd, who);
	assert(member != NULL && member->count > 0);
	crowd->count--;
	if (--member->count > 0)
		return;
	HASH_DEL(crowd->members, member);
	free(member);
}
