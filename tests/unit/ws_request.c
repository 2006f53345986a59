/* proto/ws/ws_request: heads of requests, good and hostile, cut at any byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/attributes.h"
#include "proto/ws/ws_request.h"

#define UPGRADE \
	"Host: h\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" \
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"

/* 0 for a good head, else the status that refuses it. */
static unsigned int parse(const void *head, size_t len, struct ws_request **out)
{
	struct ws_request *request = ws_request_new();
	assert_non_null(request);
	size_t consumed;
	enum ws_feed_result result = ws_request_feed(request, head, len, &consumed);
	assert_int_not_equal(result, WS_FEED_MORE);
	unsigned int refusal = ws_request_refusal(request);
	assert_int_equal(result == WS_FEED_REFUSED, refusal != 0);
	if (out != NULL)
		*out = request;
	else
		ws_request_free(request);
	return refusal;
}

static struct ws_request *good(const char *head)
{
	struct ws_request *request;
	assert_int_equal(parse(head, strlen(head), &request), 0);
	return request;
}

static void upgrade_is_recognised_wherever_the_head_is_cut(void **state)
{
	(void)state;
	static const char head[] = "GET /v1/events/ws?from=oldest HTTP/1.1\r\n" UPGRADE
				   "Authorization: Bearer abc.DEF-123_~+/==\r\n"
				   "X-Empty:\r\nX-Last: z\r\n\r\nBEHIND";
	size_t head_len = strlen(head) - strlen("BEHIND");
	for (size_t cut = 0; cut < strlen(head); cut++) {
		struct ws_request *request = ws_request_new();
		size_t consumed = 0, second;
		enum ws_feed_result result = WS_FEED_MORE;
		if (cut > 0)
			result = ws_request_feed(request, head, cut, &consumed);
		if (cut < head_len) {
			assert_int_equal(result, WS_FEED_MORE);
			assert_int_equal(consumed, cut);
			result = ws_request_feed(request, head + cut, strlen(head) - cut, &second);
			consumed += second;
		}
		assert_int_equal(result, WS_FEED_COMPLETE);
		assert_int_equal(consumed, head_len);
		assert_true(ws_request_is_upgrade(request));
		assert_string_equal(ws_request_path(request), "/v1/events/ws");
		assert_string_equal(ws_request_bearer(request), "abc.DEF-123_~+/==");
		assert_string_equal(ws_request_header(request, "x-empty"), "");
		assert_string_equal(ws_request_header(request, "x-last"), "z");
		assert_null(ws_request_header(request, "x-none"));
		ws_request_free(request);
	}
}

static void plain_request_is_no_upgrade(void **state)
{
	(void)state;
	static const char *const heads[] = {
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\n"
		"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: close\r\n"
		"Sec-WebSocket-Version: 13\r\n"
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Version: 8\r\n"
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n",
	};
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		struct ws_request *request = good(heads[i]);
		assert_false(ws_request_is_upgrade(request));
		ws_request_free(request);
	}
}

static void hostile_heads_are_refused_with_their_status(void **state)
{
	(void)state;
	static const struct {
		const char *head;
		unsigned int status;
	} cases[] = {
		{"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		{"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		{"POST / HTTP/1.1\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", 413},
		{"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", 413},
		{"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\n\r\n", 400},
		{"GET /\r\n\r\n", 400},
		{"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 400},
		{"GET /#x HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: h\r\nOrigin: a\r\norigin: b\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer a\r\n"
		 "Authorization: Bearer b\r\n\r\n",
			400},
		{"GET / HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Protocol: a b\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: h\r\nX: a\x01z\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: h\r\nX : a\r\n\r\n", 400},
		{"\x16\x03\x01\x02\x01\x01", 400},
		{"SSH-2.0-OpenSSH_9.2\r\n", 400},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(
			parse(cases[i].head, strlen(cases[i].head), NULL), cases[i].status);
	static const char nul[] = "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n";
	assert_int_equal(parse(nul, sizeof(nul) - 1, NULL), 400);
	static const char nul_in_path[] = "GET /a\0b HTTP/1.1\r\nHost: h\r\n\r\n";
	assert_int_equal(parse(nul_in_path, sizeof(nul_in_path) - 1, NULL), 400);
}

static void body_of_another_method_is_not_part_of_the_head(void **state)
{
	(void)state;
	static const struct {
		const char *head, *body;
		enum ws_method method;
	} cases[] = {
		{"GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "", WS_METHOD_GET},
		{"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n", "", WS_METHOD_HEAD},
		{"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "", WS_METHOD_OTHER},
		{"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n", "abc",
			WS_METHOD_OTHER},
		{"PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
			"3\r\nabc\r\n0\r\n\r\n", WS_METHOD_OTHER},
		{"DELETE /a HTTP/1.1\r\n" UPGRADE "\r\n", "", WS_METHOD_OTHER},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char bytes[512];
		int len = snprintf(bytes, sizeof(bytes), "%s%s", cases[i].head, cases[i].body);
		struct ws_request *request = ws_request_new();
		size_t consumed;
		assert_int_equal(
			ws_request_feed(request, bytes, (size_t)len, &consumed), WS_FEED_COMPLETE);
		assert_int_equal(consumed, strlen(cases[i].head));
		assert_int_equal(ws_request_method(request), cases[i].method);
		assert_string_equal(ws_request_path(request), "/a");
		assert_false(ws_request_is_upgrade(request));
		ws_request_free(request);
	}
}

static void head_is_bounded_in_bytes_and_fields(void **state)
{
	(void)state;
	static char head[WS_REQUEST_HEAD_BYTES_MAX + 100];
	int n = snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: h\r\nX: ");
	memset(head + n, 'a', sizeof(head) - (size_t)n);
	assert_int_equal(parse(head, sizeof(head), NULL), 431);
	for (unsigned int fields = WS_REQUEST_FIELDS_MAX; fields <= WS_REQUEST_FIELDS_MAX + 1;
		fields++) {
		n = snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: h\r\n");
		for (unsigned int i = 1; i < fields; i++)
			n += snprintf(head + n, sizeof(head) - (size_t)n, "X%u: y\r\n", i);
		n += snprintf(head + n, sizeof(head) - (size_t)n, "\r\n");
		assert_int_equal(
			parse(head, (size_t)n, NULL), fields <= WS_REQUEST_FIELDS_MAX ? 0 : 431);
	}
}

static void authorization_of_another_kind_is_told_apart_from_none(void **state)
{
	(void)state;
	static const struct {
		const char *line;
		const char *bearer;
		bool other;
	} cases[] = {
		{"", NULL, false},
		{"Authorization: Bearer x\r\n", "x", false},
		{"Authorization: bearer  x\r\n", "x", false},
		{"Authorization: Bearer\r\n", NULL, true},
		{"Authorization: Bearer \r\n", NULL, true},
		{"Authorization: Bearer a b\r\n", NULL, true},
		{"Authorization: Bearer a\"b\r\n", NULL, true},
		{"Authorization: Basic eDp5\r\n", NULL, true},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char head[256];
		snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", cases[i].line);
		struct ws_request *request = good(head);
		if (cases[i].bearer == NULL)
			assert_null(ws_request_bearer(request));
		else
			assert_string_equal(ws_request_bearer(request), cases[i].bearer);
		assert_int_equal(ws_request_has_other_authorization(request), cases[i].other);
		ws_request_free(request);
	}
}

static void subprotocols_come_in_order_also_from_two_lines(void **state)
{
	(void)state;
	struct ws_request *request = good(
		"GET / HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Protocol: sightline.v1 ,,"
		" bearer.a-_Z\r\nSec-WebSocket-Protocol: last\r\n\r\n");
	assert_string_equal(ws_request_subprotocol(request, 0), "sightline.v1");
	assert_string_equal(ws_request_subprotocol(request, 1), "bearer.a-_Z");
	assert_string_equal(ws_request_subprotocol(request, 2), "last");
	assert_null(ws_request_subprotocol(request, 3));
	assert_true(ws_request_asks_for(request, "sightline.v1"));
	assert_false(ws_request_asks_for(request, "sightline"));
	ws_request_free(request);
}

static void parameters_are_decoded_strictly(void **state)
{
	(void)state;
	struct ws_request *request = good("GET /p?cursor=a%2Fb+c&empty&two=1&two=2&bad=%4&nul=%00"
					  "&cursors=no&long=123456789 HTTP/1.1\r\nHost: h\r\n\r\n");
	char out[9];
	size_t len;
	assert_int_equal(ws_request_parameter(request, "cursor", out, sizeof(out), &len),
		WS_PARAMETER_FOUND);
	assert_string_equal(out, "a/b+c");
	assert_int_equal(len, 5);
	assert_int_equal(
		ws_request_parameter(request, "empty", out, sizeof(out), &len), WS_PARAMETER_FOUND);
	assert_int_equal(len, 0);
	assert_int_equal(ws_request_parameter(request, "absent", out, sizeof(out), &len),
		WS_PARAMETER_ABSENT);
	static const char *const malformed[] = {"two", "bad", "nul", "long"};
	for (size_t i = 0; i < ARRAY_SIZE(malformed); i++)
		assert_int_equal(
			ws_request_parameter(request, malformed[i], out, sizeof(out), &len),
			WS_PARAMETER_MALFORMED);
	ws_request_free(request);
}

static void path_is_matched_by_segments_and_decoded(void **state)
{
	(void)state;
	static const char pattern[] = "/v1/workers/{}/events/ws";
	static const struct {
		const char *path;
		bool matches;
		const char *segment;
	} cases[] = {
		{"/v1/workers/w1/events/ws", true, "w1"},
		{"/v1/workers/a%3Ab/events/ws", true, "a:b"},
		{"/v1/workers/a%2fb/events/ws", true, "a/b"},
		{"/v1/workers/%/events/ws", true, ""},
		{"/v1/workers/%00/events/ws", true, ""},
		{"/v1/workers//events/ws", true, ""},
		{"/v1/workers/a/b/events/ws", false, NULL},
		{"/v1/workers/w1/events/ws/", false, NULL},
		{"/v1/workers/w1", false, NULL},
		{"/", false, NULL},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char head[256];
		snprintf(head, sizeof(head), "GET %s?q HTTP/1.1\r\nHost: h\r\n\r\n", cases[i].path);
		struct ws_request *request = good(head);
		struct ws_segment segment;
		assert_int_equal(
			ws_request_matches(request, pattern, &segment, 1), cases[i].matches);
		if (cases[i].matches)
			assert_string_equal(segment.text, cases[i].segment);
		ws_request_free(request);
	}
}

static void cookie_is_found_by_its_whole_name_and_only_once(void **state)
{
	(void)state;
	struct ws_request *request = good("GET / HTTP/1.1\r\nHost: h\r\n"
					  "Cookie: xsid=no; sid=abc; two=1;two=2\r\n\r\n");
	size_t len;
	const char *value = ws_request_cookie(request, "sid", &len);
	assert_non_null(value);
	assert_int_equal(len, 3);
	assert_memory_equal(value, "abc", 3);
	assert_non_null(ws_request_cookie(request, "two", &len));
	assert_int_equal(len, 0);
	assert_null(ws_request_cookie(request, "id", &len));
	ws_request_free(request);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(upgrade_is_recognised_wherever_the_head_is_cut),
		cmocka_unit_test(plain_request_is_no_upgrade),
		cmocka_unit_test(hostile_heads_are_refused_with_their_status),
		cmocka_unit_test(body_of_another_method_is_not_part_of_the_head),
		cmocka_unit_test(head_is_bounded_in_bytes_and_fields),
		cmocka_unit_test(authorization_of_another_kind_is_told_apart_from_none),
		cmocka_unit_test(subprotocols_come_in_order_also_from_two_lines),
		cmocka_unit_test(parameters_are_decoded_strictly),
		cmocka_unit_test(path_is_matched_by_segments_and_decoded),
		cmocka_unit_test(cookie_is_found_by_its_whole_name_and_only_once),
	};
	return cmocka_run_group_tests_name("ws_request", tests, NULL, NULL);
}
