/*
 * backend-relay: observes workers at runtimes, has every event judged by projection, and serves
 * what is left of it to clients.
 *
 * Reads from: runtimes over WebSocket (bytes of hosts that we do not control), clients over HTTP
 * and WebSocket (strangers), projection's replies, its configuration, registry, tokens and keys.
 * Writes to: clients, projection, requests to the runtimes of the registry.
 * May: serve one inherited listening socket and one for its status, make outgoing TCP and Unix
 * connections, open one Unix socket to projection.
 * What a compromised instance could reach: the events and tokens of the runtimes that it is
 * configured for; it can send nothing to a worker, and has no write access to any file. Before it
 * serves anybody it confines itself (confine.c).
 *
 * Payloads are opaque here: no byte of one is parsed, and none goes to a client that projection has
 * not answered for (projected_event.h).
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "backend-relay/confine.h"
#include "backend-relay/identity/new_token.h"
#include "backend-relay/relay.h"
#include "proto/base/daemon_options.h"
#include "proto/base/daemon_socket.h"
#include "proto/base/fd.h"

static const char usage[] =
	"Usage: backend-relay --config FILE\n"
	"       backend-relay --new-token SUBJECT ROLE\n"
	"\n"
	"Observes workers at runtimes and serves what projection lets through to clients.\n"
	"\n"
	"Options:\n"
	"      --config FILE             Configuration (backend-relay.yaml).\n"
	"      --new-token SUBJECT ROLE  Make a token: print it, once, and its entry for the "
	"tokens "
	"file.\n"
	"  -h, --help                    Print this and exit.\n"
	"      --version                 Print the version and exit.\n"
	"\n"
	"Exit codes: 0 stopped in order, 1 failed, 2 wrong usage or configuration.\n";

struct options {
	const char *config_file, *subject, *role;
};

/* -1: go on; else the exit code. */
static int parse_options(int argc, char **argv, struct options *options)
{
	static const struct option table[] = {
		{"config", required_argument, NULL, 'c'},
		{"new-token", no_argument, NULL, 't'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{0},
	};
	bool new_token = false;
	int option;
	while ((option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
		switch (option) {
		case 'c':
			options->config_file = optarg;
			break;
		case 't':
			new_token = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return DAEMON_EXIT_DONE;
		case 'v':
			puts("backend-relay " SIGHTLINE_VERSION);
			return DAEMON_EXIT_DONE;
		default:
			fputs(usage, stderr);
			return DAEMON_EXIT_USAGE;
		}
	}
	bool well = new_token ? options->config_file == NULL && argc - optind == 2
			      : options->config_file != NULL && argc == optind;
	if (!well) {
		fputs(usage, stderr);
		return DAEMON_EXIT_USAGE;
	}
	if (new_token) {
		options->subject = argv[optind];
		options->role = argv[optind + 1];
	}
	return -1;
}

/* A single socket without a name is what systemd-socket-activate hands over. */
static int take_client_socket(struct relay *relay, struct daemon *daemon)
{
	if (daemon->inherited.count == 1) {
		int fd = inherited_fds_pick(&daemon->inherited, "unknown");
		if (fd >= 0)
			return fd;
	}
	return daemon_socket_take(daemon, "client", relay->config.listen);
}

static void main_on_stop(struct daemon *daemon)
{
	relay_stop(daemon->owner);
}

static void main_on_reload(struct daemon *daemon)
{
	relay_reload(daemon->owner);
}

static int enter_sandbox(const struct relay *relay)
{
	char paths[AUTHENTICATOR_FILES_MAX][4096];
	const char *files[AUTHENTICATOR_FILES_MAX];
	int count = authenticator_files(&relay->config, relay->config_file, paths);
	for (int i = 0; i < count; i++)
		files[i] = paths[i];
	return count < 0 ? count : confine(files, (size_t)count);
}

static int open_and_run(struct relay *relay, struct daemon *daemon)
{
	int client_fd = take_client_socket(relay, daemon);
	if (client_fd < 0)
		return client_fd;
	int status_fd;
	int r = daemon_socket_take_optional(
		daemon, "status", relay->config.status_listen, &status_fd);
	if (r < 0) {
		fd_close(client_fd);
		return r;
	}
	daemon->on_stop = main_on_stop;
	daemon->on_reload = main_on_reload;
	r = relay_open(relay, daemon, client_fd, status_fd);
	if (r < 0) {
		journal(LOG_ERR, "can't start: %s", strerror(-r));
		return r;
	}
	inherited_fds_close_rest(&daemon->inherited);
	r = enter_sandbox(relay);
	if (r < 0)
		return r;
	daemon_ready(daemon);
	journal(LOG_INFO, "serving clients, %zu runtimes in the registry", relay->registry.count);
	r = daemon_run(daemon);
	return r == -ETIMEDOUT ? 0 : r;
}

int main(int argc, char **argv)
{
	static struct relay relay;
	static struct daemon daemon;
	struct options options = {0};
	int code = parse_options(argc, argv, &options);
	if (code >= 0)
		return code;
	if (sodium_init() < 0)
		return DAEMON_EXIT_FAILED;
	if (options.subject != NULL)
		return new_token_run(options.subject, options.role);
	struct yaml_error error;
	int r = relay_load(&relay, options.config_file, &error);
	if (r < 0) {
		fprintf(stderr, "backend-relay: %s\n", error.text);
		return DAEMON_EXIT_USAGE;
	}
	r = daemon_init(&daemon, "backend-relay");
	if (r < 0) {
		fprintf(stderr, "backend-relay: can't start: %s\n", strerror(-r));
		return DAEMON_EXIT_FAILED;
	}
	r = open_and_run(&relay, &daemon);
	relay_close(&relay);
	daemon_close(&daemon);
	relay_free(&relay);
	return r < 0 ? DAEMON_EXIT_FAILED : DAEMON_EXIT_DONE;
}
