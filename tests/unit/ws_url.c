/* proto/ws/ws_url: what is an address of a runtime, and where a token may go. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/attributes.h"
#include "proto/ws/ws_url.h"

static void parts_are_taken_from_good_urls(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		struct ws_url url;
	} cases[] = {
		{"ws://host", {WS_URL_PLAIN, "host", 80, ""}},
		{"ws://host/", {WS_URL_PLAIN, "host", 80, ""}},
		{"ws://127.0.0.1:7001", {WS_URL_PLAIN, "127.0.0.1", 7001, ""}},
		{"wss://run.example.com/a/b/", {WS_URL_TLS, "run.example.com", 443, "/a/b"}},
		{"wss://[2001:db8::1]:8443", {WS_URL_TLS, "2001:db8::1", 8443, ""}},
		{"unix:/run/sightline/ws", {WS_URL_UNIX, "", 0, "/run/sightline/ws"}},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ws_url url;
		assert_int_equal(ws_url_parse(cases[i].text, &url), 0);
		assert_int_equal(url.scheme, cases[i].url.scheme);
		assert_string_equal(url.host, cases[i].url.host);
		assert_int_equal(url.port, cases[i].url.port);
		assert_string_equal(url.path, cases[i].url.path);
	}
}

static void anything_else_is_refused(void **state)
{
	(void)state;
	static const char *const cases[] = {"", "host", "http://host", "ws://", "ws://:80",
		"ws://host:", "ws://host:0", "ws://host:65536", "ws://host:80x", "ws://user@host",
		"ws://host?x=1", "ws://host/a#b", "ws://host/a b", "ws://[::1", "ws://[nope]",
		"ws://[]", "unix:relative", "unix:", "wss://host/\r\nX: y",
		"unix:/"
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ws_url url = {.port = 7};
		assert_int_equal(ws_url_parse(cases[i], &url), -EINVAL);
		assert_int_equal(url.port, 7);
	}
}

static void token_travels_unasked_only_where_nobody_listens(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool is_private;
	} cases[] = {
		{"wss://far.example.com", true},
		{"unix:/run/x", true},
		{"ws://localhost:1", true},
		{"ws://127.9.9.9", true},
		{"ws://[::1]", true},
		{"ws://10.0.0.1", false},
		{"ws://127.0.0.1.example.com", false},
		{"ws://localhost.example.com", false},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ws_url url;
		assert_int_equal(ws_url_parse(cases[i].text, &url), 0);
		assert_int_equal(ws_url_is_private(&url), cases[i].is_private);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_are_taken_from_good_urls),
		cmocka_unit_test(anything_else_is_refused),
		cmocka_unit_test(token_travels_unasked_only_where_nobody_listens),
	};
	return cmocka_run_group_tests_name("ws_url", tests, NULL, NULL);
}
