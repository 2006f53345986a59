#include "backend-relay/confine.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "proto/base/daemon_confine.h"

static const struct sandbox_call connection_calls[] = {
	{.name = "accept4", .reason = "clients"},
	{.name = "socket", .reason = "projection, and runtimes here", SANDBOX_IS(0, AF_UNIX)},
	{.name = "socket", .reason = "runtimes", SANDBOX_IS(0, AF_INET)},
	{.name = "socket", .reason = "runtimes", SANDBOX_IS(0, AF_INET6)},
	{.name = "connect", .reason = "to projection and runtimes"},
	{.name = "socketpair", .reason = "the inside of a TLS connection", SANDBOX_IS(0, AF_UNIX)},
	{.name = "bind", .reason = "libwebsockets and the resolver; Landlock allows no TCP port"},
};

/* Names are resolved by libc in a thread of libuv's pool; files are read for that, TLS, tokens. */
static const struct sandbox_call file_calls[] = {
	{.name = "open", .reason = "the resolver's files, certificates, tokens"},
	{.name = "openat", .reason = "the same"},
	{.name = "newfstatat", .reason = "the same"},
	{.name = "stat", .reason = "the same"},
	{.name = "statx", .reason = "the same"},
	{.name = "access", .reason = "the same"},
	{.name = "faccessat", .reason = "the same"},
	{.name = "faccessat2", .reason = "the same"},
	{.name = "readlink", .reason = "the same"},
	{.name = "readlinkat", .reason = "the same"},
	{.name = "lseek", .reason = "the same"},
	{.name = "pread64", .reason = "the same"},
	{.name = "getdents64", .reason = "directories of certificates"},
	{.name = "mmap",
		.reason = "modules of the resolver: executable or writable, not both",
		SANDBOX_WITHOUT(2, PROT_WRITE)},
};

static const struct sandbox_call resolver_calls[] = {
	{.name = "socket", .reason = "which addresses this machine has", SANDBOX_IS(0, AF_NETLINK)},
	{.name = "sendmmsg", .reason = "questions to a name server"},
	{.name = "recvmmsg", .reason = "its answers"},
	{.name = "poll", .reason = "waiting for them, in a thread of its own"},
	{.name = "ppoll", .reason = "the same"},
	{.name = "uname", .reason = "this machine's name"},
	{.name = "sysinfo", .reason = "sorting the answers"},
	{.name = "getuid", .reason = "modules of the resolver"},
	{.name = "geteuid", .reason = "the same"},
	{.name = "getgid", .reason = "the same"},
	{.name = "getegid", .reason = "the same"},
};

static const struct sandbox_group own_groups[] = {
	{"connections", connection_calls, ARRAY_SIZE(connection_calls)},
	{"files", file_calls, ARRAY_SIZE(file_calls)},
	{"names", resolver_calls, ARRAY_SIZE(resolver_calls)},
};

static const struct sandbox_path read_paths[] = {
	{"/etc", SANDBOX_READ},
	{"/lib", SANDBOX_READ},
	{"/lib64", SANDBOX_READ},
	{"/usr/lib", SANDBOX_READ},
	{"/usr/lib64", SANDBOX_READ},
	{"/usr/share/ca-certificates", SANDBOX_READ},
	{"/run/systemd/resolve", SANDBOX_READ},
	{"/run/resolvconf", SANDBOX_READ},
	{"/run/NetworkManager", SANDBOX_READ},
};

/* Its directory: a file that is replaced is another file. */
static void directory_of(const char *file, char out[PATH_MAX])
{
	const char *slash = strrchr(file, '/');
	if (slash == NULL)
		snprintf(out, PATH_MAX, ".");
	else
		snprintf(out, PATH_MAX, "%.*s", slash == file ? 1 : (int)(slash - file), file);
}

int confine(const char *const files[], size_t count)
{
	struct sandbox_path paths[ARRAY_SIZE(read_paths) + CONFINE_FILES_MAX];
	char directories[CONFINE_FILES_MAX][PATH_MAX];
	memcpy(paths, read_paths, sizeof(read_paths));
	struct sandbox sandbox = {
		.group = own_groups,
		.group_count = ARRAY_SIZE(own_groups),
		.has_threads = true,
		/* A call of a library that was not foreseen must not end every session. */
		.otherwise = EPERM,
		.path = paths,
		.path_count = ARRAY_SIZE(read_paths),
		.may_connect_tcp = true,
	};
	assert(count <= CONFINE_FILES_MAX);
	for (size_t i = 0; i < count; i++) {
		directory_of(files[i], directories[i]);
		paths[sandbox.path_count++] = (struct sandbox_path){directories[i], SANDBOX_READ};
	}
	return daemon_confine(&sandbox);
}
