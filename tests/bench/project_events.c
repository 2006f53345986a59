/*
 * project_events: projects the lines of a file over and over with projection's own engine, in this
 * process.
 *
 *	project_events POLICY ROLE FILE SECONDS
 */
#include <stdlib.h>
#include <string.h>

#include "event_lines.h"
#include "projection/engine.h"

struct own {
	struct policy policy;
	struct rules *rules;
	struct engine engine;
	struct open_blocks blocks;
	uint64_t ticket;
};

static void own_open(struct own *own, const char *policy, const char *role)
{
	struct yaml_error error;
	const struct projection_key key = {{1}};
	if (policy_load(&own->policy, policy, &error) < 0)
		event_lines_fail(error.text);
	const struct policy_role *found = policy_find_role(&own->policy, role, strlen(role));
	if (found == NULL || rules_compile(&own->rules, found, &key) < 0 ||
		engine_init(&own->engine) < 0)
		event_lines_fail("no such role, or no memory");
}

static void own_project(void *context, const struct line *line)
{
	struct own *own = context;
	const uint8_t *out;
	size_t len;
	int r = engine_project_next(&own->engine, own->rules, &own->blocks, own->ticket++,
		(const uint8_t *)line->text, line->len, &out, &len);
	if (r < 0 || r == VERDICT_REFUSED)
		event_lines_fail("an event could not be judged");
}

static void own_close(struct own *own)
{
	open_blocks_free(&own->blocks);
	engine_free(&own->engine);
	rules_free(own->rules);
	policy_free(&own->policy);
}

int main(int argc, char **argv)
{
	struct own own = {0};
	if (argc != 5)
		event_lines_fail("usage: project_events POLICY ROLE FILE SECONDS");
	own_open(&own, argv[1], argv[2]);
	event_lines_run(argv[3], argv[4], own_project, &own);
	own_close(&own);
	return EXIT_SUCCESS;
}
