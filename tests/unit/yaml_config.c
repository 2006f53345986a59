/* proto/base/yaml_tree and yaml_config: every mistake has its line and column. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/yaml_config.h"

struct settings {
	char *name;
	uint64_t count, size, interval_ms;
	bool enabled;
	int mode;
};

static const char *const modes[] = {"slow", "fast", NULL};

static const struct config_key keys[] = {
	{.name = "name", .type = CONFIG_STRING, .offset = offsetof(struct settings, name)},
	{.name = "count",
		.type = CONFIG_UINT,
		.offset = offsetof(struct settings, count),
		.required = true,
		.min = 1,
		.max = 10},
	{.name = "size", .type = CONFIG_BYTES, .offset = offsetof(struct settings, size)},
	{.name = "interval",
		.type = CONFIG_DURATION_MS,
		.offset = offsetof(struct settings, interval_ms)},
	{.name = "enabled", .type = CONFIG_BOOL, .offset = offsetof(struct settings, enabled)},
	{.name = "mode",
		.type = CONFIG_ENUM,
		.offset = offsetof(struct settings, mode),
		.words = modes},
	{0},
};

static int read_settings(struct settings *settings, const char *text, struct yaml_error *error)
{
	struct yaml_tree tree;
	int r = yaml_tree_parse(&tree, "test.yaml", text, strlen(text), error);
	if (r < 0)
		return r;
	r = config_read_mapping(keys, settings, &tree, yaml_tree_root(&tree), error);
	yaml_tree_free(&tree);
	return r;
}

static void values_of_every_type_are_read(void **state)
{
	(void)state;
	struct settings s = {.mode = 0};
	struct yaml_error error;
	assert_int_equal(read_settings(&s,
				 "name: \"a b\"\ncount: 7\nsize: 64MiB\ninterval: 2min\n"
				 "enabled: true\nmode: fast\n",
				 &error),
		0);
	assert_string_equal(s.name, "a b");
	assert_int_equal(s.count, 7);
	assert_int_equal(s.size, 64 << 20);
	assert_int_equal(s.interval_ms, 120000);
	assert_true(s.enabled);
	assert_int_equal(s.mode, 1);
	config_free_strings(keys, &s);
	assert_null(s.name);
}

static void every_mistake_is_told_with_line_and_column(void **state)
{
	(void)state;
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"count: 1\ncolour: red\n", "test.yaml:2:1: unknown key \"colour\""},
		{"count: 11\n", "test.yaml:1:8: \"count\" must be between 1 and 10"},
		{"count: 0\n", "test.yaml:1:8: \"count\" must be between 1 and 10"},
		{"count: -1\n", "test.yaml:1:8: \"count\" must be a number"},
		{"count: 99999999999999999999\n", "test.yaml:1:8: \"count\" must be a number"},
		{"count: [1]\n", "test.yaml:1:8: \"count\" must be a number"},
		{"name: x\n", "test.yaml:1:1: \"count\" is missing"},
		{"count: 1\nsize: 5 MB\n", "test.yaml:2:7: \"size\" must be a size such as 64MiB"},
		{"count: 1\nsize: 99999999999GiB\n",
			"test.yaml:2:7: \"size\" must be a size such as 64MiB"},
		{"count: 1\ninterval: soon\n",
			"test.yaml:2:11: \"interval\" must be a time such as 20ms or 7d"},
		{"count: 1\nenabled: yes\n",
			"test.yaml:2:10: \"enabled\" must be one of: false, true"},
		{"count: 1\nmode: middling\n",
			"test.yaml:2:7: \"mode\" must be one of: slow, fast"},
		{"count: 1\nname: \"\"\n", "test.yaml:2:7: \"name\" must be a text"},
		{"count: 1\ncount: 2\n", "test.yaml:2:1: duplicate key \"count\""},
		{"count: &a 1\nsize: *a\n", "test.yaml:2:7: aliases are not supported"},
		{"count: 1\n---\ncount: 2\n", "test.yaml:2:1: more than one document in the file"},
		{"- 1\n", "test.yaml:1:1: expected keys and values here"},
		{"[a]: 1\n", "test.yaml:1:1: a key must be a word"},
		{"count: \"1\\0\"\n", "test.yaml:1:8: NUL in a value"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct settings s = {.mode = 0};
		struct yaml_error error;
		assert_int_equal(read_settings(&s, cases[i].text, &error), -EINVAL);
		assert_string_equal(error.text, cases[i].message);
		config_free_strings(keys, &s);
	}
}

static void deep_nesting_is_an_error(void **state)
{
	(void)state;
	char text[2 * YAML_MAX_DEPTH + 8] = "";
	for (int i = 0; i <= YAML_MAX_DEPTH; i++)
		strcat(text, "[");
	for (int i = 0; i <= YAML_MAX_DEPTH; i++)
		strcat(text, "]");
	struct settings s = {.mode = 0};
	struct yaml_error error;
	assert_int_equal(read_settings(&s, text, &error), -EINVAL);
	assert_non_null(strstr(error.text, "nested too deeply"));
}

static void missing_file_is_named(void **state)
{
	(void)state;
	struct settings s = {.mode = 0};
	struct yaml_error error;
	assert_int_equal(config_load(keys, &s, "/nonexistent/a.yaml", &error), -ENOENT);
	assert_string_equal(error.text, "/nonexistent/a.yaml: No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_of_every_type_are_read),
		cmocka_unit_test(every_mistake_is_told_with_line_and_column),
		cmocka_unit_test(deep_nesting_is_an_error),
		cmocka_unit_test(missing_file_is_named),
	};
	return cmocka_run_group_tests_name("yaml_config", tests, NULL, NULL);
}
