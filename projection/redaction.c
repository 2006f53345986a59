/* What rules do to one value. */
#include "projection/engine_private.h"
#include "projection/transform.h"

static void note_hit(struct engine *engine, uint32_t rule)
{
	if (engine->rule_hit != NULL)
		engine->rule_hit[rule] = true;
}

/* Lets one rule change the text in engine->text or the payload. 0, 1 if it did, or -errno. */
static int transform(
	struct engine *engine, const struct redact_rule *rule, const uint8_t **text, size_t *len)
{
	int r;
	engine->changed.len = 0;
	if (rule->action == REDACT_TRUNCATE)
		r = transform_truncate(*text, *len, rule->keep, &engine->changed);
	else if (rule->anywhere)
		r = transform_rewrite_prefix_anywhere(
			*text, *len, rule->from, rule->to, &engine->changed);
	else
		r = transform_rewrite_prefix(*text, *len, rule->from, rule->to, &engine->changed);
	if (r != TRANSFORM_CHANGED)
		return r;
	struct buf swap = engine->text;
	engine->text = engine->changed;
	engine->changed = swap;
	*text = engine->text.data;
	*len = engine->text.len;
	return TRANSFORM_CHANGED;
}

/* Lets every rule of one action change the text. 0, 1 if one did, or -errno. */
static int transform_by_all(struct engine *engine, const uint64_t *set, enum redact_action action,
	const uint8_t **text, size_t *len)
{
	const struct rules *rules = engine->rules;
	int changed = TRANSFORM_SAME;
	for (size_t i = 0; i < rules->words; i++) {
		for (uint64_t hit = set[i] & rules->accept[i]; hit != 0; hit &= hit - 1) {
			uint32_t number = rules->rule_at[i * 64 + (size_t)__builtin_ctzll(hit)];
			const struct redact_rule *rule = &rules->role->redact[number];
			if (rule->action != action)
				continue;
			int r = transform(engine, rule, text, len);
			if (r < 0)
				return r;
			if (r == TRANSFORM_CHANGED) {
				changed = TRANSFORM_CHANGED;
				note_hit(engine, number);
			}
		}
	}
	return changed;
}

static int transform_string(
	struct engine *engine, const struct json_token *token, const uint64_t *set)
{
	const uint8_t *text;
	size_t len;
	int r = engine_text_of(engine, token, &text, &len);
	if (r < 0)
		return r;
	/* In this order, so that what is cut off can't hide what is to be rewritten. */
	int rewritten = transform_by_all(engine, set, REDACT_REWRITE_PREFIX, &text, &len);
	if (rewritten < 0)
		return rewritten;
	int truncated = transform_by_all(engine, set, REDACT_TRUNCATE, &text, &len);
	if (truncated < 0 || rewritten + truncated == 0)
		return truncated;
	engine->quoted.len = 0;
	r = json_append_quoted(&engine->quoted, (const char *)text, len);
	return r < 0 ? r
		     : splice_replace(&engine->splice, token->start, token->end,
			       engine->quoted.data, engine->quoted.len);
}

static int replace_by_hash(struct engine *engine, const struct json_token *token)
{
	const uint8_t *bytes = engine->payload + token->start;
	size_t len = token->end - token->start;
	if (token->type == JSON_STRING) {
		int r = engine_text_of(engine, token, &bytes, &len);
		if (r < 0)
			return r;
	}
	char text[RULES_HASH_TEXT_BYTES + 3];
	rules_hash_value(engine->rules, token->type, bytes, len, text + 1);
	text[0] = text[sizeof(text) - 2] = '"';
	return splice_replace(
		&engine->splice, token->start, token->end, text, RULES_HASH_TEXT_BYTES + 2);
}

/* The strongest rule whose target this value is, or NULL; of several the first in the file. */
static const struct redact_rule *strongest_hit(
	const struct engine *engine, const uint64_t *set, uint32_t *number)
{
	const struct rules *rules = engine->rules;
	const struct redact_rule *strongest = NULL;
	for (size_t i = 0; i < rules->words; i++) {
		for (uint64_t hit = set[i] & rules->accept[i]; hit != 0; hit &= hit - 1) {
			uint32_t at = rules->rule_at[i * 64 + (size_t)__builtin_ctzll(hit)];
			const struct redact_rule *rule = &rules->role->redact[at];
			if (strongest == NULL || rule->action < strongest->action) {
				strongest = rule;
				*number = at;
			}
		}
	}
	return strongest;
}

int engine_act_on(struct engine *engine, uint32_t value, const uint64_t *set, bool *replaced)
{
	const struct json_token *token = &engine->tape.token[value];
	uint32_t number;
	*replaced = false;
	const struct redact_rule *rule = strongest_hit(engine, set, &number);
	if (rule == NULL)
		return FATE_STAYS;
	if (rule->action == REDACT_REWRITE_PREFIX || rule->action == REDACT_TRUNCATE)
		return token->type == JSON_STRING ? transform_string(engine, token, set)
						  : FATE_STAYS;
	note_hit(engine, number);
	*replaced = true;
	if (rule->action == REDACT_REMOVE || value == 0)
		return FATE_REMOVED;
	if (rule->action == REDACT_HASH)
		return replace_by_hash(engine, token);
	const struct buf *mask = &engine->rules->mask[number];
	return splice_replace(&engine->splice, token->start, token->end, mask->data, mask->len);
}
