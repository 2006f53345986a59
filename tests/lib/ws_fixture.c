#include "tests/lib/ws_fixture.h"

#include <netinet/in.h>
#include <sys/socket.h>

enum { WAKE_MS = 20, BACKLOG = 16 };

static void on_wake(uv_timer_t *timer)
{
	((struct ws_fixture *)timer->data)->wakes++;
}

void ws_fixture_open(struct ws_fixture *fixture, const struct ws_context_config *config)
{
	*fixture = (struct ws_fixture){0};
	assert_int_equal(uv_loop_init(&fixture->loop), 0);
	uv_timer_init(&fixture->loop, &fixture->wake);
	fixture->wake.data = fixture;
	uv_timer_start(&fixture->wake, on_wake, WAKE_MS, WAKE_MS);
	assert_int_equal(ws_context_open(&fixture->context, &fixture->loop, config), 0);
}

void ws_fixture_serve(struct ws_fixture *fixture, const struct ws_server_config *config,
	const struct ws_server_handler *handler, void *owner)
{
	assert_true(config->fd >= 0);
	assert_int_equal(
		ws_server_open(&fixture->server, fixture->context, config, handler, owner), 0);
}

void ws_fixture_close(struct ws_fixture *fixture)
{
	ws_server_close(fixture->server);
	ws_context_close(fixture->context);
	uv_close((uv_handle_t *)&fixture->wake, NULL);
	uv_run(&fixture->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&fixture->loop), 0);
	ws_context_free(fixture->context);
}

void ws_fixture_on_gone(struct ws_server *server, struct ws_exchange *exchange)
{
	(void)server;
	(void)exchange;
}

void ws_fixture_on_error(struct ws_server *server, int error)
{
	(void)server;
	fail_msg("accepting failed with %d", error);
}

int ws_fixture_listen(uint16_t *port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(fd, BACKLOG), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	*port = ntohs(address.sin_port);
	return fd;
}
