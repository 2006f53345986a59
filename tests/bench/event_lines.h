/*
 * The lines of a file of events, and going through them for some time: what programs that are held
 * against each other share.
 */
#pragma once

#include <stddef.h>

struct line {
	const char *text;
	size_t len;
};

/* Calls `take` for every line, over and over, for about `seconds` of one core's time, and
 * prints one JSON line: {"events":…,"bytes":…,"seconds":…}. Ends the process when the file can't be
 * read. */
void event_lines_run(const char *path, const char *seconds,
	void (*take)(void *context, const struct line *line), void *context);

/* Says why on stderr and ends the process. */
_Noreturn void event_lines_fail(const char *why);
