/* eventlogctl publish: JSON lines become events. */
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "eventlogd/ctl/input.h"
#include "eventlogd/ctl/publish_stream.h"
#include "eventlogd/ctl/verb.h"
#include "proto/base/fd.h"
#include "proto/ids.h"

enum { FIRST_LINE_BYTES = 4096, PRODUCER_DIGEST_BYTES = 16 };

struct options {
	const char *socket, *worker, *producer, *listen;
	bool skip_invalid, no_progress;
};

static const struct option_row rows[] = {
	{"socket", 's', OPTION_TEXT, offsetof(struct options, socket), "PATH",
		"eventlogd's publish socket (default: $" ENVIRONMENT_PUBLISH_SOCKET
		",\nelse " DEFAULT_PUBLISH_SOCKET ").",
		NULL},
	{"worker", 'w', OPTION_TEXT, offsetof(struct options, worker), "ID",
		"Publish as this worker (default: the file's name without .jsonl).", NULL},
	{"producer", 'p', OPTION_TEXT, offsetof(struct options, producer), "NAME",
		"Name under which the log counts what was published (default: made\n"
		"from the file's place and first line; for other input, new each time).",
		NULL},
	{"listen", 'l', OPTION_TEXT, offsetof(struct options, listen), "SOCKET",
		"Listen on a Unix socket on which a worker speaks JSON lines.", NULL},
	{"skip-invalid", 'k', OPTION_FLAG, offsetof(struct options, skip_invalid), NULL,
		"Name lines that are refused and go on behind them.", NULL},
	{"no-progress", 0, OPTION_FLAG, offsetof(struct options, no_progress), NULL,
		"No progress bar, also on a terminal.", NULL},
	{0},
};

static void format_producer(
	const char *prefix, const uint8_t digest[PRODUCER_DIGEST_BYTES], char *out, size_t size)
{
	char hex[2 * PRODUCER_DIGEST_BYTES + 1];
	sodium_bin2hex(hex, sizeof(hex), digest, PRODUCER_DIGEST_BYTES);
	snprintf(out, size, "%s-%s", prefix, hex);
}

/*
 * The same file, published again, goes on where it stopped; another file that comes to stand at
 * the same place (a new run) has another first line and is another stream.
 */
static int producer_of_file(int fd, const char *path, char *out, size_t size)
{
	uint8_t first[FIRST_LINE_BYTES], digest[PRODUCER_DIGEST_BYTES];
	char *real = realpath(path, NULL);
	if (real == NULL)
		return -errno;
	ssize_t n = pread(fd, first, sizeof(first), 0);
	if (n < 0) {
		int error = -errno;
		free(real);
		return error;
	}
	const uint8_t *newline = memchr(first, '\n', (size_t)n);
	crypto_generichash_state state;
	crypto_generichash_init(&state, NULL, 0, sizeof(digest));
	crypto_generichash_update(&state, (const uint8_t *)real, strlen(real) + 1);
	crypto_generichash_update(
		&state, first, newline != NULL ? (size_t)(newline - first) : (size_t)n);
	crypto_generichash_final(&state, digest, sizeof(digest));
	free(real);
	format_producer("file", digest, out, size);
	return 0;
}

static void producer_for_once(char *out, size_t size)
{
	uint8_t random[PRODUCER_DIGEST_BYTES];
	randombytes_buf(random, sizeof(random));
	format_producer("once", random, out, size);
}

/* "dir/build-7.jsonl" is worker build-7. False when that is no worker id. */
static bool worker_of_path(const char *path, struct id *out)
{
	static const char suffix[] = ".jsonl";
	const char *slash = strrchr(path, '/');
	const char *name = slash != NULL ? slash + 1 : path;
	size_t len = strlen(name), suffix_len = sizeof(suffix) - 1;
	if (len > suffix_len && strcmp(name + len - suffix_len, suffix) == 0)
		len -= suffix_len;
	return id_set(out, name, len);
}

/* Fills in a source for one file or for standard input. 0, or an exit code told already. */
static int open_source(const struct options *options, const char *path, struct id *worker,
	struct publish_source *source)
{
	bool is_stdin = strcmp(path, "-") == 0;
	*source = (struct publish_source){.type = PUBLISH_PIPE,
		.read_line = plain_line_read,
		.name = is_stdin ? "standard input" : path,
		.worker_id = options->worker,
		.fd = -1};
	if (options->worker == NULL) {
		if (is_stdin || !worker_of_path(path, worker)) {
			fprintf(stderr, "eventlogctl publish: %s: --worker ID is needed\n",
				source->name);
			return EXIT_USAGE;
		}
		source->worker_id = worker->text;
	}
	struct stat st;
	int r = source->fd = input_open_path(path);
	if (r >= 0)
		r = fstat(source->fd, &st) < 0 ? -errno : 0;
	if (r == 0 && S_ISREG(st.st_mode)) {
		source->type = is_stdin ? PUBLISH_PIPE : PUBLISH_FILE;
		source->total_bytes = (uint64_t)st.st_size;
	}
	if (options->producer != NULL)
		snprintf(source->producer_id, sizeof(source->producer_id), "%s", options->producer);
	else if (r == 0 && source->type == PUBLISH_FILE)
		r = producer_of_file(
			source->fd, path, source->producer_id, sizeof(source->producer_id));
	else
		producer_for_once(source->producer_id, sizeof(source->producer_id));
	if (r < 0) {
		fprintf(stderr, "eventlogctl publish: %s: %s\n", source->name, strerror(-r));
		source->fd = fd_close(source->fd);
		return EXIT_FAILED;
	}
	return 0;
}

static int run_source(const struct publish_options *options, const struct publish_source *source,
	struct publish_totals *totals)
{
	enum publish_result result;
	do {
		if (source->type == PUBLISH_FILE && lseek(source->fd, 0, SEEK_SET) < 0) {
			fprintf(stderr, "eventlogctl publish: %s: %s\n", source->name,
				strerror(errno));
			return EXIT_FAILED;
		}
		result = publish_stream_run(options, source, totals);
	} while (result == PUBLISH_RESTART);
	return result == PUBLISH_DONE ? EXIT_DONE : EXIT_FAILED;
}

static int publish_listening(const struct options *options,
	const struct publish_options *stream_options, struct publish_totals *totals)
{
	struct publish_source source = {.type = PUBLISH_LISTEN,
		.read_line = plain_line_read,
		.name = options->listen,
		.fd = -1,
		.worker_id = options->worker};
	if (options->worker == NULL) {
		fputs("eventlogctl publish: --listen needs --worker ID\n", stderr);
		return EXIT_USAGE;
	}
	if (options->producer != NULL)
		snprintf(source.producer_id, sizeof(source.producer_id), "%s", options->producer);
	else
		producer_for_once(source.producer_id, sizeof(source.producer_id));
	return run_source(stream_options, &source, totals);
}

static int publish_paths(const struct options *options,
	const struct publish_options *stream_options, char **paths, int count,
	struct publish_totals *totals)
{
	static char standard_input[] = "-";
	char *only[] = {standard_input};
	if (count == 0) {
		paths = only;
		count = 1;
	}
	if (count > 1 && (options->worker != NULL || options->producer != NULL)) {
		fputs("eventlogctl publish: --worker and --producer go with one file only\n",
			stderr);
		return EXIT_USAGE;
	}
	int result = EXIT_DONE;
	for (int i = 0; i < count && result == EXIT_DONE; i++) {
		struct publish_source source;
		struct id worker;
		result = open_source(options, paths[i], &worker, &source);
		if (result != EXIT_DONE)
			break;
		result = run_source(stream_options, &source, totals);
		fd_close(source.fd);
	}
	return result;
}

static int run(const struct verb *verb, int argc, char **argv)
{
	struct options options = {0};
	int count;
	if (sodium_init() < 0)
		return EXIT_FAILED;
	int result = verb_parse(verb, &options, argc, argv, argc, &count);
	if (result >= 0)
		return result;
	if (options.worker != NULL && !id_is_valid(options.worker, strlen(options.worker))) {
		fprintf(stderr,
			"eventlogctl publish: a worker id is 1 to %d bytes of A-Z a-z 0-9 _ . : "
			"-\n",
			ID_BYTES_MAX);
		return EXIT_USAGE;
	}
	if (options.producer != NULL &&
		(options.producer[0] == '\0' || strlen(options.producer) > NAME_BYTES_MAX)) {
		fprintf(stderr, "eventlogctl publish: --producer must be 1 to %d bytes\n",
			NAME_BYTES_MAX);
		return EXIT_USAGE;
	}
	if (options.listen != NULL && count > 0) {
		fputs("eventlogctl publish: --listen takes no files\n", stderr);
		return EXIT_USAGE;
	}
	struct publish_options stream_options = {"eventlogctl publish",
		verb_socket(options.socket, ENVIRONMENT_PUBLISH_SOCKET, DEFAULT_PUBLISH_SOCKET),
		options.skip_invalid, options.no_progress};
	struct publish_totals totals = {0};
	result = options.listen != NULL
			 ? publish_listening(&options, &stream_options, &totals)
			 : publish_paths(&options, &stream_options, argv, count, &totals);
	if (result != EXIT_USAGE)
		fprintf(stderr,
			"eventlogctl publish: %" PRIu64 " events published, %" PRIu64
			" already there, %" PRIu64 " refused\n",
			totals.published, totals.already_there, totals.refused);
	return result;
}

const struct verb verb_publish = {
	.name = "publish",
	.arguments = "[FILE]...",
	.summary = "Publish JSON lines as events.",
	.description =
		"Reads files, standard input (no FILE, or -), or a socket. Each line is one "
		"event.\n"
		"A file goes on where it stopped: what the log has is not published again. Waits\n"
		"while the log has no room and while eventlogd is restarted.",
	.options = rows,
	.run = run,
};
