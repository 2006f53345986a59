/*
 * redact_jansson: parses the lines of a file over and over, redacts and prints them, with jansson.
 *
 *	redact_jansson FILE SECONDS
 *
 * The redaction is less than what the example policy asks for: `output` and `summary` of a
 * tool_result are masked, and members `encrypted_content` removed at any depth.
 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "event_lines.h"

static void jansson_remove(json_t *value)
{
	const char *key;
	json_t *item;
	size_t i;
	void *next;
	if (json_is_object(value)) {
		json_object_del(value, "encrypted_content");
		json_object_foreach_safe(value, next, key, item) jansson_remove(item);
	} else if (json_is_array(value)) {
		json_array_foreach(value, i, item) jansson_remove(item);
	}
}

static void jansson_project(void *context, const struct line *line)
{
	(void)context;
	json_t *event = json_loadb(line->text, line->len, JSON_ALLOW_NUL, NULL);
	const char *kind = json_string_value(json_object_get(event, "event"));
	json_t *data = json_object_get(event, "data");
	if (kind != NULL && strcmp(kind, "tool_result") == 0) {
		json_object_set_new(data, "output", json_string("[redacted]"));
		json_object_set_new(data, "summary", json_string("[redacted]"));
	}
	jansson_remove(event);
	char *text = json_dumps(event, JSON_COMPACT);
	if (text == NULL)
		event_lines_fail("jansson could not print an event");
	free(text);
	json_decref(event);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		event_lines_fail("usage: redact_jansson FILE SECONDS");
	event_lines_run(argv[1], argv[2], jansson_project, NULL);
	return EXIT_SUCCESS;
}
