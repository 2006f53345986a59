/* What rules do to one value. */
#include "projection/engine_private.h"
#include "projection/secret_text.h"
#include "projection/transform.h"

static void note_hit(struct engine *engine, uint32_t rule)
{
	if (engine->trace != NULL)
		engine->trace->rule[rule] = true;
}

/* The text of a string while rules change it: in the payload, or in engine->text. */
struct text {
	const uint8_t *bytes;
	size_t len;
};

/* What has been built in engine->changed is the text now. */
static void take_changed(struct engine *engine, struct text *text)
{
	struct buf swap = engine->text;
	engine->text = engine->changed;
	engine->changed = swap;
	text->bytes = engine->text.data;
	text->len = engine->text.len;
}

/* Lets one rule change the text. 0, 1 if it did, or -errno. */
static int transform(struct engine *engine, const struct redact_rule *rule, struct text *text)
{
	int r;
	struct buf *out = &engine->changed;
	out->len = 0;
	if (rule->action == REDACT_TRUNCATE)
		r = transform_truncate(text->bytes, text->len, rule->keep, out);
	else if (rule->anywhere)
		r = transform_rewrite_prefix_anywhere(
			text->bytes, text->len, rule->from, rule->to, out);
	else
		r = transform_rewrite_prefix(text->bytes, text->len, rule->from, rule->to, out);
	if (r == TRANSFORM_CHANGED)
		take_changed(engine, text);
	return r;
}

/* Lets every rule of one action change the text. 0, 1 if one did, or -errno. */
static int transform_by_all(
	struct engine *engine, const uint64_t *set, enum redact_action action, struct text *text)
{
	const struct rules *rules = engine->rules;
	int changed = TRANSFORM_SAME;
	for (size_t i = 0; i < rules->words; i++) {
		for (uint64_t hit = set[i] & rules->accept[i]; hit != 0; hit &= hit - 1) {
			uint32_t number = rules->rule_at[i * 64 + (size_t)__builtin_ctzll(hit)];
			const struct redact_rule *rule = &rules->role->redact[number];
			if (rule->action != action)
				continue;
			int r = transform(engine, rule, text);
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

/* The rules about secrets that reach a string; of several masks the first in the file counts. */
struct secrets_hit {
	secret_sets sets;
	uint32_t rule;
	bool others;       /* rules that change texts reach it too */
	bool is_in_flight; /* the text goes on in events that follow: `block` */
	size_t block;
};

static struct secrets_hit find_secrets_hit(const struct engine *engine, const uint64_t *set)
{
	const struct rules *rules = engine->rules;
	struct secrets_hit found = {.rule = UINT32_MAX};
	for (size_t i = 0; i < rules->words; i++) {
		for (uint64_t hit = set[i] & rules->accept[i]; hit != 0; hit &= hit - 1) {
			uint32_t number = rules->rule_at[i * 64 + (size_t)__builtin_ctzll(hit)];
			const struct redact_rule *rule = &rules->role->redact[number];
			found.sets |= rule->secrets;
			if (rule->action == REDACT_IN_FLIGHT) {
				found.is_in_flight = true;
				found.block = rule->block;
			} else if (rule->action != REDACT_SECRETS) {
				found.others = true;
			} else if (number < found.rule) {
				found.rule = number;
			}
		}
	}
	return found;
}

/* Puts masks where the secrets of a string stand; the rest of it stays byte for byte. */
static int splice_secrets(
	struct engine *engine, const struct json_token *token, const struct buf *mask)
{
	const struct secret_findings *findings = &engine->findings;
	const uint8_t *quoted = engine->payload + token->start;
	size_t at = 1, text_at = 0;
	for (size_t i = 0; i < findings->span_count;) {
		size_t start = findings->span[i].start, end = findings->span[i].end;
		for (i++; i < findings->span_count && findings->span[i].start < end; i++)
			end = findings->span[i].end > end ? findings->span[i].end : end;
		json_seek_text(quoted, &at, &text_at, start);
		size_t from = at;
		json_seek_text(quoted, &at, &text_at, end);
		int r = splice_replace(&engine->splice, token->start + from, token->start + at,
			mask->data + 1, mask->len - 2);
		if (r < 0)
			return r;
	}
	return FATE_STAYS;
}

static struct secret_search search_for(struct engine *engine, const struct secrets_hit *hit)
{
	const char *with = engine->rules->role->redact[hit->rule].with;
	return (struct secret_search){.matcher = engine->rules->secrets,
		.findings = &engine->findings,
		.sets = hit->sets,
		.mask = with != NULL ? with : RULES_DEFAULT_MASK};
}

/* Masks secrets in the text; `piece` as in its token. 0, 1 if that changes it, or -errno. */
static int mask_secrets(
	struct engine *engine, const struct secrets_hit *hit, uint16_t piece, struct text *text)
{
	const struct secret_search search = search_for(engine, hit);
	int r;
	engine->changed.len = 0;
	if (piece != 0)
		r = engine_take_piece(engine, piece, !hit->others, &search, text->bytes, text->len);
	else
		r = secret_text_mask(
			&search, text->bytes, text->len, hit->is_in_flight, &engine->changed);
	if (r > 0) {
		note_hit(engine, hit->rule);
		take_changed(engine, text);
	}
	return r;
}

/* Masks secrets in a string that no other rule reaches. */
static int mask_secrets_alone(struct engine *engine, const struct json_token *token,
	const struct secrets_hit *hit, const struct text *text)
{
	const struct secret_search search = search_for(engine, hit);
	int r = secret_text_find(&search, text->bytes, text->len, hit->is_in_flight);
	if (r < 0 || engine->findings.span_count == 0)
		return r;
	note_hit(engine, hit->rule);
	return splice_secrets(engine, token, &engine->rules->mask[hit->rule]);
}

/* The string becomes this text. */
static int replace_by_text(
	struct engine *engine, const struct json_token *token, const struct text *text)
{
	engine->quoted.len = 0;
	int r = json_append_quoted(&engine->quoted, (const char *)text->bytes, text->len);
	return r < 0 ? r
		     : splice_replace(&engine->splice, token->start, token->end,
			       engine->quoted.data, engine->quoted.len);
}

static int transform_string(
	struct engine *engine, const struct json_token *token, const uint64_t *set)
{
	enum { SHORTEST_SECRET_QUOTED = 8 };
	struct text text;
	struct secrets_hit hit = {0};
	int masked = 0;
	if (engine->rules->secrets != NULL)
		hit = find_secrets_hit(engine, set);
	uint16_t piece = engine->open_blocks != NULL ? token->user : 0;
	bool alone = hit.sets != 0 && !hit.others && piece == 0;
	bool keeps = hit.sets != 0 && hit.is_in_flight && engine->open_blocks != NULL;
	if (alone && !keeps && token->end - token->start < SHORTEST_SECRET_QUOTED)
		return FATE_STAYS;
	int r = engine_text_of(engine, token, &text.bytes, &text.len);
	if (r < 0)
		return r;
	if (keeps) {
		const struct secret_search search = search_for(engine, &hit);
		r = engine_take_in_flight(engine, hit.block, &search, text.bytes, text.len);
		if (r < 0)
			return r;
	}
	if (alone)
		return mask_secrets_alone(engine, token, &hit, &text);
	/* In this order, so that what is cut off or rewritten can't hide what is to be masked. */
	if (hit.sets != 0)
		masked = mask_secrets(engine, &hit, piece, &text);
	if (masked < 0)
		return masked;
	int rewritten = transform_by_all(engine, set, REDACT_REWRITE_PREFIX, &text);
	if (rewritten < 0)
		return rewritten;
	int truncated = transform_by_all(engine, set, REDACT_TRUNCATE, &text);
	if (truncated < 0 || masked + rewritten + truncated == 0)
		return truncated;
	return replace_by_text(engine, token, &text);
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
	if (redact_action_works_on_texts(rule->action))
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
