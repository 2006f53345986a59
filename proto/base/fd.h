/*
 * File descriptors: closed exactly once, CLOEXEC from birth, never leaked on an error path.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "proto/base/attributes.h"

struct buf;

/* Closes if it is not negative, keeps errno, returns -1: `fd = fd_close(fd)`. */
int fd_close(int fd);

/*
 * Fills standard descriptors that the program was started without, so that nothing it opens gets
 * one of them, and with it what is printed there. Using them fails as before. First in main(). 0 or
 * -errno.
 */
_must_check_ int fd_fill_standard(void);

/* Sets O_NONBLOCK and FD_CLOEXEC. 0 or -errno. */
_must_check_ int fd_set_nonblocking_cloexec(int fd);

/*
 * Reads a whole regular file (or pipe) of at most max_bytes, once, at start-up.
 * 0, -EFBIG when it is longer, or the -errno of open or read.
 */
_must_check_ int fd_read_file(const char *path, size_t max_bytes, struct buf *out);

/* Replaces a file atomically: temporary file beside it, fsync, rename, fsync of the directory. */
_must_check_ int fd_write_file_atomically(
	const char *path, const void *bytes, size_t len, mode_t mode);

static inline void fd_close_at(int *fd)
{
	*fd = fd_close(*fd);
}
#define _cleanup_fd_ _cleanup_(fd_close_at)
