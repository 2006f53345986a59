#include "projection/selftest.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/attributes.h"

enum { PAGE_BYTES = 4096, TOO_MUCH_MIB = 2048 };

/* Each answers like a system call: negative and errno when refused. */

static long try_open(void)
{
	return open("/etc/passwd", O_RDONLY | O_CLOEXEC);
}

static long try_openat2(void)
{
	struct {
		uint64_t flags, mode, resolve;
	} how = {.flags = O_RDONLY};
	return syscall(437, AT_FDCWD, "/etc/passwd", &how, sizeof(how)); /* openat2 */
}

static long try_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static long try_unix_socket(void)
{
	return socket(AF_UNIX, SOCK_DGRAM, 0);
}

static long try_connect(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/systemd/notify"};
	return connect(STDERR_FILENO, (struct sockaddr *)&address, sizeof(address));
}

static long try_execve(void)
{
	char *argv[] = {strdup("true"), NULL};
	return execve("/bin/true", argv, NULL);
}

static long try_execveat(void)
{
	char *argv[] = {strdup("true"), NULL};
	return syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, NULL, 0);
}

static long try_fork(void)
{
	return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static long try_thread(void)
{
	return syscall(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND, 0, 0, 0, 0);
}

static long try_clone3(void)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	} args = {.exit_signal = SIGCHLD};
	return syscall(435, &args, sizeof(args)); /* clone3 */
}

static long try_ptrace(void)
{
	return ptrace(PTRACE_ATTACH, getpid(), NULL, NULL);
}

static long try_mmap_exec(void)
{
	void *page = mmap(
		NULL, PAGE_BYTES, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return page == MAP_FAILED ? -1 : 0;
}

static long try_mprotect_exec(void)
{
	void *page = mmap(
		NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return page == MAP_FAILED ? -1 : mprotect(page, PAGE_BYTES, PROT_READ | PROT_EXEC);
}

static long try_pkey_mprotect_exec(void)
{
	void *page = mmap(
		NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return page == MAP_FAILED
		       ? -1
		       : syscall(SYS_pkey_mprotect, page, PAGE_BYTES, PROT_READ | PROT_EXEC, -1);
}

/* What can be read can be executed from then on. */
static long try_personality(void)
{
	return personality(READ_IMPLIES_EXEC);
}

static long try_memfd(void)
{
	return syscall(SYS_memfd_create, "code", 0);
}

static long try_process_vm_writev(void)
{
	struct iovec nothing = {NULL, 0};
	return syscall(SYS_process_vm_writev, getpid(), &nothing, 1, &nothing, 1, 0);
}

static long try_memory(void)
{
	void *block = mmap(NULL, (size_t)TOO_MUCH_MIB * 1024 * 1024, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return block == MAP_FAILED ? -1 : 0;
}

static long try_pipe(void)
{
	int ends[2];
	return pipe2(ends, O_CLOEXEC);
}

static long try_accept(void)
{
	return accept4(STDERR_FILENO, NULL, NULL, SOCK_CLOEXEC);
}

static long try_signal(void)
{
	return syscall(SYS_tgkill, 1, 1, 0);
}

static long try_io_uring(void)
{
	return syscall(SYS_io_uring_setup, 8, NULL);
}

static const struct {
	const char *name;
	long (*attempt)(void);
} attempts[] = {
	{"open", try_open},
	{"openat2", try_openat2},
	{"socket", try_socket},
	{"unix-socket", try_unix_socket},
	{"connect", try_connect},
	{"execve", try_execve},
	{"execveat", try_execveat},
	{"fork", try_fork},
	{"clone3", try_clone3},
	{"thread", try_thread},
	{"ptrace", try_ptrace},
	{"mmap-exec", try_mmap_exec},
	{"mprotect-exec", try_mprotect_exec},
	{"pkey_mprotect-exec", try_pkey_mprotect_exec},
	{"personality", try_personality},
	{"memfd", try_memfd},
	{"process_vm_writev", try_process_vm_writev},
	{"memory", try_memory},
	{"pipe", try_pipe},
	{"accept", try_accept},
	{"signal", try_signal},
	{"io_uring", try_io_uring},
};

int selftest_run(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
		if (strcmp(attempts[i].name, name) != 0)
			continue;
		long r = attempts[i].attempt();
		if (r >= 0)
			return SELFTEST_ALLOWED;
		fprintf(stderr, "%s: %s\n", name, strerror(errno));
		return SELFTEST_REFUSED;
	}
	for (size_t i = 0; i < ARRAY_SIZE(attempts); i++)
		fprintf(stderr, "%s\n", attempts[i].name);
	return SELFTEST_UNKNOWN;
}
