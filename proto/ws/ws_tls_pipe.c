/*
 * A connection that speaks TLS, decrypted into a socket pair.
 *
 * libwebsockets does the TLS; what it decrypts goes to the pair's other end, where the connection
 * is read like any other. So there is one way in which heads are read and sessions run, whatever
 * the listener. Each direction holds at most one read's worth of bytes here.
 */
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "proto/base/fd.h"
#include "proto/ws/ws_server_private.h"

enum { READ_BYTES = 16 * 1024, PENDING_BYTES_MAX = 64 * 1024 };

static void pipe_on_poll(uv_poll_t *handle, int status, int events);

static void update_poll(struct ws_tls_pipe *pipe, bool want_read)
{
	int events = UV_DISCONNECT;
	if (want_read && pipe->heard)
		events |= UV_READABLE;
	if (pipe->to_plain.len > 0)
		events |= UV_WRITABLE;
	uv_poll_start(&pipe->poll, events, pipe_on_poll);
}

/* ---- decrypted bytes to the other end ---- */

static int flush_to_plain(struct ws_tls_pipe *pipe)
{
	while (pipe->to_plain.len > 0) {
		ssize_t n = send(pipe->plain_fd, pipe->to_plain.data, pipe->to_plain.len,
			MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
		buf_consume(&pipe->to_plain, (size_t)n);
	}
	return 0;
}

static int pipe_on_decrypted(struct ws_tls_pipe *pipe, const void *bytes, size_t len)
{
	if (!pipe->heard) /* the library's time for a handshake; it would end every session */
		lws_set_timeout(pipe->link.wsi, NO_PENDING_TIMEOUT, 0);
	pipe->heard = true;
	if (buf_append(&pipe->to_plain, bytes, len) < 0 || flush_to_plain(pipe) < 0)
		return -1;
	if (pipe->to_plain.len > 0)
		lws_rx_flow_control(pipe->link.wsi, 0);
	update_poll(pipe, true);
	return 0;
}

/* ---- and back ---- */

static int pipe_on_writable(struct ws_tls_pipe *pipe)
{
	if (lws_partial_buffered(pipe->link.wsi)) {
		lws_callback_on_writable(pipe->link.wsi);
		return 0;
	}
	uint8_t *bytes = pipe->server->context->write_buffer + LWS_PRE;
	ssize_t n = recv(pipe->plain_fd, bytes, READ_BYTES, MSG_DONTWAIT);
	if (n == 0)
		return -1; /* all is sent, and there will be no more */
	if (n < 0) {
		update_poll(pipe, true);
		return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
	}
	if (lws_write(pipe->link.wsi, bytes, (size_t)n, LWS_WRITE_RAW) < (int)n)
		return -1;
	lws_callback_on_writable(pipe->link.wsi);
	return 0;
}

static void pipe_on_poll(uv_poll_t *handle, int status, int events)
{
	struct ws_tls_pipe *pipe = handle->data;
	if (status < 0 || ((events & UV_WRITABLE) != 0 && flush_to_plain(pipe) < 0)) {
		ws_tls_pipe_abort(pipe);
		return;
	}
	if ((events & UV_WRITABLE) != 0 && pipe->to_plain.len == 0) {
		lws_rx_flow_control(pipe->link.wsi, 1);
		/* What was read ahead is only looked at when the library runs. */
		lws_cancel_service(pipe->server->context->lws);
	}
	if ((events & UV_READABLE) != 0) {
		lws_callback_on_writable(pipe->link.wsi);
		update_poll(pipe, false); /* until that has been taken */
	} else if ((events & UV_DISCONNECT) != 0) {
		ws_tls_pipe_abort(pipe);
	} else {
		update_poll(pipe, true);
	}
}

/* ---- events of the TLS connection ---- */

static int pipe_on_event(
	struct ws_link *link, enum lws_callback_reasons reason, void *in, size_t len)
{
	struct ws_tls_pipe *pipe = (struct ws_tls_pipe *)link;
	switch (reason) {
	case LWS_CALLBACK_RAW_RX:
		return pipe->aborted ? -1 : pipe_on_decrypted(pipe, in, len);
	case LWS_CALLBACK_RAW_WRITEABLE:
		return pipe->aborted ? -1 : pipe_on_writable(pipe);
	case LWS_CALLBACK_RAW_CLOSE:
		uv_poll_stop(&pipe->poll);
		return 0;
	default:
		return 0;
	}
}

static void pipe_on_poll_closed(uv_handle_t *handle)
{
	struct ws_tls_pipe *pipe = handle->data;
	struct ws_server *server = pipe->server;
	fd_close(pipe->plain_fd);
	buf_free(&pipe->to_plain);
	free(pipe);
	ws_server_pipe_ended(server);
	ws_server_handle_closed(server);
}

static void pipe_on_destroyed(struct ws_link *link)
{
	struct ws_tls_pipe *pipe = (struct ws_tls_pipe *)link;
	DL_DELETE(pipe->server->pipes, pipe);
	uv_close((uv_handle_t *)&pipe->poll, pipe_on_poll_closed);
}

void ws_tls_pipe_abort(struct ws_tls_pipe *pipe)
{
	if (pipe->aborted)
		return;
	pipe->aborted = true;
	uv_poll_stop(&pipe->poll);
	ws_link_abort(&pipe->link);
}

/* ---- starting ---- */

static struct ws_tls_pipe *pipe_new(struct ws_server *server, int plain_fd)
{
	struct ws_tls_pipe *pipe = calloc(1, sizeof(*pipe));
	if (pipe == NULL || uv_poll_init(server->context->loop, &pipe->poll, plain_fd) < 0) {
		free(pipe);
		return NULL;
	}
	pipe->link.on_event = pipe_on_event;
	pipe->link.on_destroyed = pipe_on_destroyed;
	pipe->server = server;
	pipe->plain_fd = plain_fd;
	pipe->poll.data = pipe;
	buf_init(&pipe->to_plain, PENDING_BYTES_MAX);
	DL_APPEND(server->pipes, pipe);
	server->handles++;
	return pipe;
}

/*
 * The library reports a new TLS connection with the event that belongs to its role, so the pipe is
 * attached through the opaque pointer, which this way of adopting can be given.
 */
static void adopt(struct ws_tls_pipe *pipe, int fd)
{
	struct ws_context *context = pipe->server->context;
	lws_adopt_desc_t info = {
		.vh = pipe->server->tls_vhost,
		.type = LWS_ADOPT_SOCKET | LWS_ADOPT_ALLOW_SSL,
		.fd.sockfd = fd,
		.vh_prot_name = ws_raw_protocol_name,
		.opaque = &pipe->link,
	};
	context->links++;
	/* Failing after its first event, it ends like any other; before, nobody else will say so.
	 */
	if (lws_adopt_descriptor_vhost_via_info(&info) == NULL && pipe->link.wsi == NULL) {
		context->links--;
		pipe_on_destroyed(&pipe->link);
	}
}

int ws_tls_pipe_start(struct ws_server *server, int fd, int *plain_fd)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		int r = -errno;
		fd_close(fd);
		return r;
	}
	struct ws_tls_pipe *pipe = pipe_new(server, pair[1]);
	if (pipe == NULL) {
		fd_close(fd);
		fd_close(pair[0]);
		fd_close(pair[1]);
		return -ENOMEM;
	}
	update_poll(pipe, false);
	*plain_fd = pair[0];
	adopt(pipe, fd);
	return 0;
}
