/*
 * What tests of proto/ws stand on: a loop that never waits for long, libwebsockets' context on it,
 * a server, and listening sockets. Everything fails the test that calls it.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/base/clock.h"
#include "proto/ws/ws_server.h"

enum { WS_FIXTURE_DEADLINE_S = 60 };

struct ws_fixture {
	uv_loop_t loop;
	uv_timer_t wake; /* so that a wait for nothing ends */
	unsigned int wakes;
	struct ws_context *context;
	struct ws_server *server;
};

void ws_fixture_open(struct ws_fixture *fixture, const struct ws_context_config *config);
/* `handler` is called with the server; its owner is `owner`. */
void ws_fixture_serve(struct ws_fixture *fixture, const struct ws_server_config *config,
	const struct ws_server_handler *handler, void *owner);
/* Closes all of it; every callback that is still due is called before it returns. */
void ws_fixture_close(struct ws_fixture *fixture);

/* For handlers: nothing is to be done; nothing may fail. */
void ws_fixture_on_gone(struct ws_server *server, struct ws_exchange *exchange);
void ws_fixture_on_error(struct ws_server *server, int error);

/* A TCP socket on the loopback, and its port. */
int ws_fixture_listen(uint16_t *port);

/* Runs the loop of `f`, whose member `ws` is the fixture, until the condition holds. */
#define WAIT_UNTIL(f, condition) \
	do { \
		uint64_t end_ = clock_monotonic_ns() + WS_FIXTURE_DEADLINE_S * NS_PER_S; \
		while (!(condition)) { \
			if (clock_monotonic_ns() > end_) \
				fail_msg( \
					"not within %d s: %s", WS_FIXTURE_DEADLINE_S, #condition); \
			uv_run(&(f)->ws.loop, UV_RUN_ONCE); \
		} \
	} while (0)
