/*
 * wsgate: serves the events of this runtime host to backends, over WebSocket.
 *
 * Reads from: its configuration, token and certificate, at start; eventlogd's tail socket;
 * backends over HTTP and WebSocket (heads of requests, close and ping frames; anything else ends
 * the session).
 * Writes to: backends; small requests to eventlogd.
 * May: accept on one listening socket and one for its status, connect to one Unix socket. No
 * files once it has started, no outgoing network.
 * What a compromised instance could reach: it can read all events of this host and change none.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/daemon_options.h"
#include "proto/base/daemon_socket.h"
#include "proto/base/fd.h"
#include "proto/base/secret_file.h"
#include "wsgate/confine.h"
#include "wsgate/gate.h"

enum { PATH_BYTES = 4096 };

static const char help[] =
	"Usage: wsgate --config FILE\n\n"
	"Serves the events of this host's log to backends, over WebSocket.\n\n"
	"Options:\n"
	"      --config FILE  Configuration (wsgate.yaml).\n"
	"  -h, --help         Print this and exit.\n"
	"      --version      Print the version and exit.\n\n"
	"Exit codes: 0 stopped in order, 1 failed, 2 wrong usage or configuration.\n";

/* 0, or -errno, told already. `token` stays NULL without a token file. */
static int read_token(
	const struct config *config, const char *config_path, char **token, size_t *len)
{
	char path[PATH_BYTES];
	if (config->token_file == NULL)
		return 0;
	int r = secret_file_path(config->token_file, config_path, path, sizeof(path));
	if (r == 0)
		r = secret_file_read(path, token, len);
	if (r < 0)
		journal(LOG_ERR, "can't read the token from %s: %s", config->token_file,
			r == -EINVAL ? "it is empty or no text" : strerror(-r));
	return r;
}

static void on_stop(struct daemon *daemon)
{
	gate_stop(daemon->owner);
}

static int serve(struct daemon *daemon, struct gate *gate)
{
	daemon->owner = gate;
	daemon->on_stop = on_stop;
	daemon_ready(daemon);
	journal(LOG_INFO, "serving runtime %s", gate->config->runtime_id);
	if (daemon_run(daemon) < 0)
		journal(LOG_WARNING, "stopped before everybody had been told");
	return DAEMON_EXIT_DONE;
}

static int run(struct daemon *daemon, struct gate *gate, const struct config *config,
	const char *config_path)
{
	char *token = NULL;
	size_t token_len = 0;
	int runtime_fd = -1, status_fd = -1;
	int r = read_token(config, config_path, &token, &token_len);
	if (r == 0) {
		r = gate_open(gate, daemon, config, token, token_len);
		secret_free(token, token_len);
	}
	if (r == 0)
		r = runtime_fd = daemon_socket_take(daemon, "runtime", config->listen);
	if (r >= 0)
		r = daemon_socket_take_optional(
			daemon, "status", config->status_listen, &status_fd);
	inherited_fds_close_rest(&daemon->inherited);
	if (r < 0) {
		fd_close(runtime_fd);
		return DAEMON_EXIT_FAILED;
	}
	if (gate_listen(gate, runtime_fd, status_fd) < 0 || confine() < 0)
		return DAEMON_EXIT_FAILED;
	return serve(daemon, gate);
}

int main(int argc, char **argv)
{
	const char *config_path;
	int result = daemon_options(argc, argv, help, &config_path);
	if (result != DAEMON_OPTIONS_GO_ON)
		return result;
	struct config config;
	struct yaml_error error;
	if (config_read(&config, config_path, &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		return DAEMON_EXIT_USAGE;
	}
	static struct daemon daemon;
	static struct gate gate;
	int r = sodium_init() < 0 ? -EIO : daemon_init(&daemon, "wsgate");
	if (r < 0) {
		fprintf(stderr, "wsgate: can't start: %s\n", strerror(-r));
		config_free(&config);
		return DAEMON_EXIT_FAILED;
	}
	result = run(&daemon, &gate, &config, config_path);
	gate_close(&gate);
	daemon_close(&daemon);
	gate_free(&gate);
	config_free(&config);
	return result;
}
