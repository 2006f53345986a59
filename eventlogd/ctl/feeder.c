#include "eventlogd/ctl/feeder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/fd.h"

enum { CONNECTIONS_MAX = 256, SOCKET_MODE = 0660 };

struct feeder_input {
	struct input input;
	uint64_t connection;
	struct feeder_input *next;
};

static uint64_t connection_of(const struct input *input)
{
	/* The input is the first member. */
	return ((const struct feeder_input *)(const void *)input)->connection;
}

static void feeder_on_line(struct input *input, const struct line *line, uint64_t number)
{
	struct feeder *feeder = input->owner;
	if (!feeder->is_over)
		feeder->on_line(feeder->owner, line, connection_of(input), number);
}

static void feeder_on_input_end(struct input *input, int error)
{
	struct feeder *feeder = input->owner;
	if (feeder->listener_path == NULL)
		feeder->is_over = true;
	input_close(input);
	if (error < 0)
		feeder->on_error(feeder->owner, connection_of(input), error);
}

static void feeder_on_input_closed(struct input *input)
{
	struct feeder *feeder = input->owner;
	struct feeder_input **at = &feeder->inputs;
	while (&(*at)->input != input)
		at = &(*at)->next;
	struct feeder_input *gone = *at;
	*at = gone->next;
	feeder->bytes_of_closed += input->bytes_read;
	if (feeder->listener_path != NULL && !feeder->is_over)
		unix_listener_released(&feeder->listener);
	free(gone);
}

static const struct input_handler input_handler = {
	feeder_on_line, feeder_on_input_end, feeder_on_input_closed};

static int add_input(struct feeder *feeder, int fd, uint64_t connection)
{
	struct feeder_input *in = calloc(1, sizeof(*in));
	if (in == NULL) {
		fd_close(fd);
		return -ENOMEM;
	}
	in->connection = connection;
	int r = input_open(
		&in->input, feeder->loop, fd, feeder->max_line_bytes, &input_handler, feeder);
	if (r < 0) {
		free(in);
		return r;
	}
	if (feeder->paused)
		input_pause(&in->input);
	in->next = feeder->inputs;
	feeder->inputs = in;
	return 0;
}

static void feeder_on_accept(
	struct unix_listener *listener, int fd, const struct peer_credentials *peer)
{
	struct feeder *feeder = listener->owner;
	(void)peer;
	int r = add_input(feeder, fd, ++feeder->connections);
	if (r < 0) {
		unix_listener_released(listener);
		feeder->on_error(feeder->owner, feeder->connections, r);
	}
}

static void feeder_on_accept_error(struct unix_listener *listener, int error)
{
	struct feeder *feeder = listener->owner;
	feeder->on_error(feeder->owner, feeder->connections + 1, error);
}

int feeder_open_fd(struct feeder *feeder, uv_loop_t *loop, int fd, size_t max_line_bytes)
{
	feeder->loop = loop;
	feeder->max_line_bytes = max_line_bytes;
	return add_input(feeder, fd, 0);
}

int feeder_open_listener(
	struct feeder *feeder, uv_loop_t *loop, const char *path, size_t max_line_bytes)
{
	int fd = unix_socket_listen(path, SOCKET_MODE);
	if (fd < 0)
		return fd;
	feeder->loop = loop;
	feeder->max_line_bytes = max_line_bytes;
	feeder->listener = (struct unix_listener){
		.owner = feeder, .on_accept = feeder_on_accept, .on_error = feeder_on_accept_error};
	int r = unix_listener_start(&feeder->listener, loop, fd, CONNECTIONS_MAX);
	if (r < 0) {
		unlink(path);
		return r;
	}
	feeder->listener_path = path;
	return 0;
}

void feeder_pause(struct feeder *feeder, bool paused)
{
	if (feeder->paused == paused)
		return;
	feeder->paused = paused;
	for (struct feeder_input *in = feeder->inputs; in != NULL; in = in->next) {
		if (paused)
			input_pause(&in->input);
		else
			input_resume(&in->input);
	}
}

void feeder_refuse(struct feeder *feeder, uint64_t connection, const char *why)
{
	struct feeder_input *in = feeder->inputs;
	while (in != NULL && in->connection != connection)
		in = in->next;
	if (in == NULL || in->input.closing)
		return;
	/* Whether it gets there is the peer's affair. */
	(void)!send(in->input.fd, why, strlen(why), MSG_DONTWAIT | MSG_NOSIGNAL);
	input_close(&in->input);
}

void feeder_stop(struct feeder *feeder)
{
	if (!feeder->is_over && feeder->listener_path != NULL) {
		unlink(feeder->listener_path);
		unix_listener_close(&feeder->listener);
	}
	feeder->is_over = true;
	for (struct feeder_input *in = feeder->inputs; in != NULL; in = in->next)
		input_close(&in->input);
}

uint64_t feeder_bytes_read(const struct feeder *feeder)
{
	uint64_t bytes = feeder->bytes_of_closed;
	for (const struct feeder_input *in = feeder->inputs; in != NULL; in = in->next)
		bytes += in->input.bytes_read;
	return bytes;
}
