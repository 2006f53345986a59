#include "eventlogd/ctl/input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/fd.h"

enum { READ_BYTES = 64 * 1024 };

static void input_tell_line(void *owner, const struct line *line)
{
	struct input *input = owner;
	if (!input->closing) /* by what an earlier line of the same piece has led to */
		input->handler->on_line(input, line, ++input->line_count);
}

static void stop_waiting(struct input *input)
{
	if (input->is_regular)
		uv_idle_stop(&input->idle);
	else
		uv_poll_stop(&input->poll);
}

static void input_end(struct input *input, int error)
{
	input->ended = true;
	stop_waiting(input);
	input->handler->on_end(input, error);
}

static void input_read(struct input *input)
{
	static uint8_t piece[READ_BYTES];
	ssize_t n = read(input->fd, piece, sizeof(piece));
	if (n < 0) {
		if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK)
			input_end(input, -errno);
		return;
	}
	if (n == 0) {
		lines_finish(&input->lines);
		input_end(input, 0);
		return;
	}
	input->bytes_read += (uint64_t)n;
	int r = lines_feed(&input->lines, piece, (size_t)n);
	if (r < 0 && !input->closing) /* on_line may have closed it */
		input_end(input, r);
}

static void input_on_poll(uv_poll_t *handle, int status, int events)
{
	(void)events;
	if (status < 0)
		input_end(handle->data, status);
	else
		input_read(handle->data);
}

static void input_on_idle(uv_idle_t *handle)
{
	input_read(handle->data);
}

/*
 * A pipe or terminal is opened anew, so that O_NONBLOCK does not reach those who share it; what
 * can't be opened so, and a file with its position, is duplicated.
 */
static int open_stdin(void)
{
	struct stat st;
	int fd = -1;
	if (fstat(STDIN_FILENO, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)))
		fd = open("/proc/self/fd/0", O_RDONLY | O_CLOEXEC | O_NOCTTY);
	return fd >= 0 ? fd : fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
}

int input_open_path(const char *path)
{
	int fd = strcmp(path, "-") == 0 ? open_stdin()
					: open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

int input_open(struct input *input, uv_loop_t *loop, int fd, size_t max_line_bytes,
	const struct input_handler *handler, void *owner)
{
	*input = (struct input){.handler = handler,
		.owner = owner,
		.fd = fd,
		.paused = true,
		.lines = {.max_line_bytes = max_line_bytes, .on_line = input_tell_line}};
	input->lines.owner = input;
	struct stat st;
	int r = fstat(fd, &st) < 0 ? -errno : S_ISDIR(st.st_mode) ? -EISDIR : 0;
	if (r == 0) {
		/* epoll refuses regular files, which are always readable anyway. */
		input->is_regular = S_ISREG(st.st_mode);
		r = input->is_regular ? uv_idle_init(loop, &input->idle)
				      : uv_poll_init(loop, &input->poll, fd);
	}
	if (r < 0) {
		input->fd = fd_close(fd);
		return r;
	}
	input->idle.data = input;
	input->poll.data = input;
	input_resume(input);
	return 0;
}

void input_pause(struct input *input)
{
	if (input->paused || input->ended || input->closing)
		return;
	input->paused = true;
	stop_waiting(input);
}

void input_resume(struct input *input)
{
	if (!input->paused || input->ended || input->closing)
		return;
	input->paused = false;
	if (input->is_regular)
		uv_idle_start(&input->idle, input_on_idle);
	else
		uv_poll_start(&input->poll, UV_READABLE, input_on_poll);
}

static void input_on_handle_closed(uv_handle_t *handle)
{
	struct input *input = handle->data;
	input->fd = fd_close(input->fd);
	lines_free(&input->lines);
	if (input->handler->on_closed != NULL)
		input->handler->on_closed(input);
}

void input_close(struct input *input)
{
	if (input->closing)
		return;
	input->closing = true;
	uv_close(input->is_regular ? (uv_handle_t *)&input->idle : (uv_handle_t *)&input->poll,
		input_on_handle_closed);
}
