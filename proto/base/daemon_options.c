#include "proto/base/daemon_options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char *program_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash != NULL ? slash + 1 : path;
}

int daemon_options(int argc, char **argv, const char *help, const char **config_path)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{0},
	};
	const char *name = program_name(argv[0]), *path = NULL;
	int option;
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			path = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			return DAEMON_EXIT_DONE;
		case 'v':
			printf("%s %s\n", name, SIGHTLINE_VERSION);
			return DAEMON_EXIT_DONE;
		default:
			return DAEMON_EXIT_USAGE;
		}
	}
	if (path == NULL || optind != argc) {
		fprintf(stderr, "%s: --config FILE is needed, and nothing else (try --help)\n",
			name);
		return DAEMON_EXIT_USAGE;
	}
	*config_path = path;
	return DAEMON_OPTIONS_GO_ON;
}
