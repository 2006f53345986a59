#include "eventlogd/ctl/export_line.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/utf8.h"

enum { KEEP_TOKENS = 64 * 1024, KEEP_BYTES = 1024 * 1024, NUMBER_BYTES_MAX = 20 };

/* ---- writing ---- */

int export_line_header(struct buf *out, const struct export_header *header)
{
	return buf_printf(out, "{\"export\":%d,\"log_id\":\"%s\",\"stream\":\"%s\"%s}\n",
		EXPORT_VERSION, header->log_id, header->stream,
		header->is_continuation ? ",\"continues\":true" : "");
}

int export_line_gap(struct buf *out, uint64_t first, uint64_t last, const char *reason)
{
	return buf_printf(out,
		"{\"gap\":{\"first_seq\":%" PRIu64 ",\"last_seq\":%" PRIu64
		",\"reason\":\"%s\"}}\n",
		first, last, reason);
}

int export_line_end(struct buf *out, uint64_t records, uint64_t gaps, const struct cursor *newest)
{
	char text[CURSOR_TEXT_BYTES + 1];
	cursor_format(newest, text);
	return buf_printf(out,
		"{\"end\":{\"records\":%" PRIu64 ",\"gaps\":%" PRIu64 ",\"newest\":\"%s\"}}\n",
		records, gaps, text);
}

/* Arrays and objects that are open at once, of valid JSON. */
static unsigned int depth_of(const uint8_t *bytes, size_t len)
{
	unsigned int depth = 0, deepest = 0;
	bool in_string = false;
	for (size_t i = 0; i < len; i++) {
		uint8_t c = bytes[i];
		if (in_string) {
			i += c == '\\';
			in_string = c != '"';
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			deepest = ++depth > deepest ? depth : deepest;
		} else if (c == '}' || c == ']') {
			depth--;
		}
	}
	return deepest;
}

static bool payload_fits_line(const uint8_t *payload, size_t len)
{
	return payload[0] == '{' && payload[len - 1] == '}' && memchr(payload, '\n', len) == NULL &&
	       memchr(payload, '\r', len) == NULL && depth_of(payload, len) < JSON_DEPTH_MAX;
}

static int append_optional(struct buf *out, const struct record *record)
{
	int r = 0;
	if (record_is_keyframe(record))
		r = buf_append_str(out, ",\"keyframe\":true");
	if (r == 0)
		r = buf_printf(out, ",\"ts_ns\":%" PRIu64, record->time_ns);
	if (r == 0 && (record->flags & RECORD_HAS_SOURCE_TIME) != 0)
		r = buf_printf(out, ",\"source_ts_ns\":%" PRId64, record->source_time_ns);
	if (r == 0)
		r = buf_printf(out, ",\"owner_uid\":%" PRIu32, record->owner_uid);
	if (r == 0 && (record->flags & RECORD_HAS_PRODUCER) != 0)
		r = buf_printf(out, ",\"producer\":\"%016" PRIx64 "\",\"producer_seq\":%" PRIu64,
			record->producer, record->producer_seq);
	return r;
}

int export_line_record(struct buf *out, uint32_t log, const struct record *record, uint64_t number)
{
	struct json_event_info info;
	if (!id_is_valid(record->worker, record->worker_len) ||
		!utf8_is_valid((const uint8_t *)record->kind, record->kind_len) ||
		json_check_event(record->payload, record->payload_len, &info) != JSON_OK)
		return EXPORT_NOT_AN_EVENT;
	const struct cursor cursor = {log, record->epoch, record->sequence};
	char text[CURSOR_TEXT_BYTES + 1];
	cursor_format(&cursor, text);
	int r = buf_printf(out,
		"{\"cursor\":\"%s\",\"number\":%" PRIu64 ",\"worker_id\":\"%.*s\",\"kind\":", text,
		number, record->worker_len, record->worker);
	if (r == 0)
		r = json_append_quoted(out, record->kind, record->kind_len);
	if (r == 0)
		r = append_optional(out, record);
	bool fits = payload_fits_line(record->payload, record->payload_len);
	if (r == 0)
		r = buf_append_str(out, fits ? ",\"payload\":" : ",\"payload_text\":");
	if (r == 0)
		r = fits ? buf_append(out, record->payload, record->payload_len)
			 : json_append_quoted(
				   out, (const char *)record->payload, record->payload_len);
	return r == 0 ? buf_append_str(out, "}\n") : r;
}

/* ---- reading ---- */

struct parse {
	const uint8_t *bytes;
	const struct json_tape *tape;
	struct export_line *line;
};

static void refuse(struct parse *parse, const char *reason)
{
	parse->line->type = EXPORT_LINE_INVALID;
	snprintf(parse->line->reason, sizeof(parse->line->reason), "%s", reason);
}

/* The value of a member of the object at `object`; of two by that name the first. */
static const struct json_token *member(const struct parse *parse, uint32_t object, const char *name)
{
	const struct json_token *token = parse->tape->token;
	size_t len = strlen(name);
	for (uint32_t i = object + 1; i < token[object].next; i = token[i + 1].next) {
		if (token[i].end - token[i].start == len + 2 &&
			memcmp(parse->bytes + token[i].start + 1, name, len) == 0)
			return &token[i + 1];
	}
	return NULL;
}

/* A plain text without escapes, as all of ours but kinds and payloads are. */
static bool take_text(const struct parse *parse, const struct json_token *token, char *out,
	size_t size, size_t *len)
{
	if (token == NULL || token->type != JSON_STRING || token->escaped ||
		token->end - token->start - 2 >= size)
		return false;
	*len = token->end - token->start - 2;
	memcpy(out, parse->bytes + token->start + 1, *len);
	out[*len] = '\0';
	return true;
}

/* A whole number without sign, point or exponent. */
static bool take_digits(
	const struct parse *parse, const struct json_token *token, bool with_sign, char *out)
{
	size_t len = token == NULL ? 0 : token->end - token->start;
	if (len == 0 || len > NUMBER_BYTES_MAX || token->type != JSON_NUMBER)
		return false;
	memcpy(out, parse->bytes + token->start, len);
	out[len] = '\0';
	const char *digits = with_sign && out[0] == '-' ? out + 1 : out;
	return strspn(digits, "0123456789") == strlen(digits);
}

static bool take_u64(const struct parse *parse, const struct json_token *token, uint64_t *out)
{
	char digits[NUMBER_BYTES_MAX + 1];
	if (!take_digits(parse, token, false, digits))
		return false;
	errno = 0;
	*out = strtoull(digits, NULL, 10);
	return errno == 0;
}

static bool take_i64(const struct parse *parse, const struct json_token *token, int64_t *out)
{
	char digits[NUMBER_BYTES_MAX + 1];
	if (!take_digits(parse, token, true, digits))
		return false;
	errno = 0;
	*out = strtoll(digits, NULL, 10);
	return errno == 0;
}

static bool take_hex_id(const struct parse *parse, const struct json_token *token,
	char out[2 * EXPORT_ID_BYTES + 1])
{
	size_t len;
	return take_text(parse, token, out, 2 * EXPORT_ID_BYTES + 1, &len) &&
	       len == 2 * EXPORT_ID_BYTES && strspn(out, "0123456789abcdef") == len;
}

static void read_header(struct parse *parse, const struct json_token *version_token)
{
	struct export_header *header = &parse->line->header;
	uint64_t version;
	const struct json_token *continues = member(parse, 0, "continues");
	parse->line->type = EXPORT_LINE_HEADER;
	header->is_continuation = continues != NULL && continues->type == JSON_TRUE;
	if (!take_u64(parse, version_token, &version) || version != EXPORT_VERSION)
		refuse(parse, "an export of a version that is not known here");
	else if (!take_hex_id(parse, member(parse, 0, "log_id"), header->log_id) ||
		 !take_hex_id(parse, member(parse, 0, "stream"), header->stream))
		refuse(parse, "the head of an export without log_id or stream");
}

/* 0 or -ENOMEM; a payload that can't be one is refused. */
static int read_payload(struct parse *parse, struct export_line_reader *reader)
{
	const struct json_token *token = member(parse, 0, "payload");
	const struct json_token *text = member(parse, 0, "payload_text");
	if (token != NULL && token->type == JSON_OBJECT && text == NULL) {
		parse->line->payload = parse->bytes + token->start;
		parse->line->payload_len = token->end - token->start;
		return 0;
	}
	if (token != NULL || text == NULL || text->type != JSON_STRING) {
		refuse(parse, "not one of payload (an object) and payload_text (a string)");
		return 0;
	}
	size_t len = text->end - text->start;
	buf_reset(&reader->payload, KEEP_BYTES);
	int r = buf_reserve(&reader->payload, len);
	if (r < 0)
		return r;
	parse->line->payload_len = json_unescape(
		parse->bytes + text->start, len, reader->payload.data);
	parse->line->payload = reader->payload.data;
	return 0;
}

static int read_event(struct parse *parse, struct export_line_reader *reader)
{
	struct export_line *line = parse->line;
	char worker[ID_BYTES_MAX + 1];
	size_t len;
	line->type = EXPORT_LINE_EVENT;
	if (!take_text(parse, member(parse, 0, "worker_id"), worker, sizeof(worker), &len) ||
		!id_set(&line->worker, worker, len)) {
		refuse(parse, "worker_id is missing or no worker id");
		return 0;
	}
	if (!take_u64(parse, member(parse, 0, "number"), &line->number) || line->number == 0 ||
		line->number == UINT64_MAX) {
		refuse(parse, "number is missing or no number from 1");
		return 0;
	}
	if (!take_u64(parse, member(parse, 0, "ts_ns"), &line->ts_ns)) {
		refuse(parse, "ts_ns is missing or no time");
		return 0;
	}
	const struct json_token *source_time = member(parse, 0, "source_ts_ns");
	line->has_source_time = source_time != NULL;
	if (source_time != NULL && !take_i64(parse, source_time, &line->source_time_ns)) {
		refuse(parse, "source_ts_ns is no time");
		return 0;
	}
	return read_payload(parse, reader);
}

static void read_end(struct parse *parse, const struct json_token *end)
{
	uint32_t object = (uint32_t)(end - parse->tape->token);
	parse->line->type = EXPORT_LINE_END;
	if (end->type != JSON_OBJECT ||
		!take_u64(parse, member(parse, object, "records"), &parse->line->records))
		refuse(parse, "the end of an export without the number of its records");
}

int export_line_read(struct export_line_reader *reader, const uint8_t *bytes, size_t len,
	struct export_line *out)
{
	struct json_error error;
	*out = (struct export_line){0};
	struct parse parse = {bytes, &reader->tape, out};
	json_tape_reset(&reader->tape, KEEP_TOKENS);
	int r = json_tape_build(&reader->tape, bytes, len, &error);
	if (r < 0)
		return r;
	if (r != JSON_OK) {
		snprintf(out->reason, sizeof(out->reason), "%s at byte %zu", error.reason,
			error.offset + 1);
		return 0;
	}
	if (reader->tape.token[0].type != JSON_OBJECT) {
		refuse(&parse, "not a line of an export");
		return 0;
	}
	const struct json_token *found;
	if (member(&parse, 0, "cursor") != NULL)
		return read_event(&parse, reader);
	if ((found = member(&parse, 0, "export")) != NULL)
		read_header(&parse, found);
	else if ((found = member(&parse, 0, "end")) != NULL)
		read_end(&parse, found);
	else if (member(&parse, 0, "gap") != NULL)
		out->type = EXPORT_LINE_GAP;
	else
		refuse(&parse, "not a line of an export");
	return 0;
}

void export_line_reader_free(struct export_line_reader *reader)
{
	json_tape_free(&reader->tape);
	buf_free(&reader->payload);
}
