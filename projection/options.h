/* The command line; `projection --help` and projection(8) describe it. */
#pragma once

#include <stdbool.h>

#include "proto/base/attributes.h"

enum { EXIT_USAGE = 2 }; /* also for a mistake in the policy */

enum run_mode { MODE_SERVE, MODE_CHECK, MODE_EXPLAIN, MODE_SANDBOX_REPORT };

struct options {
	enum run_mode mode;
	const char *policy;   /* also of --check and --explain */
	const char *socket;   /* NULL: inherited */
	const char *key_file; /* NULL: none */
	const char *role, *runtime_id, *worker_id;
	bool accept_incomplete_sandbox;
	const char *selftest; /* name of an attempt; not in --help */
};

/* -1 to go on, else the exit code (after --help, --version or a mistake, which has been told). */
_must_check_ int options_parse(struct options *options, int argc, char **argv);
