/*
 * Crowd: how many sessions there are, of all and of each who has some, so that nobody can take the
 * places of everybody.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend-relay/identity/identity.h"
#include "proto/base/attributes.h"

struct crowd {
	struct crowd_member *members; /* by who they are */
	size_t count;                 /* of all sessions */
	size_t max_all, max_each;
};

/* `who` as in struct identity. */
bool crowd_has_room(const struct crowd *crowd, const uint8_t who[IDENTITY_WHO_BYTES]);
/* One session more. 0 or -ENOMEM. */
_must_check_ int crowd_enter(struct crowd *crowd, const uint8_t who[IDENTITY_WHO_BYTES]);
/* One of those that have entered is over. */
void crowd_leave(struct crowd *crowd, const uint8_t who[IDENTITY_WHO_BYTES]);
