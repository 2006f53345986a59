/*
 * What a program says to its operator: one line an event, structured where there is a journal.
 *
 * Modules return results; programs log, once, at the edge: what happened, to which object, why
 * (%m or strerror), and the consequence ("ignoring", "closing this peer"). Never payload bytes,
 * tokens, endpoints or paths of a runtime.
 *
 * Where the lines go: if stderr is connected to the journal (JOURNAL_STREAM, as under systemd),
 * to the journal with its fields, except after journal_use_stderr(), which a sandboxed process
 * calls because it can make no socket: then to stderr with the priority prefix that the journal
 * reads ("<4>"); so does a line that the journal does not take. Otherwise to stderr as
 * "program[level]: text FIELD=value".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <syslog.h> /* LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG */

#include "proto/base/attributes.h"

/* A structured field. The name follows the journal's rules: A to Z, 0 to 9 and underscore. */
struct journal_field {
	const char *name;
	const char *value;
};

/* Once, first thing in main(). `program` must outlive the process. */
void journal_open(const char *program);

/* From now on only the stderr that is open already. */
void journal_use_stderr(void);

/* Lines less important than this are dropped (default LOG_INFO). */
void journal_set_max_level(int level);

/* Keeps errno. Control characters are written as "?": a peer can't forge a line. */
_printf_(2, 3) void journal(int level, const char *format, ...);

/* The same with fields, which end at the first one whose name is NULL. */
_printf_(3, 4) void journal_fields(
	int level, const struct journal_field *fields, const char *format, ...);

/*
 * Lets through `burst` lines in each `interval_ns` and counts the rest, for lines that a peer can
 * cause. Zero-initialise with the two limits; journal_limit_pass() answers whether to log now and
 * reports, through `suppressed`, how many were not since the last that was.
 */
struct journal_limit {
	uint64_t interval_ns;
	unsigned int burst;
	uint64_t window_start_ns;
	unsigned int in_window;
	unsigned int suppressed;
};
bool journal_limit_pass(struct journal_limit *limit, uint64_t now_ns, unsigned int *suppressed);
