/*
 * A marker in a log: a number that a producer has for a worker without any event, which says that
 * something has been begun. It survives what positions survive, stores no event, and may be
 * forgotten where the log makes room for other workers.
 */
#pragma once

#include <stdbool.h>

#include "proto/base/attributes.h"

struct publish_marker {
	const char *who; /* for messages */
	const char *socket;
	const char *producer_id;
	const char *worker_id;
	const char *not_log_id; /* hex: a log that is not to be marked */
};

/* Whether the marker is there. 0; or an exit code, told already: also for the log not to be marked.
 */
_must_check_ int publish_marker_get(const struct publish_marker *marker, bool *is_set);

/*
 * The same, and sets it where it is not. Waits while the log has no room; one that refuses it for
 * good is left without it, which is told.
 */
_must_check_ int publish_marker_set(const struct publish_marker *marker);
