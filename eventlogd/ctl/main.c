/*
 * eventlogctl: the operator's side of the event log.
 *
 * Reads: eventlogd's two sockets, and with `cat` and `verify` a log directory; with `publish` JSON
 * lines from files, standard input, or a socket that it listens on. All of these are untrusted:
 * what is printed on a terminal has its control characters escaped.
 * May do: what the user who runs it may do; it is meant to run without privileges.
 * A compromised instance could reach what that user can reach.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eventlogd/ctl/verb.h"
#include "proto/base/fd.h"
#include "proto/base/journal.h"

static const struct verb *const verbs[] = {&verb_publish, &verb_tail, &verb_cat, &verb_export,
	&verb_import, &verb_status, &verb_workers, &verb_forget, &verb_prune, &verb_verify};

static void print_help(void)
{
	puts("Usage: eventlogctl VERB [OPTION]... [ARGUMENT]...\n\n"
	     "Publish to, read, and examine Sightline's event log.\n\nVerbs:");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		printf("  %-10s%s\n", verbs[i]->name, verbs[i]->summary);
	puts("\nOptions:\n"
	     "  -h, --help  Print this and exit; after a verb, that verb's options.\n"
	     "  --version   Print the version and exit.\n\n"
	     "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 damage found (verify, export).");
}

static void print_verb_help(const struct verb *verb)
{
	printf("Usage: eventlogctl %s [OPTION]...%s%s\n\n%s\n\n%s\n\nOptions:\n", verb->name,
		verb->arguments[0] != '\0' ? " " : "", verb->arguments, verb->summary,
		verb->description);
	options_print_help(verb->options);
}

int verb_parse(const struct verb *verb, void *target, int argc, char **argv, int max_arguments,
	int *argument_count)
{
	char who[64];
	snprintf(who, sizeof(who), "eventlogctl %s", verb->name);
	switch (options_parse(verb->options, target, who, argc, argv, argument_count)) {
	case OPTIONS_OK:
		break;
	case OPTIONS_HELP:
		print_verb_help(verb);
		return EXIT_DONE;
	case OPTIONS_WRONG:
		return EXIT_USAGE;
	}
	if (*argument_count > max_arguments) {
		fprintf(stderr, "%s: unexpected argument \"%s\" (try --help)\n", who,
			argv[max_arguments]);
		return EXIT_USAGE;
	}
	return -1;
}

const char *verb_socket(const char *option, const char *environment, const char *fallback)
{
	if (option != NULL)
		return option;
	const char *from_environment = getenv(environment);
	return from_environment != NULL && from_environment[0] != '\0' ? from_environment
								       : fallback;
}

static bool reader_has_left(void)
{
	struct pollfd out = {.fd = STDOUT_FILENO};
	return poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

/* What can't be written makes it a failure too: told, unless whoever read has seen enough. */
static int end(int result)
{
	if (result == EXIT_FAILED)
		return result;
	int error = fflush(stdout) != 0 ? errno : 0;
	if (error == 0 && ferror(stdout) == 0)
		return result;
	if (!reader_has_left())
		fprintf(stderr, "eventlogctl: standard output: %s\n",
			strerror(error != 0 ? error : EIO));
	return EXIT_FAILED;
}

int main(int argc, char **argv)
{
	if (fd_fill_standard() < 0)
		return EXIT_FAILED;
	journal_open("eventlogctl");
	signal(SIGPIPE, SIG_IGN); /* a reader that leaves shows as a failed write */
	if (argc < 2) {
		fputs("eventlogctl: a verb is missing (try --help)\n", stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help();
		return end(EXIT_DONE);
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("eventlogctl " SIGHTLINE_VERSION);
		return end(EXIT_DONE);
	}
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(argv[1], verbs[i]->name) == 0)
			return end(verbs[i]->run(verbs[i], argc - 1, argv + 1));
	}
	fprintf(stderr, "eventlogctl: unknown verb \"%s\" (try --help)\n", argv[1]);
	return EXIT_USAGE;
}
