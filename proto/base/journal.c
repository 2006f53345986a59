#define SD_JOURNAL_SUPPRESS_LOCATION 1

#include "proto/base/journal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

enum { LINE_BYTES = 1024, FIELD_BYTES = 512, MAX_FIELDS = 16 };

enum sink { SINK_STDERR, SINK_STDERR_PREFIXED, SINK_JOURNAL };

static const char *program_name = "sightline";
static enum sink sink = SINK_STDERR;
static int max_level = LOG_INFO;

void journal_open(const char *program)
{
	program_name = program;
	/* systemd sets JOURNAL_STREAM when it has connected stdout or stderr to the journal. */
	sink = getenv("JOURNAL_STREAM") != NULL ? SINK_JOURNAL : SINK_STDERR;
}

void journal_use_stderr(void)
{
	if (sink == SINK_JOURNAL)
		sink = SINK_STDERR_PREFIXED;
}

void journal_set_max_level(int level)
{
	max_level = level;
}

static const char *level_name(int level)
{
	static const char *const names[] = {
		"emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"};
	return level >= 0 && level < (int)ARRAY_SIZE(names) ? names[level] : "?";
}

static void blank_control_characters(char *text)
{
	for (char *p = text; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	}
}

/* False when the journal can't be reached. */
static bool write_to_journal(int level, const struct journal_field *fields, const char *text)
{
	static char storage[MAX_FIELDS + 3][LINE_BYTES + 32];
	struct iovec parts[MAX_FIELDS + 3];
	int count = 0;
	snprintf(storage[0], sizeof(storage[0]), "MESSAGE=%s", text);
	snprintf(storage[1], sizeof(storage[1]), "PRIORITY=%d", level);
	snprintf(storage[2], sizeof(storage[2]), "SYSLOG_IDENTIFIER=%s", program_name);
	for (count = 3; fields != NULL && fields->name != NULL && count < MAX_FIELDS + 3; fields++)
		snprintf(storage[count++], sizeof(storage[0]), "%s=%.*s", fields->name, FIELD_BYTES,
			fields->value);
	for (int i = 0; i < count; i++)
		parts[i] = (struct iovec){storage[i], strlen(storage[i])};
	return sd_journal_sendv(parts, count) == 0;
}

static void write_to_stderr(int level, const struct journal_field *fields, const char *text)
{
	char line[2 * LINE_BYTES];
	int n = sink != SINK_STDERR ? snprintf(line, sizeof(line), "<%d>%s", level, text)
				    : snprintf(line, sizeof(line), "%s[%s]: %s", program_name,
					      level_name(level), text);
	size_t len = (size_t)n;
	for (; fields != NULL && fields->name != NULL && len < sizeof(line) - 2; fields++)
		len += (size_t)snprintf(line + len, sizeof(line) - len, " %s=%.*s", fields->name,
			FIELD_BYTES, fields->value);
	if (len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	line[len] = '\0';
	blank_control_characters(line);
	line[len++] = '\n';
	/* One write a line, so that lines of several processes on one terminal stay whole. */
	ssize_t ignored = write(STDERR_FILENO, line, len);
	(void)ignored; /* there is nowhere left to report it */
}

_printf_(3, 0) static void write_line(
	int level, const struct journal_field *fields, const char *format, va_list args)
{
	if (level > max_level)
		return;
	int saved = errno;
	char text[LINE_BYTES];
	vsnprintf(text, sizeof(text), format, args);
	blank_control_characters(text);
	if (sink != SINK_JOURNAL || !write_to_journal(level, fields, text))
		write_to_stderr(level, fields, text);
	errno = saved;
}

void journal(int level, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	write_line(level, NULL, format, args);
	va_end(args);
}

void journal_fields(int level, const struct journal_field *fields, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	write_line(level, fields, format, args);
	va_end(args);
}

bool journal_limit_pass(struct journal_limit *limit, uint64_t now_ns, unsigned int *suppressed)
{
	if (now_ns - limit->window_start_ns >= limit->interval_ns) {
		limit->window_start_ns = now_ns;
		limit->in_window = 0;
	}
	if (limit->in_window >= limit->burst) {
		limit->suppressed++;
		return false;
	}
	limit->in_window++;
	*suppressed = limit->suppressed;
	limit->suppressed = 0;
	return true;
}
