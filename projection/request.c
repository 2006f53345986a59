/* What a relay asks; each handler answers NULL, or why its connection can't go on. */
#include <stdlib.h>
#include <string.h>

#include "projection/relay_private.h"
#include "proto/base/clock.h"
#include "proto/ids.h"
#include "proto/limits.h"

enum { ANSWER_SLACK_BYTES = 64 }; /* more than ticket, verdict and open_since take */

static const char *relay_on_hello(struct relay *relay, const struct message *message)
{
	uint64_t version;
	const char *name;
	size_t len;
	if (relay->greeted)
		return "a second HELLO";
	if (!field_u64(&message->field[0], &version) || version != PROTOCOL_VERSION)
		return "another protocol version";
	if (!field_text(&message->field[1], &name, &len, NAME_BYTES_MAX))
		return "HELLO without a name";
	relay->greeted = true;
	struct message_writer writer;
	relay_begin_reply(relay, &writer, MESSAGE_WELCOME);
	write_u64(&writer, PROTOCOL_VERSION);
	write_map(&writer, 2);
	write_text(&writer, "max_event_bytes");
	write_u64(&writer, EVENT_BYTES_MAX);
	write_text(&writer, "max_passes");
	write_u64(&writer, PASSES_MAX);
	return relay_send_reply(relay, &writer);
}

/* Who asks about what: three fields, role first. */
struct subject {
	const struct policy_role *role; /* NULL: not in the policy */
	struct id runtime_id;
	struct id worker_id; /* empty: of AUTHORIZE alone, about the runtime as a whole */
};

static bool read_runtime(
	const struct relay_server *server, const msgpack_object *field, struct subject *subject)
{
	const char *role, *runtime_id;
	size_t role_len, runtime_len;
	*subject = (struct subject){0};
	if (!field_text(&field[0], &role, &role_len, NAME_BYTES_MAX) ||
		!field_text(&field[1], &runtime_id, &runtime_len, ID_BYTES_MAX))
		return false;
	subject->role = policy_find_role(server->policy, role, role_len);
	return id_set(&subject->runtime_id, runtime_id, runtime_len);
}

static bool read_subject(
	const struct relay_server *server, const msgpack_object *field, struct subject *subject)
{
	const char *worker_id;
	size_t len;
	return read_runtime(server, field, subject) &&
	       field_text(&field[2], &worker_id, &len, ID_BYTES_MAX) &&
	       id_set(&subject->worker_id, worker_id, len);
}

static struct pass *find_pass(struct relay *relay, uint64_t id)
{
	struct pass *pass;
	HASH_FIND(hh, relay->passes, &id, sizeof(id), pass);
	return pass;
}

void relay_forget_pass(struct relay *relay, struct pass *pass)
{
	HASH_DEL(relay->passes, pass);
	open_blocks_free(&pass->blocks);
	free(pass);
}

static const char *add_pass(struct relay *relay, uint64_t id, struct rules *rules)
{
	if (HASH_COUNT(relay->passes) >= PASSES_MAX)
		return "too many passes";
	struct pass *pass = calloc(1, sizeof(*pass));
	if (pass == NULL)
		return "no memory for a pass";
	pass->id = id;
	pass->rules = rules;
	HASH_ADD(hh, relay->passes, id, sizeof(pass->id), pass);
	if (map_has_handle(pass))
		return NULL;
	free(pass);
	return "no memory for a pass";
}

static const char *relay_on_open_pass(struct relay *relay, const struct message *message)
{
	struct relay_server *server = relay->server;
	struct subject subject;
	uint64_t id;
	if (!field_u64(&message->field[0], &id) ||
		!read_subject(server, &message->field[1], &subject))
		return "a malformed OPEN_PASS";
	if (find_pass(relay, id) != NULL)
		return "OPEN_PASS of a pass that is open";
	bool allowed = policy_may_observe(
		subject.role, subject.runtime_id.text, subject.worker_id.text);
	uint8_t revision[VIEW_REVISION_BYTES];
	if (allowed) {
		struct rules *rules = server->rules[subject.role - server->policy->role];
		const char *why = add_pass(relay, id, rules);
		if (why != NULL)
			return why;
		rules_view_revision(
			rules, subject.runtime_id.text, subject.worker_id.text, revision);
		server->counters.passes++;
	} else {
		server->counters.denied_passes++;
	}
	struct message_writer writer;
	relay_begin_reply(relay, &writer, MESSAGE_PASS);
	write_u64(&writer, id);
	write_text(&writer, allowed ? "allow" : "deny");
	if (allowed)
		write_bin(&writer, revision, sizeof(revision));
	else
		write_nil(&writer);
	return relay_send_reply(relay, &writer);
}

static const char *relay_on_close_pass(struct relay *relay, const struct message *message)
{
	uint64_t id;
	if (!field_u64(&message->field[0], &id))
		return "a malformed CLOSE_PASS";
	struct pass *pass = find_pass(relay, id);
	if (pass == NULL)
		return "CLOSE_PASS of a pass that is not open";
	relay_forget_pass(relay, pass);
	return NULL;
}

static void log_refusal(struct relay_server *server, int error)
{
	unsigned int suppressed;
	if (!journal_limit_pass(&server->refusals, clock_monotonic_ns(), &suppressed))
		return;
	if (error < 0)
		journal(LOG_ERR, "an event could not be judged: %s (%u more not logged)",
			strerror(-error), suppressed);
	else
		journal(LOG_WARNING, "an event was refused: %s, at byte %zu (%u more not logged)",
			server->engine.refusal.reason, server->engine.refusal.offset, suppressed);
}

static enum verdict project(struct relay_server *server, struct pass *pass, uint64_t ticket,
	const uint8_t *payload, size_t len, const uint8_t **out, size_t *out_len)
{
	int r = VERDICT_REFUSED;
	if (len > EVENT_BYTES_MAX)
		server->engine.refusal = (struct json_error){
			EVENT_BYTES_MAX, "longer than any event"};
	else
		r = engine_project_next(&server->engine, pass->rules, &pass->blocks, ticket,
			payload, len, out, out_len);
	if (r < 0 || r == VERDICT_REFUSED)
		log_refusal(server, r);
	return r < 0 ? VERDICT_REFUSED : (enum verdict)r;
}

/* One [ticket, warm, payload], answered by one [ticket, verdict, payload or nil, open_since
 * or nil]. */
static bool answer_event(struct relay_server *server, struct pass *pass,
	const msgpack_object *event, size_t reserve, struct message_writer *writer)
{
	const msgpack_object *field;
	uint32_t count;
	uint64_t ticket;
	bool warm;
	const uint8_t *payload, *out = NULL;
	size_t len, out_len = 0;
	if (!field_array(event, &field, &count) || count != 3 || !field_u64(&field[0], &ticket) ||
		!field_bool(&field[1], &warm) || !field_bytes(&field[2], &payload, &len))
		return false;
	enum verdict verdict = project(server, pass, ticket, payload, len, &out, &out_len);
	/* Events that are answered together must fit one frame together. */
	if (verdict == VERDICT_REWRITE && !warm &&
		server->reply.len + out_len + reserve > FRAME_BYTES_MAX)
		verdict = VERDICT_REFUSED;
	server->counters.by_verdict[verdict]++;
	write_array(writer, 4);
	write_u64(writer, ticket);
	write_text(writer, verdict_name(verdict));
	if (verdict == VERDICT_REWRITE && !warm)
		write_bin(writer, out, out_len);
	else
		write_nil(writer);
	uint64_t open_since;
	if (open_blocks_since(&pass->blocks, &open_since))
		write_u64(writer, open_since);
	else
		write_nil(writer);
	return true;
}

static const char *relay_on_project(struct relay *relay, const struct message *message)
{
	static const char malformed[] = "a malformed PROJECT";
	uint64_t id;
	const msgpack_object *events;
	uint32_t count;
	if (!field_u64(&message->field[0], &id) ||
		!field_array(&message->field[1], &events, &count) || count > BATCH_EVENTS_MAX)
		return malformed;
	struct pass *pass = find_pass(relay, id);
	if (pass == NULL)
		return "PROJECT for a pass that is not open";
	struct message_writer writer;
	relay_begin_reply(relay, &writer, MESSAGE_PROJECTED);
	write_u64(&writer, id);
	write_array(&writer, count);
	for (uint32_t i = 0; i < count; i++) {
		size_t reserve = (size_t)(count - i) * ANSWER_SLACK_BYTES;
		if (!answer_event(relay->server, pass, &events[i], reserve, &writer))
			return malformed;
	}
	return relay_send_reply(relay, &writer);
}

/* A worker id that is nil asks about the runtime as a whole, which can only be observed. */
static bool read_authorize(
	const struct relay_server *server, const struct message *message, bool *allowed)
{
	struct subject subject;
	const char *operation;
	size_t len;
	if (!field_text(&message->field[4], &operation, &len, NAME_BYTES_MAX) || len == 0)
		return false;
	bool observes = len == strlen("observe") && memcmp(operation, "observe", len) == 0;
	bool whole = field_is_nil(&message->field[3]);
	if (whole ? !read_runtime(server, &message->field[1], &subject)
		  : !read_subject(server, &message->field[1], &subject))
		return false;
	const char *runtime_id = subject.runtime_id.text, *worker_id = subject.worker_id.text;
	if (whole)
		*allowed = observes && policy_may_observe_some(subject.role, runtime_id);
	else if (observes)
		*allowed = policy_may_observe(subject.role, runtime_id, worker_id);
	else
		*allowed = policy_may_command(subject.role, runtime_id, worker_id, operation, len);
	return true;
}

static const char *relay_on_authorize(struct relay *relay, const struct message *message)
{
	struct relay_server *server = relay->server;
	uint64_t id;
	bool allowed;
	if (!field_u64(&message->field[0], &id) || !read_authorize(server, message, &allowed))
		return "a malformed AUTHORIZE";
	if (allowed)
		server->counters.authorizations++;
	else
		server->counters.denied_authorizations++;
	struct message_writer writer;
	relay_begin_reply(relay, &writer, MESSAGE_VERDICT);
	write_u64(&writer, id);
	write_text(&writer, allowed ? "allow" : "deny");
	return relay_send_reply(relay, &writer);
}

const char *relay_on_message(struct relay *relay, const struct message *message)
{
	if (message->type == MESSAGE_HELLO)
		return relay_on_hello(relay, message);
	if (message->type == MESSAGE_ERROR)
		return "it answered with an error";
	if (!relay->greeted)
		return "no HELLO at the beginning";
	switch (message->type) {
	case MESSAGE_OPEN_PASS:
		return relay_on_open_pass(relay, message);
	case MESSAGE_PROJECT:
		return relay_on_project(relay, message);
	case MESSAGE_AUTHORIZE:
		return relay_on_authorize(relay, message);
	case MESSAGE_CLOSE_PASS:
		return relay_on_close_pass(relay, message);
	default:
		return "a message that is not for projection";
	}
}
