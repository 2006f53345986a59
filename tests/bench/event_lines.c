#include "event_lines.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/base/clock.h"

struct lines {
	char *bytes;
	struct line *line;
	size_t count, total_bytes;
};

void event_lines_fail(const char *why)
{
	fprintf(stderr, "%s\n", why);
	exit(EXIT_FAILURE);
}

static void read_lines(struct lines *lines, const char *path)
{
	FILE *file = fopen(path, "r");
	if (file == NULL || fseek(file, 0, SEEK_END) != 0)
		event_lines_fail(path);
	long size = ftell(file);
	rewind(file);
	lines->bytes = malloc((size_t)size + 1);
	lines->line = calloc((size_t)size + 1, sizeof(*lines->line));
	if (lines->bytes == NULL || lines->line == NULL ||
		fread(lines->bytes, 1, (size_t)size, file) != (size_t)size)
		event_lines_fail("reading the events");
	fclose(file);
	lines->bytes[size] = '\0';
	char *rest = lines->bytes;
	for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
		if (*line == '\0')
			continue;
		lines->line[lines->count++] = (struct line){line, strlen(line)};
		lines->total_bytes += strlen(line);
	}
}

/* Time on a core: the machine may have other things to do. */
static uint64_t cpu_ns(void)
{
	struct timespec time;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

void event_lines_run(const char *path, const char *seconds,
	void (*take)(void *context, const struct line *line), void *context)
{
	struct lines lines = {0};
	read_lines(&lines, path);
	uint64_t wanted_ns = (uint64_t)(strtod(seconds, NULL) * (double)NS_PER_S);
	uint64_t events = 0, bytes = 0, begin_ns = cpu_ns(), now_ns;
	do {
		for (size_t i = 0; i < lines.count; i++)
			take(context, &lines.line[i]);
		events += lines.count;
		bytes += lines.total_bytes;
		now_ns = cpu_ns();
	} while (now_ns - begin_ns < wanted_ns);
	printf("{\"events\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"seconds\":%.6f}\n", events, bytes,
		(double)(now_ns - begin_ns) / (double)NS_PER_S);
	free(lines.line);
	free(lines.bytes);
}
