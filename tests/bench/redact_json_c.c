/*
 * redact_json_c: parses the lines of a file over and over, redacts and prints them, with json-c.
 *
 *	redact_json_c FILE SECONDS
 *
 * The redaction is less than what the example policy asks for: `output` and `summary` of a
 * tool_result are masked, and members `encrypted_content` removed at any depth.
 */
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "event_lines.h"

static void json_c_remove(struct json_object *value)
{
	if (json_object_is_type(value, json_type_object)) {
		json_object_object_del(value, "encrypted_content");
		json_object_object_foreach(value, key, item)
		{
			(void)key;
			json_c_remove(item);
		}
	} else if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(value); i++)
			json_c_remove(json_object_array_get_idx(value, i));
	}
}

static void json_c_project(void *context, const struct line *line)
{
	struct json_tokener *tokener = context;
	json_tokener_reset(tokener);
	struct json_object *event = json_tokener_parse_ex(tokener, line->text, (int)line->len);
	struct json_object *kind = json_object_object_get(event, "event");
	struct json_object *data = json_object_object_get(event, "data");
	if (strcmp(json_object_get_string(kind), "tool_result") == 0) {
		json_object_object_add(data, "output", json_object_new_string("[redacted]"));
		json_object_object_add(data, "summary", json_object_new_string("[redacted]"));
	}
	json_c_remove(event);
	if (json_object_to_json_string_ext(event, JSON_C_TO_STRING_PLAIN) == NULL)
		event_lines_fail("json-c could not print an event");
	json_object_put(event);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		event_lines_fail("usage: redact_json_c FILE SECONDS");
	struct json_tokener *tokener = json_tokener_new();
	event_lines_run(argv[1], argv[2], json_c_project, tokener);
	json_tokener_free(tokener);
	return EXIT_SUCCESS;
}
