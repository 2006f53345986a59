/*
 * Second look: a log directory is looked at again by a reader that has come some way, and goes on
 * there only if this is still the same log with the same past.
 */
#pragma once

#include <stdint.h>

#include "eventlogd/log/view.h"
#include "proto/base/attributes.h"

enum second_look {
	SECOND_LOOK_SAME = 0,
	SECOND_LOOK_OTHER_LOG = 1,
	/* What stood before the position was lost, and its sequences may have been given again. */
	SECOND_LOOK_OTHER_PAST = 2,
};

/* Refreshes the view, whose readers have been closed. An enum second_look, or -errno. */
_must_check_ int second_look_take(struct log_view *view, uint64_t position);

/* In words what it answered, but SECOND_LOOK_SAME. */
const char *second_look_text(int answer);
