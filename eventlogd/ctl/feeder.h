/*
 * Where `publish` gets its lines from: one descriptor, or every connection to a listening socket.
 *
 * Lifecycle: feeder_open_fd or feeder_open_listener; lines come from the loop until feeder_stop();
 * is_over says that no more will. The loop then runs until the handles are closed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "eventlogd/ctl/input.h"
#include "proto/base/unix_socket.h"

struct feeder_input;

struct feeder {
	void *owner;
	/* `connection` counts from 1 on a listening socket and is 0 otherwise. */
	void (*on_line)(void *owner, const struct line *line, uint64_t connection, uint64_t number);
	/* Reading failed, of the one descriptor or of one connection. */
	void (*on_error)(void *owner, uint64_t connection, int error);
	bool is_over;

	/* private */
	uv_loop_t *loop;
	struct feeder_input *inputs;
	struct unix_listener listener;
	const char *listener_path; /* NULL: not listening */
	size_t max_line_bytes;
	uint64_t connections, bytes_of_closed;
	bool paused;
};

/* Takes `fd` (also on failure). 0 or -errno. */
_must_check_ int feeder_open_fd(
	struct feeder *feeder, uv_loop_t *loop, int fd, size_t max_line_bytes);
/* Makes a socket at `path` (mode 0660), removed again by feeder_stop(). 0 or -errno. */
_must_check_ int feeder_open_listener(
	struct feeder *feeder, uv_loop_t *loop, const char *path, size_t max_line_bytes);

void feeder_pause(struct feeder *feeder, bool paused);
/* Closes one connection to the listening socket, if it is still there; tells its peer why. */
void feeder_refuse(struct feeder *feeder, uint64_t connection, const char *why);
void feeder_stop(struct feeder *feeder);
uint64_t feeder_bytes_read(const struct feeder *feeder);
