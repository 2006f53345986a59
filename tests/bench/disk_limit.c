/*
 * disk_limit: what this machine does with the same bytes when nothing of ours is in between.
 *
 *	disk_limit append DIRECTORY BYTES CHUNK SYNC
 *	disk_limit replay FILE…
 *
 * append: BYTES in pieces of CHUNK, one pwritev each, into a file that is allocated beforehand;
 * with SYNC 1 an fdatasync after each, and the file has been written before too, which makes a sync
 * cheapest. replay: the files from end to end with sendfile into a Unix socket, to a process that
 * reads and drops them.
 *
 * One JSON line: {"bytes":…,"seconds":…,"p50_us":…,…}.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "tests/bench/delays.h"

enum { READ_BYTES = 512 * 1024, SENDFILE_BYTES = 256 * 1024, ZEROS_BYTES = 256 * 1024 };

struct result {
	uint64_t bytes, taken_ns;
	struct delays delays;
};

static int write_all(
	int fd, uint8_t *chunk, uint64_t bytes, size_t len, bool sync, struct result *result)
{
	uint64_t start_ns = clock_monotonic_ns();
	while (result->bytes < bytes) {
		struct iovec part = {chunk, len};
		uint64_t begun = clock_monotonic_ns();
		ssize_t n = pwritev(fd, &part, 1, (off_t)result->bytes);
		if (n < 0 || (sync && fdatasync(fd) < 0))
			return -errno;
		result->bytes += (uint64_t)n;
		delays_add(&result->delays, clock_monotonic_ns() - begun);
	}
	result->taken_ns = clock_monotonic_ns() - start_ns;
	return 0;
}

/* A file of so many bytes; written whole when it is to be synced piece by piece. */
static int prepare(int fd, uint64_t bytes, bool is_written)
{
	static const uint8_t zeros[ZEROS_BYTES];
	if (fallocate(fd, 0, 0, (off_t)bytes) < 0)
		return -errno;
	for (uint64_t at = 0; is_written && at < bytes; at += sizeof(zeros))
		if (pwrite(fd, zeros, sizeof(zeros), (off_t)at) < 0)
			return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

static int append(char **argv, struct result *result)
{
	bool sync = strcmp(argv[3], "1") == 0;
	uint64_t bytes = strtoull(argv[1], NULL, 10);
	size_t len = strtoull(argv[2], NULL, 10);
	uint8_t *chunk = calloc(1, len);
	int fd = open(argv[0], O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : chunk == NULL ? -ENOMEM : 0;
	if (r == 0)
		r = delays_init(&result->delays, bytes / len + 2);
	if (r == 0)
		r = prepare(fd, bytes + len, sync);
	if (r == 0)
		r = write_all(fd, chunk, bytes, len, sync, result);
	free(chunk);
	fd_close(fd);
	return r;
}

static int send_file(int to, const char *path, struct result *result)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = fstat(fd, &status) < 0 ? -errno : 0;
	for (off_t at = 0; r == 0 && at < status.st_size;) {
		ssize_t n = sendfile(to, fd, &at, SENDFILE_BYTES);
		if (n <= 0)
			r = n < 0 ? -errno : -ENODATA;
		else
			result->bytes += (uint64_t)n;
	}
	fd_close(fd);
	return r;
}

static void drop_everything(int from)
{
	static uint8_t into[READ_BYTES];
	while (read(from, into, sizeof(into)) > 0) {
	}
	_exit(0);
}

static int replay(char **paths, struct result *result)
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	pid_t child = fork();
	if (child == 0) {
		fd_close(ends[0]);
		drop_everything(ends[1]);
	}
	fd_close(ends[1]);
	int r = child < 0 ? -errno : delays_init(&result->delays, 0);
	uint64_t start_ns = clock_monotonic_ns();
	for (; r == 0 && *paths != NULL; paths++)
		r = send_file(ends[0], *paths, result);
	fd_close(ends[0]);
	if (child > 0)
		waitpid(child, NULL, 0);
	result->taken_ns = clock_monotonic_ns() - start_ns;
	return r;
}

int main(int argc, char **argv)
{
	bool is_append = argc == 6 && strcmp(argv[1], "append") == 0;
	if (!is_append && (argc < 3 || strcmp(argv[1], "replay") != 0)) {
		fprintf(stderr, "usage: disk_limit append DIRECTORY BYTES CHUNK SYNC\n"
				"       disk_limit replay FILE...\n");
		return 2;
	}
	struct result result = {0};
	int r = is_append ? append(argv + 2, &result) : replay(argv + 2, &result);
	if (r == 0) {
		printf("{\"bytes\":%" PRIu64 ",\"seconds\":%.6f,", result.bytes,
			(double)result.taken_ns / 1e9);
		delays_print(&result.delays);
		puts("}");
	} else {
		fprintf(stderr, "disk_limit: %s\n", strerror(-r));
	}
	delays_free(&result.delays);
	return r == 0 ? 0 : 1;
}
