#include "proto/base/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/fd.h"

/* The same numbers on every architecture. */
enum {
	CALL_CREATE_RULESET = 444,
	CALL_ADD_RULE = 445,
	CALL_RESTRICT_SELF = 446,
	CREATE_RULESET_VERSION = 1,
	RULE_PATH_BENEATH = 1,
};

enum {
	FS_EXECUTE = 1 << 0,
	FS_WRITE_FILE = 1 << 1,
	FS_READ_FILE = 1 << 2,
	FS_READ_DIR = 1 << 3,
	FS_REMOVE_DIR = 1 << 4,
	FS_REMOVE_FILE = 1 << 5,
	FS_MAKE_CHAR = 1 << 6,
	FS_MAKE_DIR = 1 << 7,
	FS_MAKE_REG = 1 << 8,
	FS_MAKE_SOCK = 1 << 9,
	FS_MAKE_FIFO = 1 << 10,
	FS_MAKE_BLOCK = 1 << 11,
	FS_MAKE_SYM = 1 << 12,
	FS_ALL_OF_ABI_1 = (1 << 13) - 1,
	FS_REFER = 1 << 13,     /* ABI 2 */
	FS_TRUNCATE = 1 << 14,  /* ABI 3 */
	FS_IOCTL_DEV = 1 << 15, /* ABI 5 */

	FS_FOR_READ = FS_READ_FILE | FS_READ_DIR,
	FS_FOR_WRITE = FS_WRITE_FILE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_REG |
		       FS_REFER | FS_TRUNCATE,
	/* All others mean something for a directory only. */
	FS_FOR_A_FILE = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV,

	NET_BIND_TCP = 1 << 0, /* ABI 4 */
	NET_CONNECT_TCP = 1 << 1,
	SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0, /* ABI 6 */
	SCOPE_SIGNAL = 1 << 1,
};

/* An older kernel takes the longer structure as long as what it does not know is zero. */
struct ruleset_attributes {
	uint64_t handled_access_fs;
	uint64_t handled_access_net;
	uint64_t scoped;
};

struct path_beneath_attributes {
	uint64_t allowed_access;
	int32_t parent_fd;
} __attribute__((packed));

static uint64_t known_file_rights(int abi)
{
	uint64_t rights = FS_ALL_OF_ABI_1;
	if (abi >= 2)
		rights |= FS_REFER;
	if (abi >= 3)
		rights |= FS_TRUNCATE;
	if (abi >= 5)
		rights |= FS_IOCTL_DEV;
	return rights;
}

int landlock_abi(void)
{
	long abi = syscall(CALL_CREATE_RULESET, NULL, 0, CREATE_RULESET_VERSION);
	return abi < 0 ? -errno : (int)abi;
}

static int allow_path(int ruleset, uint64_t known, const struct sandbox_path *path)
{
	_cleanup_fd_ int fd = open(path->path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	uint64_t rights = 0;
	if (path->access & SANDBOX_READ)
		rights |= FS_FOR_READ;
	if (path->access & SANDBOX_WRITE)
		rights |= FS_FOR_WRITE;
	if (!S_ISDIR(st.st_mode))
		rights &= FS_FOR_A_FILE;
	struct path_beneath_attributes rule = {rights & known, fd};
	return syscall(CALL_ADD_RULE, ruleset, RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

int landlock_restrict(int abi, const struct sandbox_path *path, size_t path_count,
	bool may_bind_tcp, bool may_connect_tcp)
{
	struct ruleset_attributes attributes = {.handled_access_fs = known_file_rights(abi)};
	if (abi >= LANDLOCK_ABI_WITH_TCP)
		attributes.handled_access_net = (may_bind_tcp ? 0 : NET_BIND_TCP) |
						(may_connect_tcp ? 0 : NET_CONNECT_TCP);
	if (abi >= 6)
		attributes.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
	_cleanup_fd_ int ruleset = (int)syscall(
		CALL_CREATE_RULESET, &attributes, sizeof(attributes), 0);
	if (ruleset < 0)
		return -errno;
	for (size_t i = 0; i < path_count; i++) {
		int r = allow_path(ruleset, attributes.handled_access_fs, &path[i]);
		if (r < 0)
			return r;
	}
	return syscall(CALL_RESTRICT_SELF, ruleset, 0) < 0 ? -errno : 0;
}
