#include "projection/path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct parser {
	const char *text, *p;
	const char *why;
};

static int fail(struct parser *parser, const char *why)
{
	parser->why = why;
	return -EINVAL;
}

/* Takes the characters up to one of `stops`, or the end, as a new text. */
static int take_text(struct parser *parser, const char *stops, char **out)
{
	size_t len = strcspn(parser->p, stops);
	if (len > PATH_NAME_BYTES_MAX)
		return fail(parser, "a name or pattern that is too long");
	*out = strndup(parser->p, len);
	if (*out == NULL)
		return -ENOMEM;
	parser->p += len;
	return 0;
}

static int take_predicate(struct parser *parser, struct path_step *step)
{
	parser->p++;
	int r = take_text(parser, ".*[]=", &step->member);
	if (r < 0)
		return r;
	if (*parser->p != '=' || step->member[0] == '\0')
		return fail(parser, "a predicate must be [name=glob]");
	parser->p++;
	r = take_text(parser, "[]", &step->pattern);
	if (r < 0)
		return r;
	if (*parser->p != ']')
		return fail(parser, "a predicate without its closing bracket");
	parser->p++;
	return 0;
}

static int take_step(struct parser *parser, struct path_step *step)
{
	if (strncmp(parser->p, "**", 2) == 0) {
		step->kind = PATH_DEEP;
		parser->p += 2;
	} else if (*parser->p == '*') {
		step->kind = PATH_ANY;
		parser->p++;
	} else {
		step->kind = PATH_NAME;
		int r = take_text(parser, ".*[]", &step->name);
		if (r < 0)
			return r;
		if (step->name[0] == '\0')
			return fail(parser, "a step without a name");
	}
	if (*parser->p == '[')
		return take_predicate(parser, step);
	return 0;
}

static int take_steps(struct parser *parser, struct path *path)
{
	for (;;) {
		if (path->count == PATH_STEPS_MAX)
			return fail(parser, "too many steps");
		int r = take_step(parser, &path->step[path->count++]);
		if (r < 0)
			return r;
		if (*parser->p == '\0')
			return 0;
		if (*parser->p != '.')
			return fail(parser, "expected a dot between steps");
		parser->p++;
	}
}

int path_parse(struct path *path, const char *text, const char **why, size_t *at)
{
	*path = (struct path){0};
	struct parser parser = {.text = text, .p = text};
	int r = take_steps(&parser, path);
	if (r < 0) {
		path_free(path);
		*why = parser.why;
		*at = (size_t)(parser.p - text);
	}
	return r;
}

void path_free(struct path *path)
{
	for (size_t i = 0; i < path->count; i++) {
		free(path->step[i].name);
		free(path->step[i].member);
		free(path->step[i].pattern);
	}
	*path = (struct path){0};
}
