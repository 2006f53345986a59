/* backend-relay: the registry of runtimes, and what their failures mean for a client. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend-relay/upstream/registry.h"
#include "backend-relay/upstream/source_failure.h"
#include "proto/base/fd.h"

static char directory[] = "/tmp/relay_upstream.XXXXXX";
static char path[64], token_path[64];

static int group_setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/registry.yaml", directory);
	snprintf(token_path, sizeof(token_path), "%s/a.token", directory);
	assert_int_equal(fd_write_file_atomically(token_path, "secret\n", 7, 0600), 0);
	unsetenv("CREDENTIALS_DIRECTORY");
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	unlink(token_path);
	rmdir(directory);
	return 0;
}

static int parse(struct registry *registry, const char *text, struct yaml_error *error)
{
	return registry_parse(registry, path, text, strlen(text), error);
}

static void entries_are_found_by_their_id(void **state)
{
	(void)state;
	struct registry registry;
	struct yaml_error error;
	assert_int_equal(
		parse(&registry,
			"runtimes:\n"
			"  - {runtime_id: a, url: 'wss://h.example:7443', token_file: a.token}\n"
			"  - {runtime_id: b, display_name: B b, url: 'unix:/run/b.sock'}\n",
			&error),
		0);
	const struct runtime *a = registry_find(&registry, "a");
	const struct runtime *b = registry_find(&registry, "b");
	assert_string_equal(a->display_name, "a");
	assert_string_equal(a->url.host, "h.example");
	assert_int_equal(a->url.port, 7443);
	assert_string_equal(a->token, "secret");
	assert_string_equal(b->display_name, "B b");
	assert_null(b->token);
	assert_null(registry_find(&registry, "c"));
	assert_null(registry_find(&registry, ""));
	registry_free(&registry);
}

static void token_travels_only_where_nobody_listens_unless_told_otherwise(void **state)
{
	(void)state;
	static const struct {
		const char *url;
		int expected;
	} cases[] = {
		{"wss://h.example", 0},
		{"unix:/run/x.sock", 0},
		{"ws://127.0.0.1:7001", 0},
		{"ws://[::1]:7001", 0},
		{"ws://localhost:7001", 0},
		{"ws://h.example", -EINVAL},
		{"ws://127.0.0.1.h.example", -EINVAL},
		{"ws://10.0.0.1", -EINVAL},
		{"ws://localhost.example", -EINVAL},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct registry registry;
		struct yaml_error error;
		char text[256];
		snprintf(text, sizeof(text),
			"runtimes:\n  - {runtime_id: a, url: '%s', token_file: a.token}\n",
			cases[i].url);
		assert_int_equal(parse(&registry, text, &error), cases[i].expected);
		registry_free(&registry);
		snprintf(text, sizeof(text),
			"runtimes:\n  - {runtime_id: a, url: '%s', token_file: a.token, "
			"insecure: true}\n",
			cases[i].url);
		assert_int_equal(parse(&registry, text, &error), 0);
		registry_free(&registry);
	}
}

static void mistakes_have_their_place(void **state)
{
	(void)state;
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{"", "\"runtimes\" is missing"},
		{"runtimes: 5\n", ":1:11: "},
		{"runtimes:\n  - {runtime_id: a/b, url: 'ws://h'}\n", ":2:18: "},
		{"runtimes:\n  - {runtime_id: a, url: 'http://h'}\n", ":2:26: "},
		{"runtimes:\n  - {runtime_id: a, url: 'ws://u:p@h'}\n", ":2:26: "},
		{"runtimes:\n  - {runtime_id: a}\n", ":2:5: \"url\" is missing"},
		{"runtimes:\n  - {runtime_id: a, url: 'wss://h', token_file: none}\n", ":2:49: "},
		{"runtimes:\n  - {runtime_id: a, url: 'ws://h', tls: no}\n",
			":2:36: unknown key \"tls\""},
		{"runtimes:\n  - {runtime_id: a, url: 'ws://h'}\n"
		 "  - {runtime_id: a, url: 'ws://i'}\n",
			":3:18: runtime_id \"a\" is there twice"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct registry registry;
		struct yaml_error error;
		assert_int_equal(parse(&registry, cases[i].text, &error), -EINVAL);
		assert_non_null(strstr(error.text, cases[i].expected));
	}
}

static void every_end_of_a_connection_has_its_code(void **state)
{
	(void)state;
	static const struct {
		struct ws_client_end end;
		enum diagnostic expected;
		bool refused;
	} cases[] = {
		{{.result = WS_CLIENT_UNREACHABLE}, DIAGNOSTIC_BACKEND_RUNTIME_UNAVAILABLE, false},
		{{.result = WS_CLIENT_NAME}, DIAGNOSTIC_BACKEND_RUNTIME_UNAVAILABLE, false},
		{{.result = WS_CLIENT_TLS}, DIAGNOSTIC_BACKEND_RUNTIME_UNAVAILABLE, false},
		{{.result = WS_CLIENT_TIMEOUT}, DIAGNOSTIC_BACKEND_RUNTIME_TIMEOUT, false},
		{{.result = WS_CLIENT_LOST}, DIAGNOSTIC_BACKEND_UPSTREAM_DISCONNECT, false},
		{{.result = WS_CLIENT_CLOSED}, DIAGNOSTIC_BACKEND_UPSTREAM_DISCONNECT, false},
		{{.result = WS_CLIENT_TOO_LONG}, DIAGNOSTIC_BACKEND_MALFORMED_FRAME, false},
		{{.result = WS_CLIENT_MALFORMED}, DIAGNOSTIC_BACKEND_MALFORMED_FRAME, false},
		{{.result = WS_CLIENT_STATUS, .http_status = 401},
			DIAGNOSTIC_BACKEND_RUNTIME_AUTH_FAILED, false},
		{{.result = WS_CLIENT_STATUS, .http_status = 404},
			DIAGNOSTIC_BACKEND_RUNTIME_UNSUPPORTED, true},
		{{.result = WS_CLIENT_STATUS,
			 .http_status = 404,
			 .code = "runtime.worker_not_found"},
			DIAGNOSTIC_BACKEND_WORKER_NOT_FOUND, true},
		{{.result = WS_CLIENT_STATUS, .http_status = 307},
			DIAGNOSTIC_BACKEND_RUNTIME_UNSUPPORTED, true},
		{{.result = WS_CLIENT_STATUS, .http_status = 502},
			DIAGNOSTIC_BACKEND_RUNTIME_UNAVAILABLE, false},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct source_failure failure = source_failure_of_end(&cases[i].end);
		assert_int_equal(failure.diagnostic, cases[i].expected);
		assert_int_equal(failure.refused, cases[i].refused);
	}
}

static void words_of_a_runtime_keep_their_names_or_are_ignored(void **state)
{
	(void)state;
	static const struct {
		enum diagnostic said;
		enum source_failure_word word;
		enum diagnostic told;
	} cases[] = {
		{DIAGNOSTIC_RUNTIME_CORRUPT, SOURCE_WORD_GAP, DIAGNOSTIC_BACKEND_CORRUPT},
		{DIAGNOSTIC_RUNTIME_PRUNED, SOURCE_WORD_GAP, DIAGNOSTIC_BACKEND_PRUNED},
		{DIAGNOSTIC_RUNTIME_CURSOR_EXPIRED, SOURCE_WORD_FAILURE,
			DIAGNOSTIC_BACKEND_CURSOR_EXPIRED},
		{DIAGNOSTIC_RUNTIME_GOING_AWAY, SOURCE_WORD_FAILURE,
			DIAGNOSTIC_BACKEND_UPSTREAM_DISCONNECT},
		{DIAGNOSTIC_RUNTIME_OBSERVATION_ONLY, SOURCE_WORD_IGNORED, 0},
		{DIAGNOSTIC_BACKEND_UNAUTHORIZED, SOURCE_WORD_IGNORED, 0},
		{DIAGNOSTIC_COUNT, SOURCE_WORD_IGNORED, 0},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct runtime_diagnostic said = {.diagnostic = cases[i].said};
		struct source_failure failure = {0};
		assert_int_equal(source_failure_of_word(&said, &failure), cases[i].word);
		assert_int_equal(failure.diagnostic, cases[i].told);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_are_found_by_their_id),
		cmocka_unit_test(token_travels_only_where_nobody_listens_unless_told_otherwise),
		cmocka_unit_test(mistakes_have_their_place),
		cmocka_unit_test(every_end_of_a_connection_has_its_code),
		cmocka_unit_test(words_of_a_runtime_keep_their_names_or_are_ignored),
	};
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
