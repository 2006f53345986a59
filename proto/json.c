#include "proto/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/utf8.h"
#include "proto/json_scan.h"

enum { TAPE_FIRST_TOKENS = 256 };

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* Where and why the document is not JSON. `reason` NULL: there was no memory for the tape. */
struct failure {
	const uint8_t *at;
	const char *reason;
};

static const uint8_t *fail(struct failure *failure, const uint8_t *at, const char *reason)
{
	*failure = (struct failure){at, reason};
	return NULL;
}

/* The kind of an event while its top-level members come by. */
struct kind_search {
	const uint8_t *key, *key_end; /* the latest key */
	bool seen_event, seen_type;
	const uint8_t *event, *event_end; /* first member, if it is a string; else NULL */
	const uint8_t *type, *type_end;
};

static ALWAYS_INLINE const uint8_t *skip_space(const uint8_t *p, const uint8_t *end)
{
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

/* Four hexadecimal digits. -1 when they are not there. */
static int32_t hex4(const uint8_t *p, const uint8_t *end)
{
	if (end - p < 4)
		return -1;
	int32_t value = 0;
	for (int i = 0; i < 4; i++) {
		uint8_t c = p[i], lower = c | 0x20;
		int digit = c >= '0' && c <= '9'           ? c - '0'
			    : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10
							   : -1;
		if (digit < 0)
			return -1;
		value = value << 4 | digit;
	}
	return value;
}

static bool is_high_surrogate(int32_t unit)
{
	return unit >= 0xd800 && unit <= 0xdbff;
}

static bool is_low_surrogate(int32_t unit)
{
	return unit >= 0xdc00 && unit <= 0xdfff;
}

static bool is_simple_escape(uint8_t letter)
{
	switch (letter) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't':
		return true;
	default:
		return false;
	}
}

/* At a backslash; returns what comes after the escape, a pair of surrogates taken as one. */
static const uint8_t *scan_escape(const uint8_t *p, const uint8_t *end, struct failure *failure)
{
	if (end - p < 2)
		return fail(failure, end, "ends within a string");
	if (p[1] != 'u') {
		return is_simple_escape(p[1]) ? p + 2 : fail(failure, p, "unknown escape");
	}
	int32_t unit = hex4(p + 2, end);
	if (unit < 0)
		return fail(failure, p, "\\u without four hexadecimal digits");
	if (is_low_surrogate(unit))
		return fail(failure, p, "lone surrogate");
	if (!is_high_surrogate(unit))
		return p + 6;
	if (end - p < 8 || p[6] != '\\' || p[7] != 'u' || !is_low_surrogate(hex4(p + 8, end)))
		return fail(failure, p, "lone surrogate");
	return p + 12;
}

/* At the opening quote; returns what comes after the closing one. */
static ALWAYS_INLINE const uint8_t *scan_string(
	const uint8_t *p, const uint8_t *end, bool *escaped, struct failure *failure)
{
	*escaped = false;
	p++;
	for (;;) {
		p = json_skip_plain(p, end);
		if (UNLIKELY(p == end))
			return fail(failure, end, "ends within a string");
		if (*p == '"')
			return p + 1;
		if (*p == '\\') {
			*escaped = true;
			p = scan_escape(p, end, failure);
			if (UNLIKELY(p == NULL))
				return NULL;
		} else if (*p < 0x20) {
			return fail(failure, p, "control character in a string");
		} else {
			do {
				size_t n = utf8_character_len(p, (size_t)(end - p));
				if (UNLIKELY(n == 0))
					return fail(failure, p, "not UTF-8");
				p += n;
			} while (p < end && *p >= 0x80);
		}
	}
}

static ALWAYS_INLINE const uint8_t *skip_digits(const uint8_t *p, const uint8_t *end)
{
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

static const uint8_t *scan_number(const uint8_t *p, const uint8_t *end, struct failure *failure)
{
	static const char no_digit[] = "a number without a digit where one must be";
	if (*p == '-')
		p++;
	const uint8_t *digits = p;
	p = skip_digits(p, end);
	if (p == digits)
		return fail(failure, p, no_digit);
	if (*digits == '0' && p > digits + 1)
		return fail(failure, digits, "a number with a leading zero");
	if (p < end && *p == '.') {
		digits = p + 1;
		p = skip_digits(digits, end);
		if (p == digits)
			return fail(failure, p, no_digit);
	}
	if (p < end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		digits = p;
		p = skip_digits(digits, end);
		if (p == digits)
			return fail(failure, p, no_digit);
	}
	return p;
}

static const uint8_t *scan_word(
	const uint8_t *p, const uint8_t *end, const char *word, struct failure *failure)
{
	size_t len = strlen(word);
	if ((size_t)(end - p) < len || memcmp(p, word, len) != 0)
		return fail(failure, p, "not a JSON value");
	return p + len;
}

static bool tape_grow(struct json_tape *tape)
{
	uint32_t wanted = tape->allocated != 0 ? tape->allocated * 2 : TAPE_FIRST_TOKENS;
	struct json_token *token = realloc(tape->token, wanted * sizeof(*token));
	if (token == NULL)
		return false;
	tape->token = token;
	tape->allocated = wanted;
	return true;
}

static ALWAYS_INLINE bool tape_add(
	struct json_tape *tape, enum json_type type, size_t start, size_t end, bool escaped)
{
	if (UNLIKELY(tape->count == tape->allocated) && !tape_grow(tape))
		return false;
	tape->token[tape->count] = (struct json_token){.start = (uint32_t)start,
		.end = (uint32_t)end,
		.next = tape->count + 1,
		.type = (uint8_t)type,
		.escaped = escaped};
	tape->count++;
	return true;
}

static ALWAYS_INLINE bool key_is(const uint8_t *quoted, const uint8_t *end, const char *name)
{
	enum { LONGEST_NAME = 5, LONGEST_QUOTED = 2 + LONGEST_NAME * 6 };
	uint8_t text[LONGEST_QUOTED];
	size_t len = (size_t)(end - quoted), name_len = strlen(name);
	/* Spelled with escapes it is longer. */
	if (len <= name_len + 2)
		return len == name_len + 2 && memcmp(quoted + 1, name, name_len) == 0;
	if (len > LONGEST_QUOTED || memchr(quoted, '\\', len) == NULL)
		return false;
	return json_unescape(quoted, len, text) == name_len && memcmp(text, name, name_len) == 0;
}

/* A top-level member's value [value, end) has been read; `is_string` says of what type. */
static void note_member(
	struct kind_search *search, const uint8_t *value, const uint8_t *end, bool is_string)
{
	if (search->key == NULL)
		return; /* an element of a top-level array */
	if (!search->seen_event && key_is(search->key, search->key_end, "event")) {
		search->seen_event = true;
		search->event = is_string ? value : NULL;
		search->event_end = end;
	} else if (!search->seen_type && key_is(search->key, search->key_end, "type")) {
		search->seen_type = true;
		search->type = is_string ? value : NULL;
		search->type_end = end;
	}
}

enum expect {
	EXPECT_VALUE,
	EXPECT_ELEMENT_OR_CLOSE, /* behind "[" */
	EXPECT_KEY_OR_CLOSE,     /* behind "{" */
	EXPECT_KEY,              /* behind "," in an object */
	EXPECT_COMMA_OR_CLOSE,   /* behind a member or element */
	EXPECT_NOTHING,          /* behind the document's value */
};

/* One run over a document. The callers have either a tape or a search, known when compiling. */
struct pass {
	const uint8_t *begin, *end;
	struct json_tape *tape;
	struct kind_search *search;
	struct failure failure;
	unsigned int depth;
	uint32_t open_token[JSON_DEPTH_MAX];
	bool open_is_object[JSON_DEPTH_MAX];
};

static ALWAYS_INLINE enum expect after_value(const struct pass *pass)
{
	return pass->depth > 0 ? EXPECT_COMMA_OR_CLOSE : EXPECT_NOTHING;
}

static ALWAYS_INLINE const uint8_t *open_container(
	struct pass *pass, const uint8_t *p, bool is_object, enum expect *expect)
{
	if (UNLIKELY(pass->depth == JSON_DEPTH_MAX))
		return fail(&pass->failure, p, "nested too deeply");
	if (pass->search != NULL && pass->depth == 1)
		note_member(pass->search, p, p, false);
	if (pass->tape != NULL) {
		size_t start = (size_t)(p - pass->begin);
		pass->open_token[pass->depth] = pass->tape->count;
		if (!tape_add(
			    pass->tape, is_object ? JSON_OBJECT : JSON_ARRAY, start, start, false))
			return fail(&pass->failure, p, NULL);
	}
	pass->open_is_object[pass->depth++] = is_object;
	*expect = is_object ? EXPECT_KEY_OR_CLOSE : EXPECT_ELEMENT_OR_CLOSE;
	return p + 1;
}

static ALWAYS_INLINE const uint8_t *close_container(
	struct pass *pass, const uint8_t *p, enum expect *expect)
{
	pass->depth--;
	if (pass->tape != NULL) {
		struct json_token *token = &pass->tape->token[pass->open_token[pass->depth]];
		token->end = (uint32_t)(p + 1 - pass->begin);
		token->next = pass->tape->count;
	}
	*expect = after_value(pass);
	return p + 1;
}

static ALWAYS_INLINE const uint8_t *take_key(struct pass *pass, const uint8_t *p)
{
	if (UNLIKELY(*p != '"'))
		return fail(&pass->failure, p, "expected a key");
	const uint8_t *key = p;
	bool escaped;
	p = scan_string(p, pass->end, &escaped, &pass->failure);
	if (UNLIKELY(p == NULL))
		return NULL;
	if (pass->search != NULL && pass->depth == 1) {
		pass->search->key = key;
		pass->search->key_end = p;
	}
	if (pass->tape != NULL && !tape_add(pass->tape, JSON_KEY, (size_t)(key - pass->begin),
					  (size_t)(p - pass->begin), escaped))
		return fail(&pass->failure, p, NULL);
	p = skip_space(p, pass->end);
	if (UNLIKELY(p == pass->end || *p != ':'))
		return fail(&pass->failure, p, "expected a colon");
	return p + 1;
}

static ALWAYS_INLINE const uint8_t *take_scalar(struct pass *pass, const uint8_t *p)
{
	const uint8_t *start = p;
	enum json_type type;
	bool escaped = false;
	switch (*p) {
	case '"':
		type = JSON_STRING;
		p = scan_string(p, pass->end, &escaped, &pass->failure);
		break;
	case 't':
		type = JSON_TRUE;
		p = scan_word(p, pass->end, "true", &pass->failure);
		break;
	case 'f':
		type = JSON_FALSE;
		p = scan_word(p, pass->end, "false", &pass->failure);
		break;
	case 'n':
		type = JSON_NULL;
		p = scan_word(p, pass->end, "null", &pass->failure);
		break;
	default:
		if (*p != '-' && (*p < '0' || *p > '9'))
			return fail(&pass->failure, p, "not a JSON value");
		type = JSON_NUMBER;
		p = scan_number(p, pass->end, &pass->failure);
		break;
	}
	if (UNLIKELY(p == NULL))
		return NULL;
	if (pass->search != NULL && pass->depth == 1)
		note_member(pass->search, start, p, type == JSON_STRING);
	if (pass->tape != NULL && !tape_add(pass->tape, type, (size_t)(start - pass->begin),
					  (size_t)(p - pass->begin), escaped))
		return fail(&pass->failure, p, NULL);
	return p;
}

static ALWAYS_INLINE const uint8_t *take_value(
	struct pass *pass, const uint8_t *p, enum expect *expect)
{
	if (*p == '{' || *p == '[')
		return open_container(pass, p, *p == '{', expect);
	p = take_scalar(pass, p);
	*expect = after_value(pass);
	return p;
}

static ALWAYS_INLINE const uint8_t *take_comma_or_close(
	struct pass *pass, const uint8_t *p, enum expect *expect)
{
	bool in_object = pass->open_is_object[pass->depth - 1];
	if (*p == ',') {
		*expect = in_object ? EXPECT_KEY : EXPECT_VALUE;
		return p + 1;
	}
	if (UNLIKELY(*p != (in_object ? '}' : ']')))
		return fail(&pass->failure, p, "expected a comma or the closing bracket");
	return close_container(pass, p, expect);
}

/* True, or false with pass->failure. */
static ALWAYS_INLINE bool run(struct pass *pass)
{
	const uint8_t *p = pass->begin, *end = pass->end;
	enum expect expect = EXPECT_VALUE;
	do {
		p = skip_space(p, end);
		if (UNLIKELY(p == end)) {
			fail(&pass->failure, end, "ends early");
			return false;
		}
		switch (expect) {
		case EXPECT_KEY_OR_CLOSE:
		case EXPECT_KEY:
			if (*p == '}' && expect == EXPECT_KEY_OR_CLOSE) {
				p = close_container(pass, p, &expect);
			} else {
				p = take_key(pass, p);
				expect = EXPECT_VALUE;
			}
			break;
		case EXPECT_ELEMENT_OR_CLOSE:
		case EXPECT_VALUE:
			if (*p == ']' && expect == EXPECT_ELEMENT_OR_CLOSE)
				p = close_container(pass, p, &expect);
			else
				p = take_value(pass, p, &expect);
			break;
		default:
			p = take_comma_or_close(pass, p, &expect);
			break;
		}
		if (UNLIKELY(p == NULL))
			return false;
	} while (expect != EXPECT_NOTHING);
	p = skip_space(p, end);
	if (p != end)
		fail(&pass->failure, p, "something behind the value");
	return p == end;
}

static bool is_too_long(size_t len, struct json_error *error)
{
	if (len <= JSON_BYTES_MAX)
		return false;
	*error = (struct json_error){JSON_BYTES_MAX, "longer than any document may be"};
	return true;
}

static void set_kind(struct json_event_info *info, const struct kind_search *search)
{
	const uint8_t *quoted = search->event != NULL ? search->event : search->type;
	const uint8_t *end = search->event != NULL ? search->event_end : search->type_end;
	uint8_t text[KIND_BYTES_MAX * 6 + 2];
	info->kind_len = 0;
	if (quoted != NULL && (size_t)(end - quoted) <= sizeof(text)) {
		size_t len = json_unescape(quoted, (size_t)(end - quoted), text);
		if (len <= KIND_BYTES_MAX) {
			memcpy(info->kind, text, len);
			info->kind_len = (uint8_t)len;
		}
	}
	info->kind[info->kind_len] = '\0';
}

int json_check_event(const uint8_t *bytes, size_t len, struct json_event_info *info)
{
	if (is_too_long(len, &info->error))
		return JSON_INVALID;
	struct kind_search search = {0};
	struct pass pass;
	pass.begin = bytes;
	pass.end = bytes + len;
	pass.tape = NULL;
	pass.search = &search;
	pass.depth = 0;
	if (!run(&pass)) {
		info->error = (struct json_error){
			(size_t)(pass.failure.at - bytes), pass.failure.reason};
		return JSON_INVALID;
	}
	const uint8_t *first = skip_space(bytes, bytes + len);
	if (*first != '{') {
		info->error = (struct json_error){(size_t)(first - bytes), "not an object"};
		return JSON_NOT_OBJECT;
	}
	set_kind(info, &search);
	return JSON_OK;
}

int json_tape_build(
	struct json_tape *tape, const uint8_t *bytes, size_t len, struct json_error *error)
{
	tape->count = 0;
	if (is_too_long(len, error))
		return JSON_INVALID;
	struct pass pass;
	pass.begin = bytes;
	pass.end = bytes + len;
	pass.tape = tape;
	pass.search = NULL;
	pass.depth = 0;
	if (run(&pass))
		return JSON_OK;
	tape->count = 0;
	if (pass.failure.reason == NULL)
		return -ENOMEM;
	*error = (struct json_error){(size_t)(pass.failure.at - bytes), pass.failure.reason};
	return JSON_INVALID;
}

void json_tape_reset(struct json_tape *tape, uint32_t keep_tokens)
{
	tape->count = 0;
	if (tape->allocated > keep_tokens)
		json_tape_free(tape);
}

void json_tape_free(struct json_tape *tape)
{
	free(tape->token);
	*tape = (struct json_tape){0};
}
