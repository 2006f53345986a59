/* backend-relay: configuration and tokens, each mistake with its line and column. */
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

#include "backend-relay/config.h"
#include "backend-relay/identity/token_table.h"
#include "proto/base/fd.h"

#define HASH "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static char directory[] = "/tmp/relay_files.XXXXXX";
static char file[64];

static int group_setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(file, sizeof(file), "%s/file.yaml", directory);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	unlink(file);
	rmdir(directory);
	return 0;
}

static void write_file(const char *text)
{
	assert_int_equal(fd_write_file_atomically(file, text, strlen(text), 0600), 0);
}

static void config_has_defaults_and_takes_lists(void **state)
{
	(void)state;
	write_file("projection_socket: /p\nregistry: r.yaml\ncursor_keys: [new, old]\n"
		   "event_id_key: id\norigins: https://a.example\nupstream_give_up: 30s\n");
	struct config config;
	struct yaml_error error;
	assert_int_equal(config_read(&config, file, &error), 0);
	assert_string_equal(config.projection_socket, "/p");
	assert_int_equal(config.cursor_key_count, 2);
	assert_string_equal(config.cursor_keys[1], "old");
	assert_int_equal(config.origin_count, 1);
	assert_int_equal(config.upstream_give_up_ms, 30000);
	assert_int_equal(config.max_clients, 4096);
	assert_null(config.tokens);
	config_free(&config);
}

static void config_mistakes_have_their_place(void **state)
{
	(void)state;
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{"registry: r\ncursor_keys: k\nevent_id_key: i\n",
			"\"projection_socket\" is missing"},
		{"projection_socket: /p\nregistry: r\ncursor_keys: []\nevent_id_key: i\n",
			":3:14: "},
		{"projection_socket: /p\nregistry: r\ncursor_keys: [[k]]\n", ":3:15: "},
		{"projection_socket: /p\nmax_clients: 0\n", ":2:14: "},
		{"listne: x\n", ":1:1: unknown key \"listne\""},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct config config;
		struct yaml_error error;
		write_file(cases[i].text);
		assert_int_equal(config_read(&config, file, &error), -EINVAL);
		assert_non_null(strstr(error.text, cases[i].expected));
	}
}

static void generated_token_is_found_by_its_hash_alone(void **state)
{
	(void)state;
	char token[TOKEN_TEXT_BYTES + 1], text[512], hex[2 * TOKEN_HASH_BYTES + 1];
	uint8_t hash[TOKEN_HASH_BYTES];
	token_generate(token, hash);
	assert_int_equal(strlen(token), TOKEN_TEXT_BYTES);
	for (size_t i = 0; i < sizeof(hash); i++)
		snprintf(hex + 2 * i, 3, "%02x", hash[i]);
	snprintf(text, sizeof(text),
		"tokens:\n  - {subject: b, role: viewer, hash: " HASH "}\n"
		"  - {subject: alice@example.org, role: operator, hash: %s}\n",
		hex);
	write_file(text);
	struct token_table table;
	struct yaml_error error;
	assert_int_equal(token_table_load(&table, file, &error), 0);
	const struct token_entry *entry = token_table_find(&table, token, strlen(token));
	assert_non_null(entry);
	assert_string_equal(entry->subject, "alice@example.org");
	assert_string_equal(entry->role.text, "operator");
	token[0] = token[0] == 'a' ? 'b' : 'a';
	assert_null(token_table_find(&table, token, strlen(token)));
	assert_null(token_table_find(&table, hex, strlen(hex)));
	assert_null(token_table_find(&table, "", 0));
	token_table_free(&table);
}

static void token_mistakes_have_their_place(void **state)
{
	(void)state;
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{"tokens: {}\n", ":1:9: "},
		{"tokens:\n  - {subject: a, role: r}\n", ":2:5: \"hash\" is missing"},
		{"tokens:\n  - {subject: a, role: r, hash: 12}\n", ":2:33: "},
		{"tokens:\n  - {subject: a b, role: r, hash: " HASH "}\n", ":2:15: "},
		{"tokens:\n  - {subject: a, role: r/s, hash: " HASH "}\n", ":2:24: "},
		{"tokens:\n  - {subject: a, role: r, hash: " HASH "}\n"
		 "  - {subject: b, role: r, hash: " HASH "}\n",
			":3:33: this hash is there twice"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct token_table table;
		struct yaml_error error;
		write_file(cases[i].text);
		assert_int_equal(token_table_load(&table, file, &error), -EINVAL);
		assert_non_null(strstr(error.text, cases[i].expected));
	}
}

static void key_file_is_64_hexadecimal_digits(void **state)
{
	(void)state;
	uint8_t key[KEY_BYTES];
	write_file(HASH "\n");
	assert_int_equal(key_file_read(file, key), 0);
	assert_int_equal(key[1], 0x11);
	static const char *const wrong[] = {"00", (HASH "00"), HASH "\n\n", ("xx" HASH)};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		write_file(wrong[i]);
		assert_int_equal(key_file_read(file, key), -EINVAL);
	}
	assert_int_equal(key_file_read("/nonexistent/key", key), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(config_has_defaults_and_takes_lists),
		cmocka_unit_test(config_mistakes_have_their_place),
		cmocka_unit_test(generated_token_is_found_by_its_hash_alone),
		cmocka_unit_test(token_mistakes_have_their_place),
		cmocka_unit_test(key_file_is_64_hexadecimal_digits),
	};
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
