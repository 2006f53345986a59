/* A session's peer that has room again, or none for what a full queue refused before. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wsgate/session_private.h"

/* The linker leads session.c's calls here (--wrap). */
struct ws_peer {
	const struct ws_peer_handler *handler;
	struct session *session;
	int answer; /* to what is sent */
	unsigned int sent, aborted, resumed;
};
static struct ws_peer the_peer;

int __wrap_ws_exchange_upgrade(struct ws_exchange *exchange, const char *subprotocol,
	const struct ws_peer_handler *handler, void *owner, struct ws_peer **out);
const struct ws_request *__wrap_ws_exchange_request(const struct ws_exchange *exchange);
const char *__wrap_ws_request_subprotocol(const struct ws_request *request, size_t index);
void *__wrap_ws_peer_owner(const struct ws_peer *peer);
int __wrap_ws_peer_send(struct ws_peer *peer, struct ws_frames *frames);
void __wrap_ws_peer_abort(struct ws_peer *peer);
bool __wrap_ws_peer_is_congested(struct ws_peer *peer);
void __wrap_tail_resume(struct tail *tail);

int __wrap_ws_exchange_upgrade(struct ws_exchange *exchange, const char *subprotocol,
	const struct ws_peer_handler *handler, void *owner, struct ws_peer **out)
{
	(void)exchange, (void)subprotocol;
	the_peer = (struct ws_peer){.handler = handler, .session = owner};
	*out = &the_peer;
	return 0;
}

const struct ws_request *__wrap_ws_exchange_request(const struct ws_exchange *exchange)
{
	(void)exchange;
	return NULL;
}

const char *__wrap_ws_request_subprotocol(const struct ws_request *request, size_t index)
{
	(void)request, (void)index;
	return NULL;
}

void *__wrap_ws_peer_owner(const struct ws_peer *peer)
{
	return peer->session;
}

int __wrap_ws_peer_send(struct ws_peer *peer, struct ws_frames *frames)
{
	assert_non_null(frames);
	peer->sent++;
	return peer->answer;
}

void __wrap_ws_peer_abort(struct ws_peer *peer)
{
	peer->aborted++;
}

bool __wrap_ws_peer_is_congested(struct ws_peer *peer)
{
	(void)peer;
	return false;
}

void __wrap_tail_resume(struct tail *tail)
{
	(void)tail;
	the_peer.resumed++;
}

/* A session with something unsent, whose peer says that it has room. */
static void offer_room(struct session *session, int answer)
{
	static struct gate gate;
	*session = (struct session){.gate = &gate, .tail_is_usable = true};
	assert_true(session_upgrade(session));
	session->unsent = ws_frames_new(16);
	assert_non_null(session->unsent);
	the_peer.answer = answer;
	the_peer.handler->on_writable(&the_peer);
	assert_int_equal(the_peer.sent, 1);
}

static void what_was_refused_goes_first_and_then_reading_goes_on(void **state)
{
	(void)state;
	struct session session;
	offer_room(&session, WS_SENT);
	assert_null(session.unsent);
	assert_int_equal(the_peer.resumed, 1);
	assert_int_equal(the_peer.aborted, 0);
	output_free(&session.output);
}

static void what_is_refused_again_waits(void **state)
{
	(void)state;
	struct session session;
	offer_room(&session, WS_FULL);
	assert_non_null(session.unsent);
	assert_int_equal(the_peer.resumed, 0);
	assert_int_equal(the_peer.aborted, 0);
	ws_frames_unref(session.unsent);
	output_free(&session.output);
}

static void what_finds_no_memory_ends_the_peer_instead_of_making_a_hole(void **state)
{
	(void)state;
	struct session session;
	offer_room(&session, -ENOMEM);
	assert_int_equal(the_peer.aborted, 1);
	assert_int_equal(the_peer.resumed, 0);
	assert_null(session.unsent);
	output_free(&session.output);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_refused_goes_first_and_then_reading_goes_on),
		cmocka_unit_test(what_is_refused_again_waits),
		cmocka_unit_test(what_finds_no_memory_ends_the_peer_instead_of_making_a_hole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
