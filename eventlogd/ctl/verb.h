/*
 * The verbs of eventlogctl: one file each, found through the table in main.c.
 *
 * stdout is data, stderr is talk. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 damage found.
 */
#pragma once

#include "eventlogd/ctl/options.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_DAMAGED = 3 };

#define DEFAULT_PUBLISH_SOCKET "/run/sightline/publish.sock"
#define DEFAULT_TAIL_SOCKET "/run/sightline/tail.sock"
#define ENVIRONMENT_PUBLISH_SOCKET "SIGHTLINE_PUBLISH_SOCKET"
#define ENVIRONMENT_TAIL_SOCKET "SIGHTLINE_TAIL_SOCKET"

struct verb {
	const char *name;
	const char *arguments;   /* for the usage line, after [OPTION]... */
	const char *summary;     /* one line */
	const char *description; /* paragraphs for --help */
	const struct option_row *options;
	int (*run)(const struct verb *verb, int argc, char **argv); /* returns the exit code */
};

extern const struct verb verb_publish, verb_tail, verb_cat, verb_status, verb_workers, verb_forget,
	verb_verify, verb_prune, verb_export, verb_import;

/*
 * What every verb begins with: options into `target`, then at most `max_arguments` of the rest.
 * -1 to go on, else the exit code.
 */
_must_check_ int verb_parse(const struct verb *verb, void *target, int argc, char **argv,
	int max_arguments, int *argument_count);

/* The socket from the option, the environment, or the default. */
const char *verb_socket(const char *option, const char *environment, const char *fallback);
