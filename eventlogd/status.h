/*
 * STATUS_REPLY and WORKERS_REPLY: what the log's own bookkeeping says, for operators and wsgate.
 * docs/protocol.md names the keys.
 */
#pragma once

#include "eventlogd/server.h"

enum { WORKERS_PAGE_MAX = 1000 };

/*
 * Both append one frame. 0 or -ENOMEM. `position`: what the asking connection's subscription has
 * been given up to; NULL without one.
 */
_must_check_ int status_write(struct buf *out, const struct server *server, uint64_t request_id,
	const uint64_t *position);
/* Workers by ascending id, at most min(limit, WORKERS_PAGE_MAX) behind `after` (NULL: the first).
 */
_must_check_ int workers_write(struct buf *out, const struct server *server, uint64_t request_id,
	const char *after, size_t after_len, uint64_t limit);
/* FORGET_REPLY. */
_must_check_ int forgotten_write(struct buf *out, uint64_t request_id, const char *worker,
	size_t len, const struct log_forgotten *forgotten);
