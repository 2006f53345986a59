/*
 * eventlogd: the log of one runtime host.
 *
 * Reads: its configuration, at start; publish.sock, from workers (every byte is hostile; who they
 * are is taken from the kernel); tail.sock, from wsgate and operators; the segments in its log
 * directory, which may be damaged.
 * May do: read and write that one directory, serve those two sockets. No network, no other file,
 * no program.
 * A compromised instance could reach the events of this runtime host, and nothing else.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "eventlogd/config.h"
#include "eventlogd/confine.h"
#include "eventlogd/server.h"
#include "proto/base/daemon_options.h"
#include "proto/base/daemon_socket.h"
#include "proto/base/fd.h"

enum { SOCKET_MODE = 0660 };

static const char help[] =
	"Usage: eventlogd --config FILE\n\n"
	"Sightline's log daemon: takes events from workers, keeps them, and serves them to "
	"readers.\n\n"
	"Options:\n"
	"      --config FILE  Configuration (eventlogd.yaml).\n"
	"  -h, --help         Print this and exit.\n"
	"      --version      Print the version and exit.\n\n"
	"Exit codes: 0 stopped in order, 1 failed, 2 wrong usage or configuration.\n";

static void on_stop(struct daemon *daemon)
{
	server_stop(daemon->owner);
}

static int serve(struct daemon *daemon, struct server *server)
{
	daemon->owner = server;
	daemon->on_stop = on_stop;
	daemon_ready(daemon);
	journal(LOG_INFO, "serving the log in %s", server->config->directory);
	int r = daemon_run(daemon);
	if (r < 0)
		journal(LOG_WARNING, "stopped before everybody had been told");
	return server_close(server) < 0 ? DAEMON_EXIT_FAILED : DAEMON_EXIT_DONE;
}

static int run(struct daemon *daemon, const struct config *config)
{
	static struct server server;
	int tail_fd = -1;
	int publish_fd = daemon_socket_take_unix(
		daemon, "publish", config->publish_socket, SOCKET_MODE);
	if (publish_fd >= 0)
		tail_fd = daemon_socket_take_unix(daemon, "tail", config->tail_socket, SOCKET_MODE);
	inherited_fds_close_rest(&daemon->inherited);
	if (tail_fd < 0 || confine(config->directory) < 0 ||
		server_open(&server, daemon, config) < 0) {
		fd_close(publish_fd);
		fd_close(tail_fd);
		return DAEMON_EXIT_FAILED;
	}
	int r = server_listen(&server, publish_fd, tail_fd);
	if (r < 0) {
		journal(LOG_ERR, "can't listen: %s", strerror(-r));
		server_close(&server);
		return DAEMON_EXIT_FAILED;
	}
	return serve(daemon, &server);
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
	int r = daemon_init(&daemon, "eventlogd");
	if (r < 0) {
		fprintf(stderr, "eventlogd: can't start: %s\n", strerror(-r));
		config_free(&config);
		return DAEMON_EXIT_FAILED;
	}
	result = run(&daemon, &config);
	daemon_close(&daemon);
	config_free(&config);
	return result;
}
