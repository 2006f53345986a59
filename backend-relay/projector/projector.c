#include "backend-relay/projector/projector.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "backend-relay/projector/link.h"
#include "backend-relay/projector/projector_private.h"
#include "proto/base/clock.h"
#include "proto/base/journal.h"
#include "proto/limits.h"

enum {
	BACKOFF_BASE_MS = 50,
	BACKOFF_CAP_MS = 2000,
	STABLE_AFTER_MS = 5000, /* what lived this long, or gave a verdict, was good */
	TICK_MS = 50,
	KEEP_BUFFER_BYTES = 512 * 1024,
	TICKET_SERIES_SHIFT = 32,
};

enum projector_state {
	PROJECTOR_WAITING, /* for the next attempt */
	PROJECTOR_GREETING,
	PROJECTOR_UP,
	PROJECTOR_CLOSED,
};

struct projector {
	struct projector_config config;
	enum projector_state state;
	struct link *link;
	struct buf out;
	struct backoff backoff;
	uv_timer_t timer;
	uint64_t next_attempt_ns, last_answer_ns, up_ns, next_id, next_series;
	bool has_failed; /* since it was up */
	struct wakeup pump;
	struct pass_list passes;
	struct request_list requests; /* sent and not answered, oldest first */
	TAILQ_HEAD(, authorization) unsent;
	struct blame blame;
	struct projector_counters counters;
	struct journal_limit log_limit;
};

/* ---- losing projection ---- */

static void log_down(struct projector *projector, const char *why)
{
	unsigned int suppressed;
	if (journal_limit_pass(&projector->log_limit, clock_monotonic_ns(), &suppressed))
		journal(LOG_WARNING, "projection: %s; delivering nothing, connecting again", why);
}

/*
 * The pass whose event is to blame: when no other event was under way. What else was asked behind
 * it had not been looked at, since answers come in order.
 */
static struct pass *find_killer(const struct projector *projector)
{
	const struct request *oldest = TAILQ_FIRST(&projector->requests), *other;
	if (oldest == NULL || oldest->kind != REQUEST_PROJECT || !oldest->alone ||
		oldest->count != 1)
		return NULL;
	for (other = TAILQ_NEXT(oldest, link); other != NULL; other = TAILQ_NEXT(other, link)) {
		if (other->kind == REQUEST_PROJECT)
			return NULL;
	}
	return oldest->pass;
}

static void forget_requests(struct projector *projector)
{
	struct request *request;
	while ((request = TAILQ_FIRST(&projector->requests)) != NULL) {
		TAILQ_REMOVE(&projector->requests, request, link);
		if (request->authorization != NULL)
			authorization_end(request->authorization, AUTHORIZATION_UNAVAILABLE);
		free(request);
	}
	struct authorization *authorization;
	while ((authorization = TAILQ_FIRST(&projector->unsent)) != NULL) {
		TAILQ_REMOVE(&projector->unsent, authorization, link);
		authorization_end(authorization, AUTHORIZATION_UNAVAILABLE);
	}
}

static void projector_on_tick(uv_timer_t *handle);

/* The clock runs only while something is waited for. */
static void start_tick(struct projector *projector)
{
	if (!uv_is_active((uv_handle_t *)&projector->timer))
		uv_timer_start(&projector->timer, projector_on_tick, TICK_MS, TICK_MS);
}

static void projector_fail(struct projector *projector, const char *why)
{
	uint64_t now_ns = clock_monotonic_ns();
	if (projector->state == PROJECTOR_UP)
		projector->counters.deaths++;
	if (projector->state == PROJECTOR_UP &&
		now_ns - projector->up_ns > STABLE_AFTER_MS * NS_PER_MS)
		backoff_reset(&projector->backoff);
	log_down(projector, why);
	struct pass *killer = find_killer(projector), *pass;
	if (killer != NULL)
		pass_blame_first(killer, now_ns);
	projector->state = PROJECTOR_WAITING;
	projector->has_failed = true;
	projector->next_attempt_ns = now_ns + NS_PER_MS * backoff_next_ms(&projector->backoff,
								  randombytes_random());
	link_close(projector->link);
	projector->link = NULL;
	TAILQ_FOREACH(pass, &projector->passes, link)
	pass_on_projection_gone(pass, now_ns);
	start_tick(projector);
	forget_requests(projector);
}

/* ---- answers ---- */

static void send_close_pass(struct projector *projector, uint64_t pass_id)
{
	struct message_writer writer;
	buf_reset(&projector->out, KEEP_BUFFER_BYTES);
	message_begin(&writer, &projector->out, MESSAGE_CLOSE_PASS);
	write_u64(&writer, pass_id);
	if (message_end(&writer) < 0 || !link_send(projector->link, &projector->out))
		journal(LOG_WARNING, "projection keeps a pass that is closed: out of memory");
}

bool projector_read_verdict(const msgpack_object *field, bool *allow)
{
	const char *text;
	size_t len;
	if (!field_text(field, &text, &len, NAME_BYTES_MAX))
		return false;
	*allow = len == strlen("allow") && memcmp(text, "allow", len) == 0;
	return *allow || (len == strlen("deny") && memcmp(text, "deny", len) == 0);
}

static const char *on_authorization(struct request *request, const struct message *message)
{
	bool allow;
	if (!projector_read_verdict(&message->field[1], &allow))
		return "a malformed VERDICT";
	if (request->authorization != NULL)
		authorization_end(
			request->authorization, allow ? AUTHORIZATION_ALLOW : AUTHORIZATION_DENY);
	return NULL;
}

static const char *on_pass(
	struct projector *projector, struct request *request, const struct message *message)
{
	if (request->pass != NULL)
		return pass_on_projection_opened(request->pass, message) ? NULL
									 : "a malformed PASS";
	/* Closed while it was being opened. */
	bool allow;
	if (!projector_read_verdict(&message->field[1], &allow))
		return "a malformed PASS";
	if (allow)
		send_close_pass(projector, request->id);
	return NULL;
}

static const char *on_answer(
	struct projector *projector, struct request *request, const struct message *message)
{
	switch (request->kind) {
	case REQUEST_OPEN_PASS:
		return on_pass(projector, request, message);
	case REQUEST_PROJECT:
		return request->pass == NULL ||
				       pass_on_projection_verdicts(request->pass, request, message)
			       ? NULL
			       : "verdicts that do not fit the request";
	case REQUEST_AUTHORIZE:
		return on_authorization(request, message);
	}
	return NULL;
}

/* Answers come in the order of the requests: it must be for the oldest. */
static const char *projector_on_answer(void *owner, const struct message *message)
{
	struct projector *projector = owner;
	static const enum message_type expected[] = {
		[REQUEST_OPEN_PASS] = MESSAGE_PASS,
		[REQUEST_PROJECT] = MESSAGE_PROJECTED,
		[REQUEST_AUTHORIZE] = MESSAGE_VERDICT,
	};
	struct request *request = TAILQ_FIRST(&projector->requests);
	uint64_t id;
	if (request == NULL || message->type != expected[request->kind] ||
		!field_u64(&message->field[0], &id) || id != request->id)
		return "an answer out of order";
	const char *why = on_answer(projector, request, message);
	if (why != NULL)
		return why;
	projector->last_answer_ns = clock_monotonic_ns();
	if (request->kind == REQUEST_PROJECT)
		backoff_reset(&projector->backoff);
	TAILQ_REMOVE(&projector->requests, request, link);
	free(request);
	projector_pump_soon(projector);
	return NULL;
}

/* ---- the connection ---- */

static void projector_on_up(void *owner)
{
	struct projector *projector = owner;
	projector->state = PROJECTOR_UP;
	projector->up_ns = clock_monotonic_ns();
	projector->has_failed = false;
	projector->counters.connects++;
	projector_pump_soon(projector);
}

static void projector_on_drained(void *owner)
{
	projector_pump_soon(owner);
}

static void projector_on_end(void *owner, const char *why)
{
	projector_fail(owner, why);
}

static const struct link_handler link_handler = {
	projector_on_up, projector_on_answer, projector_on_drained, projector_on_end};

static void projector_connect(struct projector *projector)
{
	int r = link_open(&projector->link, projector->config.loop, projector->config.socket_path,
		&link_handler, projector);
	if (r < 0) {
		projector_fail(projector, strerror(-r));
		return;
	}
	projector->state = PROJECTOR_GREETING;
	projector->last_answer_ns = clock_monotonic_ns();
}

/* ---- requests ---- */

static bool send_request(
	struct projector *projector, const struct request *from, const struct buf *frame)
{
	struct request *request = malloc(sizeof(*request));
	if (request == NULL) {
		projector_fail(projector, "out of memory");
		return false;
	}
	*request = *from;
	if (TAILQ_EMPTY(&projector->requests))
		projector->last_answer_ns = clock_monotonic_ns();
	start_tick(projector);
	TAILQ_INSERT_TAIL(&projector->requests, request, link);
	if (request->authorization != NULL)
		request->authorization->request = request;
	if (link_send(projector->link, frame))
		return true;
	/* The queue's cap is above what is let in: only memory can be short. */
	projector_fail(projector, "out of memory");
	return false;
}

static bool send_open_pass(struct projector *projector, struct pass *pass)
{
	struct message_writer writer;
	buf_reset(&projector->out, KEEP_BUFFER_BYTES);
	pass->pass_id = projector->next_id++;
	message_begin(&writer, &projector->out, MESSAGE_OPEN_PASS);
	write_u64(&writer, pass->pass_id);
	write_text(&writer, pass->role.text);
	write_text(&writer, pass->runtime_id.text);
	write_text(&writer, pass->worker_id.text);
	if (message_end(&writer) < 0) {
		projector_fail(projector, "out of memory");
		return false;
	}
	pass->state = PASS_OPENING;
	const struct request request = {
		.kind = REQUEST_OPEN_PASS, .pass = pass, .id = pass->pass_id};
	return send_request(projector, &request, &projector->out);
}

static bool send_authorize(struct projector *projector, struct authorization *authorization)
{
	const struct request request = {.kind = REQUEST_AUTHORIZE,
		.authorization = authorization,
		.id = projector->next_id++};
	buf_reset(&projector->out, KEEP_BUFFER_BYTES);
	if (authorization_write(authorization, request.id, &projector->out) < 0) {
		projector_fail(projector, "out of memory");
		return false;
	}
	TAILQ_REMOVE(&projector->unsent, authorization, link);
	return send_request(projector, &request, &projector->out);
}

static bool send_project(struct projector *projector, struct pass *pass, uint32_t max_events)
{
	buf_reset(&projector->out, KEEP_BUFFER_BYTES);
	int count = pass_write_project(pass, &projector->out, max_events);
	if (count < 0) {
		projector_fail(projector, strerror(-count));
		return false;
	}
	if (count == 0)
		return true;
	const struct request request = {.kind = REQUEST_PROJECT,
		.pass = pass,
		.id = pass->pass_id,
		.count = (uint32_t)count,
		.alone = TAILQ_EMPTY(&projector->requests)};
	return send_request(projector, &request, &projector->out);
}

enum suspicion {
	SUSPECTS_NONE,
	SUSPECTS_UNDER_WAY, /* one event; no other may follow it */
	SUSPECTS_WAITING,   /* until nothing is under way */
};

static enum suspicion pump_suspects(struct projector *projector, uint64_t now_ns)
{
	const struct request *oldest = TAILQ_FIRST(&projector->requests);
	if (oldest != NULL && oldest->is_suspect)
		return SUSPECTS_UNDER_WAY;
	struct pass *pass;
	TAILQ_FOREACH(pass, &projector->passes, link)
	{
		if (!pass_is_suspect(pass, now_ns))
			continue;
		if (oldest != NULL || !send_project(projector, pass, 1))
			return SUSPECTS_WAITING;
		TAILQ_FIRST(&projector->requests)->is_suspect = true;
		return SUSPECTS_UNDER_WAY;
	}
	return SUSPECTS_NONE;
}

static bool pump_opens(struct projector *projector)
{
	struct pass *pass;
	TAILQ_FOREACH(pass, &projector->passes, link)
	{
		if (pass->state == PASS_CLOSED && !send_open_pass(projector, pass))
			return false;
	}
	struct authorization *authorization;
	while ((authorization = TAILQ_FIRST(&projector->unsent)) != NULL) {
		if (!send_authorize(projector, authorization))
			return false;
	}
	return true;
}

/* One batch of each pass in turn, as long as the socket's queue has room. */
static void pump_events(struct projector *projector, uint64_t now_ns)
{
	bool progress = true;
	while (progress && link_has_room(projector->link)) {
		progress = false;
		struct pass *pass, *next;
		for (pass = TAILQ_FIRST(&projector->passes); pass != NULL; pass = next) {
			next = TAILQ_NEXT(pass, link);
			if (!pass_wants_to_send(pass, now_ns))
				continue;
			if (!send_project(projector, pass, BATCH_EVENTS))
				return;
			progress = true;
			if (!link_has_room(projector->link))
				break;
		}
	}
}

static void projector_pump(struct wakeup *wakeup)
{
	struct projector *projector = wakeup->owner;
	uint64_t now_ns = clock_monotonic_ns();
	if (projector->state != PROJECTOR_UP)
		return;
	enum suspicion suspicion = pump_suspects(projector, now_ns);
	if (suspicion != SUSPECTS_WAITING && pump_opens(projector) && suspicion == SUSPECTS_NONE)
		pump_events(projector, now_ns);
}

void projector_pump_soon(struct projector *projector)
{
	if (projector->state == PROJECTOR_UP)
		wakeup_schedule(&projector->pump);
}

/* ---- time ---- */

static void projector_on_tick(uv_timer_t *handle)
{
	struct projector *projector = handle->data;
	uint64_t now_ns = clock_monotonic_ns();
	if (projector->state == PROJECTOR_WAITING) {
		if (now_ns >= projector->next_attempt_ns)
			projector_connect(projector);
		return;
	}
	bool is_waiting = projector->state == PROJECTOR_GREETING ||
			  !TAILQ_EMPTY(&projector->requests);
	if (is_waiting &&
		now_ns - projector->last_answer_ns > projector->config.timeout_ms * NS_PER_MS) {
		projector_fail(projector, "no answer in time");
		return;
	}
	bool is_holding = false;
	struct pass *pass;
	TAILQ_FOREACH(pass, &projector->passes, link)
	is_holding |= pass->held_until_ns != 0;
	if (is_holding)
		projector_pump_soon(projector);
	else if (!is_waiting)
		uv_timer_stop(&projector->timer);
}

int projector_open(struct projector **out, const struct projector_config *config)
{
	struct projector *projector = calloc(1, sizeof(*projector));
	if (projector == NULL)
		return -ENOMEM;
	projector->config = *config;
	projector->next_id = projector->next_series = 1;
	projector->backoff = (struct backoff){.base_ms = BACKOFF_BASE_MS, .cap_ms = BACKOFF_CAP_MS};
	projector->log_limit = (struct journal_limit){.interval_ns = 10 * NS_PER_S, .burst = 5};
	TAILQ_INIT(&projector->passes);
	TAILQ_INIT(&projector->requests);
	TAILQ_INIT(&projector->unsent);
	wakeup_init(&projector->pump, config->wakeups, projector_pump, projector);
	uv_timer_init(config->loop, &projector->timer);
	projector->timer.data = projector;
	uv_timer_start(&projector->timer, projector_on_tick, 0, TICK_MS);
	*out = projector;
	return 0;
}

static void projector_on_timer_closed(uv_handle_t *handle)
{
	struct projector *projector = handle->data;
	buf_free(&projector->out);
	free(projector);
}

void projector_close(struct projector *projector)
{
	if (projector == NULL)
		return;
	assert(TAILQ_EMPTY(&projector->passes));
	projector->state = PROJECTOR_CLOSED;
	wakeup_cancel(&projector->pump);
	link_close(projector->link);
	projector->link = NULL;
	forget_requests(projector);
	uv_close((uv_handle_t *)&projector->timer, projector_on_timer_closed);
}

bool projector_is_up(const struct projector *projector)
{
	return !projector->has_failed;
}

const struct projector_counters *projector_counters(const struct projector *projector)
{
	return &projector->counters;
}

/* ---- for passes ---- */

void projector_add_pass(struct projector *projector, struct pass *pass)
{
	TAILQ_INSERT_TAIL(&projector->passes, pass, link);
	projector->counters.passes_open++;
	projector_pump_soon(projector);
}

void projector_remove_pass(struct projector *projector, struct pass *pass)
{
	TAILQ_REMOVE(&projector->passes, pass, link);
	projector->counters.passes_open--;
	struct request *request;
	TAILQ_FOREACH(request, &projector->requests, link)
	{
		if (request->pass == pass)
			request->pass = NULL;
	}
	if (projector->state == PROJECTOR_UP && pass->is_known)
		send_close_pass(projector, pass->pass_id);
}

uint64_t projector_first_ticket(struct projector *projector)
{
	return projector->next_series++ << TICKET_SERIES_SHIFT;
}

struct projector_counters *projector_count(struct projector *projector)
{
	return &projector->counters;
}

struct blame *projector_blame(struct projector *projector)
{
	return &projector->blame;
}

const struct projector_config *projector_config(const struct projector *projector)
{
	return &projector->config;
}

/* ---- for authorizations ---- */

void projector_add_authorization(struct projector *projector, struct authorization *authorization)
{
	TAILQ_INSERT_TAIL(&projector->unsent, authorization, link);
	projector_pump_soon(projector);
}

void projector_remove_authorization(
	struct projector *projector, struct authorization *authorization)
{
	if (authorization->request != NULL)
		authorization->request->authorization = NULL; /* the answer is dropped */
	else
		TAILQ_REMOVE(&projector->unsent, authorization, link);
}
