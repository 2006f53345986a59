/*
 * The file operations of the log, as a table, so that tests can put one underneath that fails.
 *
 * Every function answers 0 (or a count or descriptor) or -errno, as the system call does; EINTR is
 * passed on and handled by the callers in file_ops.c. The descriptors are CLOEXEC.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "proto/base/attributes.h"

/* Calls back for each name in a directory but "." and ".."; not 0 ends the listing with it. */
typedef int (*file_name_fn)(void *owner, const char *name);

struct file_ops {
	/* Makes a directory fit for a log: its file system must keep allocated blocks where they
	 * are (on btrfs: no copy-on-write for new files). 0, or -EOPNOTSUPP. */
	int (*prepare_directory)(void *owner, int directory_fd);
	int (*list)(void *owner, int directory_fd, file_name_fn name, void *name_owner);
	int (*stat)(void *owner, int fd, struct stat *out);
	int (*open_at)(void *owner, int directory_fd, const char *name, int flags, mode_t mode);
	int (*close)(void *owner, int fd);
	ssize_t (*pread)(void *owner, int fd, void *out, size_t len, uint64_t offset);
	ssize_t (*pwritev)(
		void *owner, int fd, const struct iovec *pieces, int count, uint64_t offset);
	int (*fdatasync)(void *owner, int fd);
	int (*fsync)(void *owner, int fd);
	int (*fallocate)(void *owner, int fd, int mode, uint64_t offset, uint64_t len);
	int (*rename_at)(void *owner, int directory_fd, const char *from, const char *to);
	int (*unlink_at)(void *owner, int directory_fd, const char *name);
	int (*map)(void *owner, int fd, size_t len, const uint8_t **out); /* read-only, shared */
	int (*unmap)(void *owner, const uint8_t *map, size_t len);
	int (*free_bytes)(void *owner, int directory_fd, uint64_t *out); /* for this user */
	void *owner;
};

/* The system's own. */
extern const struct file_ops file_ops_system;

/* Whether anything has this name, of whatever type. */
bool file_exists(const struct file_ops *ops, int directory_fd, const char *name);

/*
 * With the same table: goes on after EINTR and after short counts.
 * file_write: 0, or -errno with `*written` (may be NULL) telling what had gone before.
 * file_write_zeros: 0 or -errno.
 * file_read: 0, -ENODATA when the file ends before, or -errno.
 */
_must_check_ int file_write(const struct file_ops *ops, int fd, const void *bytes, size_t len,
	uint64_t offset, size_t *written);
_must_check_ int file_write_zeros(
	const struct file_ops *ops, int fd, uint64_t offset, uint64_t bytes);
_must_check_ int file_read(
	const struct file_ops *ops, int fd, void *out, size_t len, uint64_t offset);
