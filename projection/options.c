#include "projection/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/ids.h"

static const char help[] =
	"Usage: projection --policy FILE [--socket PATH] [--key FILE]\n"
	"       projection --check FILE\n"
	"       projection --explain FILE --role ROLE --runtime ID --worker ID < EVENTS\n"
	"       projection --sandbox-report\n"
	"\n"
	"Answers what of each event a role may see, for backend-relay, on a Unix socket that it\n"
	"inherits (named \"projection\") or makes at PATH. Sandboxed before the first request.\n"
	"\n"
	"Options:\n"
	"      --policy FILE     Policy: sightline-policy(5).\n"
	"      --socket PATH     Listen here when no socket is inherited.\n"
	"      --key FILE        Secret for the action `hash`; a relative name is looked up in\n"
	"                        $CREDENTIALS_DIRECTORY or beside the policy.\n"
	"      --accept-incomplete-sandbox\n"
	"                        Start although this kernel lacks a layer of the sandbox.\n"
	"      --check FILE      Say whether a policy is good, or where it is not.\n"
	"      --explain FILE    Read events, one JSON object a line, and print for each what the\n"
	"                        role would see of it and which rules were at work.\n"
	"      --role ROLE, --runtime ID, --worker ID\n"
	"                        Whose view of which stream to explain.\n"
	"      --sandbox-report  Enter the sandbox and print what holds on this kernel.\n"
	"  -h, --help            Print this and exit.\n"
	"      --version         Print the version and exit.\n"
	"\n"
	"Exit codes: 0 done or stopped in order, 1 failed, 2 wrong usage or policy.\n";

static int fail(const char *text)
{
	fprintf(stderr, "projection: %s\nTry \"projection --help\".\n", text);
	return EXIT_USAGE;
}

static int check(const struct options *options)
{
	bool explains = options->mode == MODE_EXPLAIN;
	if (options->mode != MODE_SANDBOX_REPORT && options->policy == NULL)
		return fail("--policy FILE is missing");
	if (!explains && (options->role != NULL || options->runtime_id != NULL ||
				 options->worker_id != NULL))
		return fail("--role, --runtime and --worker go with --explain");
	if (!explains)
		return -1;
	if (options->role == NULL || options->runtime_id == NULL || options->worker_id == NULL)
		return fail("--explain needs --role, --runtime and --worker");
	if (!id_is_valid(options->runtime_id, strlen(options->runtime_id)) ||
		!id_is_valid(options->worker_id, strlen(options->worker_id)))
		return fail("--runtime and --worker must be ids: [A-Za-z0-9_.:-], at most 128");
	return -1;
}

enum {
	OPTION_POLICY = 256,
	OPTION_SOCKET,
	OPTION_KEY,
	OPTION_ACCEPT_INCOMPLETE,
	OPTION_CHECK,
	OPTION_EXPLAIN,
	OPTION_ROLE,
	OPTION_RUNTIME,
	OPTION_WORKER,
	OPTION_REPORT,
	OPTION_SELFTEST,
	OPTION_VERSION,
};

/* -1 to go on, or the exit code. */
static int take(struct options *options, int option)
{
	switch (option) {
	case OPTION_CHECK:
		options->mode = MODE_CHECK;
		options->policy = optarg;
		return -1;
	case OPTION_EXPLAIN:
		options->mode = MODE_EXPLAIN;
		options->policy = optarg;
		return -1;
	case OPTION_REPORT:
		options->mode = MODE_SANDBOX_REPORT;
		return -1;
	case OPTION_POLICY:
		options->policy = optarg;
		return -1;
	case OPTION_SOCKET:
		options->socket = optarg;
		return -1;
	case OPTION_KEY:
		options->key_file = optarg;
		return -1;
	case OPTION_ROLE:
		options->role = optarg;
		return -1;
	case OPTION_RUNTIME:
		options->runtime_id = optarg;
		return -1;
	case OPTION_WORKER:
		options->worker_id = optarg;
		return -1;
	case OPTION_SELFTEST:
		options->selftest = optarg;
		return -1;
	case OPTION_ACCEPT_INCOMPLETE:
		options->accept_incomplete_sandbox = true;
		return -1;
	case 'h':
		fputs(help, stdout);
		return EXIT_SUCCESS;
	case OPTION_VERSION:
		puts("projection " SIGHTLINE_VERSION);
		return EXIT_SUCCESS;
	default:
		fprintf(stderr, "Try \"projection --help\".\n");
		return EXIT_USAGE;
	}
}

int options_parse(struct options *options, int argc, char **argv)
{
	static const struct option table[] = {
		{"policy", required_argument, NULL, OPTION_POLICY},
		{"socket", required_argument, NULL, OPTION_SOCKET},
		{"key", required_argument, NULL, OPTION_KEY},
		{"accept-incomplete-sandbox", no_argument, NULL, OPTION_ACCEPT_INCOMPLETE},
		{"check", required_argument, NULL, OPTION_CHECK},
		{"explain", required_argument, NULL, OPTION_EXPLAIN},
		{"role", required_argument, NULL, OPTION_ROLE},
		{"runtime", required_argument, NULL, OPTION_RUNTIME},
		{"worker", required_argument, NULL, OPTION_WORKER},
		{"sandbox-report", no_argument, NULL, OPTION_REPORT},
		{"sandbox-selftest", required_argument, NULL, OPTION_SELFTEST},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, OPTION_VERSION},
		{NULL, 0, NULL, 0},
	};
	*options = (struct options){0};
	int option;
	while ((option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
		int code = take(options, option);
		if (code >= 0)
			return code;
	}
	if (optind < argc)
		return fail("it takes no arguments but options");
	return check(options);
}
