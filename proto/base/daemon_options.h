/*
 * The command line of a daemon that takes its configuration and nothing else:
 * --config FILE, -h and --help, --version.
 */
#pragma once

#include "proto/base/attributes.h"

/* Exit codes of the daemons. */
enum {
	DAEMON_EXIT_DONE = 0,
	DAEMON_EXIT_FAILED = 1,
	DAEMON_EXIT_USAGE = 2, /* of the command line or the configuration */
};

enum { DAEMON_OPTIONS_GO_ON = -1 };

/*
 * DAEMON_OPTIONS_GO_ON with *config_path set (borrowed from argv); else the exit code, with help,
 * version or what is wrong printed.
 */
_must_check_ int daemon_options(int argc, char **argv, const char *help, const char **config_path);
