#include "eventlogd/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/resource.h>

#include "proto/base/daemon_confine.h"
#include "proto/base/journal.h"

static const struct sandbox_call socket_calls[] = {
	{.name = "accept4", .reason = "publishers and readers; the only new sockets"},
	{.name = "geteuid", .reason = "whether a reader is this user, who may FORGET"},
};

static const struct sandbox_call file_calls[] = {
	{.name = "openat", .reason = "segments; Landlock allows the log directory alone"},
	{.name = "openat2", .reason = "as openat"},
	{.name = "getdents64", .reason = "which segments there are"},
	{.name = "newfstatat", .reason = "what a name in the directory is"},
	{.name = "statx", .reason = "as newfstatat"},
	{.name = "fstatfs", .reason = "free space; which file system"},
	{.name = "statfs", .reason = "as fstatfs"},
	{.name = "flock", .reason = "one writer a directory"},
	{.name = "fcntl", .reason = "one writer a directory", SANDBOX_IS(1, F_OFD_SETLK)},
	{.name = "fcntl", .reason = "one writer a directory", SANDBOX_IS(1, F_SETLK)},
	{.name = "fcntl", .reason = "a second descriptor", SANDBOX_IS(1, F_DUPFD_CLOEXEC)},
	{.name = "ioctl", .reason = "attributes on btrfs", SANDBOX_IS(1, FS_IOC_GETFLAGS)},
	{.name = "ioctl", .reason = "no copy-on-write on btrfs", SANDBOX_IS(1, FS_IOC_SETFLAGS)},
	{.name = "lseek", .reason = "directory streams start again"},
	{.name = "pread64", .reason = "headers, footers, recovery"},
	{.name = "preadv", .reason = "as pread64"},
	{.name = "pwrite64", .reason = "headers, footers, marks"},
	{.name = "pwritev", .reason = "appends"},
	{.name = "pwritev2", .reason = "appends"},
	{.name = "fallocate", .reason = "segments ahead of need; unused tails given back"},
	{.name = "fdatasync", .reason = "durability"},
	{.name = "fsync", .reason = "durability of names and headers"},
	{.name = "renameat", .reason = "a spare becomes a segment"},
	{.name = "renameat2", .reason = "as renameat"},
	{.name = "unlinkat", .reason = "retention"},
	{.name = "msync", .reason = "mapped segments"},
	{.name = "mincore", .reason = "mapped segments"},
	{.name = "fadvise64", .reason = "read-ahead"},
};

static const struct sandbox_group own_groups[] = {
	{"connections", socket_calls, ARRAY_SIZE(socket_calls)},
	{"the log directory", file_calls, ARRAY_SIZE(file_calls)},
};

/* Connections and mapped segments need more than the usual soft limit. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		journal(LOG_WARNING, "can't raise the limit of open descriptors: %m");
}

int confine(const char *directory)
{
	const struct sandbox_path path = {directory, SANDBOX_READ | SANDBOX_WRITE};
	const struct sandbox sandbox = {
		.group = own_groups,
		.group_count = ARRAY_SIZE(own_groups),
		.has_threads = true,
		/* A call that was not foreseen must not take the log down with it. */
		.otherwise = EPERM,
		.path = &path,
		.path_count = 1,
	};
	raise_descriptor_limit();
	return daemon_confine(&sandbox);
}
