#include "projection/explain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "projection/engine.h"
#include "proto/base/buf.h"
#include "proto/json.h"
#include "proto/limits.h"

struct explanation {
	const struct policy_role *role;
	struct rules *rules;
	struct engine engine;
	struct engine_trace trace;
	struct open_blocks blocks;
	bool observes;
	struct buf line;
};

static int append_rule(struct buf *line, const char *text)
{
	int r = line->data[line->len - 1] != '[' ? buf_append_str(line, ",") : 0;
	return r < 0 ? r : json_append_quoted(line, text, strlen(text));
}

/* "line:column what glob" */
static int append_place(
	struct buf *line, const struct policy_place *place, const char *what, const char *glob)
{
	char text[POLICY_GLOB_BYTES_MAX + 64];
	snprintf(text, sizeof(text), "%zu:%zu %s%s%s", place->line, place->column, what,
		glob[0] != '\0' ? " " : "", glob);
	return append_rule(line, text);
}

/* What denied the event, or events nested in it, and then what changed something. */
static int append_rules(struct explanation *explanation)
{
	struct buf *line = &explanation->line;
	const struct policy_role *role = explanation->role;
	const struct engine_trace *trace = &explanation->trace;
	const struct glob_list *deny = &role->events_deny;
	int r = 0;
	if (!explanation->observes && role->observe_at.line != 0)
		r = append_place(line, &role->observe_at, "observe", "");
	if (r == 0 && trace->unnamed && role->events_allow.at.line != 0)
		r = append_place(line, &role->events_allow.at, "allow", "");
	for (size_t i = 0; i < deny->count && r == 0; i++) {
		if (trace->deny[i])
			r = append_place(line, &deny->place[i], "deny", deny->glob[i]);
	}
	for (size_t i = 0; i < role->redact_count && r == 0; i++) {
		if (trace->rule[i])
			r = append_rule(line, role->redact[i].place);
	}
	return r;
}

static void forget_trace(struct explanation *explanation)
{
	const struct policy_role *role = explanation->role;
	memset(explanation->trace.rule, 0, role->redact_count);
	memset(explanation->trace.deny, 0, role->events_deny.count);
	explanation->trace.unnamed = false;
}

static int append_text_or_null(struct buf *line, const uint8_t *text, size_t len)
{
	return text != NULL ? json_append_quoted(line, (const char *)text, len)
			    : buf_append_str(line, "null");
}

static int explain_event(
	struct explanation *explanation, uint64_t number, const uint8_t *payload, size_t len)
{
	struct engine *engine = &explanation->engine;
	struct json_event_info info;
	bool is_event = json_check_event(payload, len, &info) == JSON_OK;
	const uint8_t *out = NULL;
	size_t out_len = 0;
	int verdict = VERDICT_DENY;
	forget_trace(explanation);
	if (len > EVENT_BYTES_MAX)
		verdict = VERDICT_REFUSED;
	else if (explanation->observes)
		verdict = engine_project_next(engine, explanation->rules, &explanation->blocks,
			number, payload, len, &out, &out_len);
	if (verdict < 0)
		return verdict;
	if (verdict == VERDICT_PASS) {
		out = payload;
		out_len = len;
	}
	struct buf *line = &explanation->line;
	line->len = 0;
	int r = buf_printf(line, "{\"line\":%llu,\"kind\":", (unsigned long long)number);
	if (r == 0)
		r = append_text_or_null(line, is_event ? (const uint8_t *)info.kind : NULL,
			is_event ? info.kind_len : 0);
	if (r == 0)
		r = buf_printf(line, ",\"verdict\":\"%s\",\"rules\":[",
			verdict_name((enum verdict)verdict));
	if (r == 0 && verdict != VERDICT_REFUSED)
		r = append_rules(explanation);
	if (r == 0)
		r = buf_append_str(line, "],\"payload\":");
	if (r == 0)
		r = append_text_or_null(line, out, out_len);
	return r < 0 ? r : buf_append_str(line, "}\n");
}

static int explain_lines(struct explanation *explanation, FILE *in, FILE *out)
{
	char *text = NULL;
	size_t allocated = 0;
	ssize_t n;
	int r = 0;
	for (uint64_t number = 1; r == 0 && (n = getline(&text, &allocated, in)) > 0; number++) {
		size_t len = (size_t)n - (text[n - 1] == '\n' ? 1 : 0);
		if (len == 0)
			continue;
		r = explain_event(explanation, number, (const uint8_t *)text, len);
		struct buf *line = &explanation->line;
		if (r == 0 && fwrite(line->data, 1, line->len, out) != line->len)
			r = -EIO;
	}
	if (r == 0 && (ferror(in) || fflush(out) != 0))
		r = -EIO;
	free(text);
	return r;
}

int explain(const struct policy_role *role, const struct projection_key *key,
	const char *runtime_id, const char *worker_id, FILE *in, FILE *out)
{
	static const struct policy_role nothing = {.name = NULL};
	struct explanation explanation = {.role = role != NULL ? role : &nothing,
		.observes = policy_may_observe(role, runtime_id, worker_id)};
	int r = rules_compile(&explanation.rules, explanation.role, key);
	if (r == 0)
		r = engine_init(&explanation.engine);
	struct engine_trace *trace = &explanation.trace;
	trace->rule = calloc(explanation.role->redact_count + 1, sizeof(*trace->rule));
	trace->deny = calloc(explanation.role->events_deny.count + 1, sizeof(*trace->deny));
	if (r == 0 && (trace->rule == NULL || trace->deny == NULL))
		r = -ENOMEM;
	explanation.engine.trace = trace;
	if (r == 0)
		r = explain_lines(&explanation, in, out);
	free(trace->rule);
	free(trace->deny);
	open_blocks_free(&explanation.blocks);
	engine_free(&explanation.engine);
	rules_free(explanation.rules);
	buf_free(&explanation.line);
	return r;
}
