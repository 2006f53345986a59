/*
 * projection: what of each event a role may see.
 *
 * Reads from backend-relay, on one Unix socket: events as workers published them, so every byte of
 * a payload is hostile, and so is a relay that something took over. Its policy is read once, before
 * the sandbox, and is the operator's.
 *
 * May receive and send on that socket and on the connections that come in on it. No files, no
 * network, no exec, no processes or threads, no new descriptors but accepted connections; see
 * confine.c for the calls that are left.
 *
 * A compromised instance could reach the events that pass through it, and answer wrong verdicts for
 * them. It could reach no token, no log, no file and no other process.
 */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "projection/confine.h"
#include "projection/explain.h"
#include "projection/options.h"
#include "projection/policy.h"
#include "projection/relay.h"
#include "projection/selftest.h"
#include "proto/base/daemon.h"
#include "proto/base/daemon_socket.h"
#include "proto/base/fd.h"
#include "proto/base/journal.h"
#include "proto/base/secret_file.h"

enum { SOCKET_MODE = 0600 };

struct projection {
	struct daemon daemon;
	struct policy policy;
	struct projection_key key;
	struct relay_server server;
};

/* ---- phases; each answers 0 or the exit code ---- */

static int load_policy(struct policy *policy, const char *path)
{
	struct yaml_error error;
	int r = policy_load(policy, path, &error);
	if (r == 0)
		return 0;
	fprintf(stderr, "%s\n", error.text);
	return r == -ENOMEM ? EXIT_FAILURE : EXIT_USAGE;
}

static int load_key(
	struct projection_key *key, const struct policy *policy, const struct options *options)
{
	*key = (struct projection_key){0};
	if (options->key_file == NULL) {
		const struct redact_rule *rule = policy_needs_key(policy);
		if (rule == NULL)
			return 0;
		fprintf(stderr, "%s:%.*s: the action \"hash\" needs --key FILE\n", options->policy,
			(int)strcspn(rule->place, " "), rule->place);
		return EXIT_USAGE;
	}
	char path[4096];
	char *secret = NULL;
	size_t len = 0;
	int r = secret_file_path(options->key_file, options->policy, path, sizeof(path));
	if (r == 0)
		r = secret_file_read(path, &secret, &len);
	if (r < 0) {
		fprintf(stderr, "projection: key file %s: %s\n", options->key_file, strerror(-r));
		return EXIT_FAILURE;
	}
	crypto_generichash(key->bytes, sizeof(key->bytes), (const uint8_t *)secret, len, NULL, 0);
	secret_free(secret, len);
	return 0;
}

static int open_socket(struct projection *projection, const struct options *options)
{
	int fd = daemon_socket_take_unix(
		&projection->daemon, "projection", options->socket, SOCKET_MODE);
	if (fd < 0)
		return fd == -ENOENT && options->socket == NULL ? EXIT_USAGE : EXIT_FAILURE;
	inherited_fds_close_rest(&projection->daemon.inherited);
	int r = relay_server_start(&projection->server, &projection->daemon.loop, fd);
	if (r < 0) {
		journal(LOG_ERR, "cannot watch the socket: %s", strerror(-r));
		return EXIT_FAILURE;
	}
	return 0;
}

/* Nothing of what started it stays: no environment, no stdin, no stdout. */
static int drop_inheritance(void)
{
	clearenv();
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	bool dropped = null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(null, STDOUT_FILENO) >= 0;
	if (!dropped)
		journal(LOG_ERR, "cannot leave stdin and stdout: %m");
	fd_close(null);
	return dropped ? 0 : EXIT_FAILURE;
}

static int enter_sandbox(int listen_fd, bool accept_incomplete)
{
	journal_use_stderr();
	struct sandbox_report report;
	int r = confine(listen_fd, &report);
	if (r == SANDBOX_COMPLETE)
		return 0;
	if (r < 0) {
		journal(LOG_ERR, "cannot enter the sandbox: %s", strerror(-r));
		return EXIT_FAILURE;
	}
	char missing[128];
	sandbox_missing_layers(&report, missing, sizeof(missing));
	journal(accept_incomplete ? LOG_WARNING : LOG_ERR,
		"this kernel lacks a layer of the sandbox (%s)%s", missing,
		accept_incomplete ? ", going on as told" : "; see --accept-incomplete-sandbox");
	return accept_incomplete ? 0 : EXIT_FAILURE;
}

/* ---- serving ---- */

static void projection_on_stopped(struct relay_server *server)
{
	struct projection *projection = server->owner;
	daemon_quit(&projection->daemon);
}

static void projection_on_stop(struct daemon *daemon)
{
	struct projection *projection = daemon->owner;
	relay_server_stop(&projection->server);
}

static void log_totals(const struct relay_counters *counters)
{
	journal(LOG_INFO,
		"stopped; passes %llu (%llu denied), events passed %llu, rewritten %llu, "
		"denied %llu, refused %llu",
		(unsigned long long)counters->passes, (unsigned long long)counters->denied_passes,
		(unsigned long long)counters->by_verdict[VERDICT_PASS],
		(unsigned long long)counters->by_verdict[VERDICT_REWRITE],
		(unsigned long long)counters->by_verdict[VERDICT_DENY],
		(unsigned long long)counters->by_verdict[VERDICT_REFUSED]);
}

static int run(struct projection *projection, const struct options *options)
{
	int code = open_socket(projection, options);
	if (code == 0)
		code = drop_inheritance();
	if (code == 0)
		code = enter_sandbox(
			projection->server.listener.fd, options->accept_incomplete_sandbox);
	if (code != 0)
		return code;
	if (options->selftest != NULL)
		return selftest_run(options->selftest);
	daemon_ready(&projection->daemon);
	int r = daemon_run(&projection->daemon);
	log_totals(&projection->server.counters);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int serve(const struct options *options)
{
	struct projection projection = {0};
	inherited_fds_close_strays();
	int code = load_policy(&projection.policy, options->policy);
	if (code == 0)
		code = load_key(&projection.key, &projection.policy, options);
	if (code != 0) {
		policy_free(&projection.policy);
		return code;
	}
	int r = daemon_init(&projection.daemon, "projection");
	if (r == 0)
		r = relay_server_init(&projection.server, &projection.policy, &projection.key);
	if (r < 0) {
		journal(LOG_ERR, "cannot start: %s", strerror(-r));
		return EXIT_FAILURE;
	}
	projection.daemon.on_stop = projection_on_stop;
	projection.daemon.owner = &projection;
	projection.server.on_stopped = projection_on_stopped;
	projection.server.owner = &projection;
	code = run(&projection, options);
	relay_server_close_all(&projection.server);
	daemon_close(&projection.daemon);
	relay_server_free(&projection.server);
	policy_free(&projection.policy);
	sodium_memzero(&projection.key, sizeof(projection.key));
	return code;
}

/* ---- the other modes ---- */

static int check_policy(const struct options *options)
{
	struct policy policy;
	int code = load_policy(&policy, options->policy);
	const struct redact_rule *hash = code == 0 ? policy_needs_key(&policy) : NULL;
	if (hash != NULL)
		printf("%s: OK with --key FILE, for %s\n", options->policy, hash->place);
	else if (code == 0)
		printf("%s: OK\n", options->policy);
	policy_free(&policy);
	return code;
}

static int explain_policy(const struct options *options)
{
	struct policy policy;
	struct projection_key key;
	int code = load_policy(&policy, options->policy);
	if (code == 0)
		code = load_key(&key, &policy, options);
	if (code == 0)
		code = enter_sandbox(-1, true);
	if (code == 0) {
		const struct policy_role *role = policy_find_role(
			&policy, options->role, strlen(options->role));
		int r = explain(role, &key, options->runtime_id, options->worker_id, stdin, stdout);
		if (r < 0) {
			fprintf(stderr, "projection: %s\n", strerror(-r));
			code = EXIT_FAILURE;
		}
	}
	policy_free(&policy);
	return code;
}

static int report_sandbox(void)
{
	struct sandbox_report report;
	int r = confine(-1, &report);
	if (r < 0) {
		fprintf(stderr, "projection: cannot enter the sandbox: %s\n", strerror(-r));
		return EXIT_FAILURE;
	}
	confine_print_report(&report, stdout);
	return r == SANDBOX_COMPLETE ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	struct options options;
	int code = options_parse(&options, argc, argv);
	if (code >= 0)
		return code;
	journal_open("projection");
	switch (options.mode) {
	case MODE_SERVE:
		return serve(&options);
	case MODE_CHECK:
		return check_policy(&options);
	case MODE_EXPLAIN:
		return explain_policy(&options);
	case MODE_SANDBOX_REPORT:
		return report_sandbox();
	}
	return EXIT_USAGE;
}
