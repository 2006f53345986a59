#include "eventlogd/log/file_ops.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

static int system_prepare_directory(_unused_ void *owner, int directory_fd)
{
	struct statfs fs;
	if (fstatfs(directory_fd, &fs) < 0)
		return -errno;
	if (fs.f_type != BTRFS_SUPER_MAGIC)
		return 0;
	int flags = 0;
	if (ioctl(directory_fd, FS_IOC_GETFLAGS, &flags) < 0)
		return -EOPNOTSUPP;
	if ((flags & FS_NOCOW_FL) != 0)
		return 0;
	flags |= FS_NOCOW_FL;
	return ioctl(directory_fd, FS_IOC_SETFLAGS, &flags) < 0 ? -EOPNOTSUPP : 0;
}

static int system_list(_unused_ void *owner, int directory_fd, file_name_fn name, void *name_owner)
{
	int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	DIR *directory = fdopendir(fd);
	if (directory == NULL) {
		int r = -errno;
		close(fd);
		return r;
	}
	int r = 0;
	while (r == 0) {
		errno = 0;
		struct dirent *entry = readdir(directory);
		if (entry == NULL) {
			r = -errno;
			break;
		}
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = name(name_owner, entry->d_name);
	}
	closedir(directory);
	return r;
}

static int system_stat(_unused_ void *owner, int fd, struct stat *out)
{
	return fstat(fd, out) < 0 ? -errno : 0;
}

static int system_open_at(
	_unused_ void *owner, int directory_fd, const char *name, int flags, mode_t mode)
{
	int fd = openat(directory_fd, name, flags | O_CLOEXEC, mode);
	return fd < 0 ? -errno : fd;
}

static int system_close(_unused_ void *owner, int fd)
{
	return close(fd) < 0 ? -errno : 0;
}

static ssize_t system_pread(_unused_ void *owner, int fd, void *out, size_t len, uint64_t offset)
{
	ssize_t n = pread(fd, out, len, (off_t)offset);
	return n < 0 ? -errno : n;
}

static ssize_t system_pwritev(
	_unused_ void *owner, int fd, const struct iovec *pieces, int count, uint64_t offset)
{
	ssize_t n = pwritev(fd, pieces, count, (off_t)offset);
	return n < 0 ? -errno : n;
}

static int system_fdatasync(_unused_ void *owner, int fd)
{
	return fdatasync(fd) < 0 ? -errno : 0;
}

static int system_fsync(_unused_ void *owner, int fd)
{
	return fsync(fd) < 0 ? -errno : 0;
}

static int system_fallocate(_unused_ void *owner, int fd, int mode, uint64_t offset, uint64_t len)
{
	return fallocate(fd, mode, (off_t)offset, (off_t)len) < 0 ? -errno : 0;
}

static int system_rename_at(
	_unused_ void *owner, int directory_fd, const char *from, const char *to)
{
	return renameat(directory_fd, from, directory_fd, to) < 0 ? -errno : 0;
}

static int system_unlink_at(_unused_ void *owner, int directory_fd, const char *name)
{
	return unlinkat(directory_fd, name, 0) < 0 ? -errno : 0;
}

static int system_map(_unused_ void *owner, int fd, size_t len, const uint8_t **out)
{
	void *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	*out = map;
	return 0;
}

static int system_unmap(_unused_ void *owner, const uint8_t *map, size_t len)
{
	return munmap((void *)(uintptr_t)map, len) < 0 ? -errno : 0;
}

static int system_free_bytes(_unused_ void *owner, int directory_fd, uint64_t *out)
{
	struct statvfs fs;
	if (fstatvfs(directory_fd, &fs) < 0)
		return -errno;
	*out = (uint64_t)fs.f_bavail * fs.f_frsize;
	return 0;
}

const struct file_ops file_ops_system = {
	.prepare_directory = system_prepare_directory,
	.list = system_list,
	.stat = system_stat,
	.open_at = system_open_at,
	.close = system_close,
	.pread = system_pread,
	.pwritev = system_pwritev,
	.fdatasync = system_fdatasync,
	.fsync = system_fsync,
	.fallocate = system_fallocate,
	.rename_at = system_rename_at,
	.unlink_at = system_unlink_at,
	.map = system_map,
	.unmap = system_unmap,
	.free_bytes = system_free_bytes,
};

bool file_exists(const struct file_ops *ops, int directory_fd, const char *name)
{
	/* O_PATH: nothing is opened that would wait, or notice. */
	int fd = ops->open_at(ops->owner, directory_fd, name, O_PATH | O_NOFOLLOW, 0);
	if (fd < 0)
		return false;
	ops->close(ops->owner, fd);
	return true;
}

int file_write(const struct file_ops *ops, int fd, const void *bytes, size_t len, uint64_t offset,
	size_t *written)
{
	size_t done = 0;
	int r = 0;
	while (done < len) {
		struct iovec piece = {(void *)((uintptr_t)bytes + done), len - done};
		ssize_t n = ops->pwritev(ops->owner, fd, &piece, 1, offset + done);
		if (n == -EINTR)
			continue;
		if (n <= 0) {
			r = n == 0 ? -EIO : (int)n;
			break;
		}
		done += (size_t)n;
	}
	if (written != NULL)
		*written = done;
	return r;
}

int file_write_zeros(const struct file_ops *ops, int fd, uint64_t offset, uint64_t bytes)
{
	static const uint8_t zeros[64 * 1024];
	for (uint64_t done = 0; done < bytes;) {
		size_t len = bytes - done < sizeof(zeros) ? (size_t)(bytes - done) : sizeof(zeros);
		int r = file_write(ops, fd, zeros, len, offset + done, NULL);
		if (r != 0)
			return r;
		done += len;
	}
	return 0;
}

int file_read(const struct file_ops *ops, int fd, void *out, size_t len, uint64_t offset)
{
	size_t done = 0;
	while (done < len) {
		ssize_t n = ops->pread(
			ops->owner, fd, (uint8_t *)out + done, len - done, offset + done);
		if (n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		if (n == 0)
			return -ENODATA;
		done += (size_t)n;
	}
	return 0;
}
