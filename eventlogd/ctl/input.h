/*
 * One source of lines on the loop: a regular file, or anything that can be waited for (a pipe, a
 * terminal, a connected socket). Reading is paused while there is no room for more lines.
 *
 * Lifecycle: input_open takes the descriptor (also on failure); on_end comes once, at the end of
 * the input or with -errno; input_close, after which no line comes any more, and on_closed comes
 * from the loop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "eventlogd/ctl/lines.h"

struct input;

struct input_handler {
	/* `number` counts the lines of this input from 1. */
	void (*on_line)(struct input *input, const struct line *line, uint64_t number);
	void (*on_end)(struct input *input, int error); /* 0 at the end of the input */
	void (*on_closed)(struct input *input);         /* may be NULL */
};

struct input {
	const struct input_handler *handler;
	void *owner;
	uint64_t bytes_read;
	uint64_t line_count;

	/* private */
	struct lines lines;
	int fd;
	bool is_regular, paused, ended, closing;
	int handles_open;
	uv_poll_t poll;
	uv_idle_t idle;
};

/* Opens a file for reading, or standard input for "-". The descriptor or -errno. */
_must_check_ int input_open_path(const char *path);

_must_check_ int input_open(struct input *input, uv_loop_t *loop, int fd, size_t max_line_bytes,
	const struct input_handler *handler, void *owner);
void input_pause(struct input *input);
void input_resume(struct input *input);
void input_close(struct input *input);
