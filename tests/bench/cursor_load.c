/*
 * cursor_load: looks up cursors at random places of a log's directory, with the reader library.
 *
 *	cursor_load DIRECTORY LOOKUPS
 *
 * Measured for each: from the cursor to the record behind it, verified; opening a reader, finding
 * and mapping the segment, its index, the walk. Beside it the limit: one pread of 4 KiB at a random
 * place of a random segment, opened before. The numbers are the same in every run.
 *
 * One JSON line: {"records":…,"p50_us":…,…,"limit_p50_us":…,…}. Exit 1 when a lookup gives another
 * record than the one that follows its cursor.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "eventlogd/log/reader.h"
#include "eventlogd/log/view.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "tests/bench/delays.h"

enum { FILES_MAX = 4096, PAGE_BYTES = 4096 };

static uint64_t random_state = 1;

/* xorshift64, Marsaglia 2003 */
static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	return random_state ^= random_state << 17;
}

static int look_up(struct log_view *view, uint64_t sequence)
{
	struct reader_start start = {.from = READER_FROM_CURSOR};
	struct reader_selection everything = {0};
	struct reader *reader;
	struct reader_piece piece;
	log_view_cursor(view, sequence, &start.cursor);
	int r = reader_open(&reader, view, &everything, &start, false, NULL);
	if (r != READER_OPENED)
		return r < 0 ? r : -EBADMSG;
	r = reader_next(reader, 1, &piece);
	if (r == READER_RECORDS && (piece.count != 1 || piece.first != sequence + 1))
		r = -EBADMSG;
	reader_close(reader);
	return r > 0 ? -EBADMSG : r;
}

static int look_up_all(struct log_view *view, uint64_t lookups, struct delays *delays)
{
	struct log_ends ends;
	log_view_ends(view, &ends);
	if (ends.newest_seq <= ends.oldest_seq)
		return -ENODATA;
	for (uint64_t i = 0; i < lookups; i++) {
		uint64_t sequence = ends.oldest_seq +
				    next_random() % (ends.newest_seq - ends.oldest_seq);
		uint64_t begun = clock_monotonic_ns();
		int r = look_up(view, sequence);
		if (r != 0)
			return r;
		delays_add(delays, clock_monotonic_ns() - begun);
	}
	printf("{\"records\":%" PRIu64 ",", ends.newest_seq - ends.oldest_seq + 1);
	delays_print(delays);
	return 0;
}

static int open_segments(const char *directory, int fds[FILES_MAX], size_t *count)
{
	DIR *folder = opendir(directory);
	if (folder == NULL)
		return -errno;
	struct dirent *entry;
	while ((entry = readdir(folder)) != NULL && *count < FILES_MAX) {
		if (strstr(entry->d_name, ".seg") == NULL)
			continue;
		int fd = openat(dirfd(folder), entry->d_name, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			fds[(*count)++] = fd;
	}
	closedir(folder);
	return *count > 0 ? 0 : -ENODATA;
}

static int read_all(const char *directory, uint64_t lookups, struct delays *delays)
{
	static int fds[FILES_MAX];
	static uint8_t page[PAGE_BYTES];
	size_t count = 0;
	int r = open_segments(directory, fds, &count);
	delays->count = 0;
	for (uint64_t i = 0; r == 0 && i < lookups; i++) {
		struct stat status;
		int fd = fds[next_random() % count];
		if (fstat(fd, &status) < 0 || status.st_size <= PAGE_BYTES)
			return -EIO;
		off_t at = (off_t)(next_random() % (uint64_t)(status.st_size - PAGE_BYTES));
		uint64_t begun = clock_monotonic_ns();
		if (pread(fd, page, sizeof(page), at) != (ssize_t)sizeof(page))
			r = -EIO;
		delays_add(delays, clock_monotonic_ns() - begun);
	}
	while (count > 0)
		fd_close(fds[--count]);
	return r;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: cursor_load DIRECTORY LOOKUPS\n");
		return 2;
	}
	struct delays delays;
	struct log_view *view = NULL;
	uint64_t lookups = strtoull(argv[2], NULL, 10);
	int r = delays_init(&delays, lookups);
	if (r == 0)
		r = log_view_open(&view, argv[1], NULL, NULL);
	if (r == 0)
		r = look_up_all(view, lookups, &delays);
	if (r == 0)
		r = read_all(argv[1], lookups, &delays);
	if (r == 0) {
		putchar(',');
		delays_print_as(&delays, "limit_");
		puts("}");
	} else {
		fprintf(stderr, "cursor_load: %s\n", strerror(-r));
	}
	log_view_close(view);
	delays_free(&delays);
	return r == 0 ? 0 : 1;
}
