#include "proto/ws/ws_request.h"

#include <assert.h>
#include <ctype.h>
#include <http_parser.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
	TEXT_BYTES = WS_REQUEST_HEAD_BYTES_MAX + 2 * WS_REQUEST_FIELDS_MAX + 2,
	SUBPROTOCOLS_MAX = 16,
	KEY_BYTES = 24, /* 16 bytes in base64 */
	SKIP_BODY = 1,  /* what on_headers_complete answers to the library */
};

struct field {
	const char *name; /* lower case */
	char *value;
};

struct ws_request {
	http_parser parser;
	size_t head_bytes;
	unsigned int refusal; /* HTTP status, 0: none */
	bool complete, value_begun;

	size_t text_len;
	char text[TEXT_BYTES]; /* path, names and values, each with its NUL */

	char *path;  /* without the query */
	char *query; /* NULL: none */
	const char *bearer;
	size_t field_count;
	struct field fields[WS_REQUEST_FIELDS_MAX];
	size_t subprotocol_count;
	const char *subprotocols[SUBPROTOCOLS_MAX];
};

/* Fields that decide something and so must not stand twice. */
static const char *const single_fields[] = {"host", "authorization", "origin", "cookie",
	"connection", "upgrade", "content-length", "transfer-encoding", "sec-websocket-key",
	"sec-websocket-version", "forwarded", "x-forwarded-for"};

struct ws_request *ws_request_new(void)
{
	struct ws_request *request = calloc(1, sizeof(*request));
	if (request == NULL)
		return NULL;
	http_parser_init(&request->parser, HTTP_REQUEST);
	request->parser.data = request;
	return request;
}

void ws_request_free(struct ws_request *request)
{
	free(request);
}

static int refuse(struct ws_request *request, unsigned int status)
{
	if (request->refusal == 0)
		request->refusal = status;
	return -1;
}

/* ---- http_parser's callbacks: texts arrive in pieces ---- */

static int append(struct ws_request *request, const char *bytes, size_t len)
{
	/* One byte stays for the NUL that ends the text. */
	if (len >= TEXT_BYTES - request->text_len)
		return refuse(request, 431);
	memcpy(request->text + request->text_len, bytes, len);
	request->text_len += len;
	return 0;
}

/* Ends the text that is being appended; answers where the next one begins, or NULL. */
static char *next_text(struct ws_request *request)
{
	if (request->text_len + 2 > TEXT_BYTES)
		return NULL;
	request->text[request->text_len++] = '\0';
	return request->text + request->text_len;
}

static int request_on_url(http_parser *parser, const char *at, size_t len)
{
	struct ws_request *request = parser->data;
	request->path = request->text;
	return append(request, at, len);
}

static int request_on_field(http_parser *parser, const char *at, size_t len)
{
	struct ws_request *request = parser->data;
	if (request->field_count == 0 || request->value_begun) {
		if (request->field_count == WS_REQUEST_FIELDS_MAX)
			return refuse(request, 431);
		char *name = next_text(request);
		if (name == NULL)
			return refuse(request, 431);
		request->fields[request->field_count++] = (struct field){name, NULL};
		request->value_begun = false;
	}
	char *target = request->text + request->text_len;
	int r = append(request, at, len);
	for (size_t i = 0; r == 0 && i < len; i++)
		target[i] = (char)tolower((unsigned char)target[i]);
	return r;
}

static int request_on_value(http_parser *parser, const char *at, size_t len)
{
	struct ws_request *request = parser->data;
	assert(request->field_count > 0);
	if (!request->value_begun) {
		char *value = next_text(request);
		if (value == NULL)
			return refuse(request, 431);
		request->fields[request->field_count - 1].value = value;
		request->value_begun = true;
	}
	return append(request, at, len);
}

static int request_on_headers_complete(http_parser *parser)
{
	struct ws_request *request = parser->data;
	if (next_text(request) == NULL)
		return refuse(request, 431);
	bool has_body = (parser->flags & F_CHUNKED) != 0 ||
			((parser->flags & F_CONTENTLENGTH) != 0 && parser->content_length != 0);
	if (has_body && parser->method == HTTP_GET)
		return refuse(request, 413);
	request->complete = true;
	return has_body ? SKIP_BODY : 0;
}

static int request_on_message_complete(http_parser *parser)
{
	http_parser_pause(parser, 1); /* what follows is not ours to parse */
	return 0;
}

/* ---- checks of the complete head ---- */

static bool is_token_character(char c)
{
	return isalnum((unsigned char)c) != 0 || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

/* The parser lets no NUL through; the rest of the control characters is judged here. */
static bool is_text(const char *value)
{
	for (; *value != '\0'; value++) {
		if (((unsigned char)*value < 0x20 && *value != '\t') || *value == 0x7f)
			return false;
	}
	return true;
}

static char *find(const struct ws_request *request, const char *name)
{
	for (size_t i = 0; i < request->field_count; i++) {
		if (strcmp(request->fields[i].name, name) == 0)
			return request->fields[i].value;
	}
	return NULL;
}

static bool fields_are_good(struct ws_request *request)
{
	for (size_t i = 0; i < request->field_count; i++) {
		struct field *field = &request->fields[i];
		if (field->value == NULL)
			field->value = request->text + request->text_len - 1; /* empty */
		/* The library as packaged lets a space through in names. */
		for (const char *c = field->name; *c != '\0'; c++) {
			if (!is_token_character(*c))
				return false;
		}
		if (!is_text(field->value))
			return false;
	}
	for (size_t s = 0; s < ARRAY_SIZE(single_fields); s++) {
		unsigned int times = 0;
		for (size_t i = 0; i < request->field_count; i++)
			times += strcmp(request->fields[i].name, single_fields[s]) == 0;
		if (times > 1)
			return false;
	}
	return true;
}

/* Cuts one list of tokens in place. */
static bool split_subprotocols(struct ws_request *request, char *list)
{
	for (char *at = list; at != NULL;) {
		char *comma = strchr(at, ',');
		if (comma != NULL)
			*comma = '\0';
		at += strspn(at, " \t");
		size_t len = 0;
		while (is_token_character(at[len]))
			len++;
		if (at[len + strspn(at + len, " \t")] != '\0')
			return false;
		at[len] = '\0';
		if (len > 0) { /* empty elements of a list mean nothing */
			if (request->subprotocol_count == SUBPROTOCOLS_MAX)
				return false;
			request->subprotocols[request->subprotocol_count++] = at;
		}
		at = comma == NULL ? NULL : comma + 1;
	}
	return true;
}

/* The token of "Bearer TOKEN", or NULL. RFC 6750 section 2.1. */
static const char *bearer_token(const char *authorization)
{
	if (strncasecmp(authorization, "bearer ", 7) != 0)
		return NULL;
	const char *token = authorization + 7 + strspn(authorization + 7, " ");
	size_t len = 0;
	while (isalnum((unsigned char)token[len]) != 0 ||
		(token[len] != '\0' && strchr("-._~+/", token[len]) != NULL))
		len++;
	size_t padding = strspn(token + len, "=");
	return len > 0 && token[len + padding] == '\0' ? token : NULL;
}

static void check_head(struct ws_request *request)
{
	if (request->parser.http_major != 1 || request->path == NULL || *request->path != '/' ||
		strchr(request->path, '#') != NULL || !is_text(request->path) ||
		!fields_are_good(request) ||
		(request->parser.http_minor >= 1 && find(request, "host") == NULL)) {
		refuse(request, 400);
		return;
	}
	request->query = strchr(request->path, '?');
	if (request->query != NULL)
		*request->query++ = '\0';
	for (size_t i = 0; i < request->field_count; i++) {
		if (strcmp(request->fields[i].name, "sec-websocket-protocol") == 0 &&
			!split_subprotocols(request, request->fields[i].value)) {
			refuse(request, 400);
			return;
		}
	}
	const char *authorization = find(request, "authorization");
	if (authorization != NULL)
		request->bearer = bearer_token(authorization);
}

enum ws_feed_result ws_request_feed(
	struct ws_request *request, const void *bytes, size_t len, size_t *consumed)
{
	static const http_parser_settings settings = {
		.on_url = request_on_url,
		.on_header_field = request_on_field,
		.on_header_value = request_on_value,
		.on_headers_complete = request_on_headers_complete,
		.on_message_complete = request_on_message_complete,
	};
	assert(!request->complete && request->refusal == 0);
	*consumed = 0;
	if (len == 0)
		return WS_FEED_MORE; /* to the library no bytes would mean the end of the stream */
	size_t room = WS_REQUEST_HEAD_BYTES_MAX - request->head_bytes;
	size_t given = len < room ? len : room;
	size_t used = http_parser_execute(&request->parser, &settings, bytes, given);
	request->head_bytes += used;
	*consumed = used;
	if (request->refusal != 0)
		return WS_FEED_REFUSED;
	enum http_errno error = HTTP_PARSER_ERRNO(&request->parser);
	if (error != HPE_OK && error != HPE_PAUSED) {
		refuse(request, error == HPE_HEADER_OVERFLOW ? 431 : 400);
		return WS_FEED_REFUSED;
	}
	if (request->complete) {
		check_head(request);
		return request->refusal != 0 ? WS_FEED_REFUSED : WS_FEED_COMPLETE;
	}
	if (request->head_bytes == WS_REQUEST_HEAD_BYTES_MAX) {
		refuse(request, 431);
		return WS_FEED_REFUSED;
	}
	return WS_FEED_MORE;
}

bool ws_request_has_begun(const struct ws_request *request)
{
	return request->head_bytes > 0;
}

unsigned int ws_request_refusal(const struct ws_request *request)
{
	return request->refusal;
}

/* ---- what it says ---- */

enum ws_method ws_request_method(const struct ws_request *request)
{
	switch (request->parser.method) {
	case HTTP_GET:
		return WS_METHOD_GET;
	case HTTP_HEAD:
		return WS_METHOD_HEAD;
	default:
		return WS_METHOD_OTHER;
	}
}

bool ws_request_is_upgrade(const struct ws_request *request)
{
	const char *upgrade = find(request, "upgrade");
	const char *version = find(request, "sec-websocket-version");
	const char *key = find(request, "sec-websocket-key");
	if (request->parser.method != HTTP_GET || request->parser.http_minor < 1 ||
		(request->parser.flags & F_CONNECTION_UPGRADE) == 0)
		return false;
	if (upgrade == NULL || strcasecmp(upgrade, "websocket") != 0 || version == NULL ||
		strcmp(version, "13") != 0 || key == NULL || strlen(key) != KEY_BYTES)
		return false;
	for (size_t i = 0; i < KEY_BYTES - 2; i++) {
		if (isalnum((unsigned char)key[i]) == 0 && key[i] != '+' && key[i] != '/')
			return false;
	}
	return strcmp(key + KEY_BYTES - 2, "==") == 0;
}

const char *ws_request_path(const struct ws_request *request)
{
	return request->path;
}

const char *ws_request_header(const struct ws_request *request, const char *name)
{
	return find(request, name);
}

const char *ws_request_bearer(const struct ws_request *request)
{
	return request->bearer;
}

bool ws_request_has_other_authorization(const struct ws_request *request)
{
	return request->bearer == NULL && find(request, "authorization") != NULL;
}

const char *ws_request_cookie(const struct ws_request *request, const char *name, size_t *len)
{
	const char *found = NULL, *at = find(request, "cookie");
	size_t name_len = strlen(name), found_len = 0;
	while (at != NULL && *at != '\0') {
		at += strspn(at, " \t;");
		size_t pair_len = strcspn(at, ";");
		if (pair_len > name_len && memcmp(at, name, name_len) == 0 && at[name_len] == '=') {
			/* Twice: which of them is meant? */
			found_len = found == NULL ? pair_len - name_len - 1 : 0;
			found = at + name_len + 1;
		}
		at += pair_len;
	}
	if (found != NULL)
		*len = found_len;
	return found;
}

const char *ws_request_subprotocol(const struct ws_request *request, size_t index)
{
	return index < request->subprotocol_count ? request->subprotocols[index] : NULL;
}

bool ws_request_asks_for(const struct ws_request *request, const char *subprotocol)
{
	for (size_t i = 0; i < request->subprotocol_count; i++) {
		if (strcmp(request->subprotocols[i], subprotocol) == 0)
			return true;
	}
	return false;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes `len` bytes of `text` into `out` with a NUL; false on a bad escape, NUL or no room. */
static bool percent_decode(
	const char *text, size_t len, char *out, size_t size, size_t *decoded_len)
{
	size_t used = 0;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (c == '%') {
			if (len - i < 3 || hex_digit(text[i + 1]) < 0 || hex_digit(text[i + 2]) < 0)
				return false;
			c = (char)(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]));
			i += 2;
		}
		if (c == '\0' || used + 1 >= size)
			return false;
		out[used++] = c;
	}
	out[used] = '\0';
	*decoded_len = used;
	return true;
}

enum ws_parameter_result ws_request_parameter(
	const struct ws_request *request, const char *name, char *out, size_t size, size_t *len)
{
	enum ws_parameter_result result = WS_PARAMETER_ABSENT;
	size_t name_len = strlen(name);
	for (const char *at = request->query; at != NULL;) {
		size_t pair_len = strcspn(at, "&");
		if (pair_len >= name_len && memcmp(at, name, name_len) == 0 &&
			(pair_len == name_len || at[name_len] == '=')) {
			const char *value = at + name_len + (pair_len > name_len);
			if (result != WS_PARAMETER_ABSENT ||
				!percent_decode(
					value, (size_t)(at + pair_len - value), out, size, len))
				return WS_PARAMETER_MALFORMED;
			result = WS_PARAMETER_FOUND;
		}
		at = at[pair_len] == '&' ? at + pair_len + 1 : NULL;
	}
	return result;
}

bool ws_request_matches(const struct ws_request *request, const char *pattern,
	struct ws_segment *segments, size_t count)
{
	const char *path = request->path;
	size_t taken = 0;
	while (*pattern != '\0') {
		if (pattern[0] == '{' && pattern[1] == '}') {
			size_t len = strcspn(path, "/");
			assert(taken < count);
			struct ws_segment *segment = &segments[taken++];
			if (!percent_decode(
				    path, len, segment->text, sizeof(segment->text), &segment->len))
				*segment = (struct ws_segment){0};
			path += len;
			pattern += 2;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return *path == '\0';
}
