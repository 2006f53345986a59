/*
 * Stdout watch: tells when whoever reads stdout has left, also while there is nothing to write.
 *
 * For pipes, sockets and terminals; a file has no reader that could leave, and nothing is told.
 * Stdout itself is left as it is: a loop that polled it would make it non-blocking, for all who
 * share it. So it is watched through an epoll instance of its own, which the loop polls.
 *
 * stdout_watch_start() once, then stdout_watch_close() before the loop is closed; on_left comes
 * once at most, and never after stdout_watch_close().
 */
#pragma once

#include <uv.h>

#include "proto/base/attributes.h"

struct stdout_watch {
	uv_poll_t poll;
	int epoll_fd; /* -1: nothing to watch */
	void (*on_left)(void *owner);
	void *owner;
};

/* 0, also where there is nobody to watch, or a negative errno. */
_must_check_ int stdout_watch_start(
	struct stdout_watch *watch, uv_loop_t *loop, void (*on_left)(void *owner), void *owner);
void stdout_watch_close(struct stdout_watch *watch);
