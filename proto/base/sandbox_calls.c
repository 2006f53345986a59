/* The lists of system calls that daemons share, each with its reason. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "proto/base/sandbox.h"

#define GROUP(purpose_, calls_) \
	{ \
		.purpose = (purpose_), .call = (calls_), .count = ARRAY_SIZE(calls_) \
	}

static const struct sandbox_call memory_calls[] = {
	{.name = "brk", .reason = "heap"},
	{.name = "mmap", .reason = "heap, never executable", SANDBOX_WITHOUT(2, PROT_EXEC)},
	{.name = "mprotect", .reason = "heap, never executable", SANDBOX_WITHOUT(2, PROT_EXEC)},
	{.name = "mremap", .reason = "realloc of large blocks"},
	{.name = "munmap", .reason = "free of large blocks"},
	{.name = "madvise", .reason = "free gives pages back"},
};

static const struct sandbox_call loop_calls[] = {
	{.name = "epoll_ctl", .reason = "watch and forget descriptors"},
	{.name = "epoll_wait", .reason = "wait for events"},
	{.name = "epoll_pwait", .reason = "wait for events"},
	{.name = "clock_gettime", .reason = "timers, where the vDSO can't answer"},
	{.name = "gettimeofday", .reason = "timers, where the vDSO can't answer"},
	{.name = "clock_nanosleep", .reason = "restarted waits"},
	{.name = "restart_syscall", .reason = "the kernel resumes an interrupted wait"},
	{.name = "futex", .reason = "locks of libc and libuv"},
	{.name = "sched_yield", .reason = "spin locks of libuv"},
	{.name = "rseq", .reason = "libc's per-processor data"},
	{.name = "getrandom", .reason = "libsodium, and libc's heap"},
	{.name = "getpid", .reason = "libsodium notices a fork"},
	{.name = "gettid", .reason = "raise() names its thread"},
};

static const struct sandbox_call descriptor_calls[] = {
	{.name = "read", .reason = "the loop's own pipe and event counter; files that are open"},
	{.name = "readv", .reason = "as read"},
	{.name = "write", .reason = "the loop's own pipe and event counter; stderr"},
	{.name = "writev", .reason = "as write"},
	{.name = "recvfrom", .reason = "receive on open sockets"},
	{.name = "recvmsg", .reason = "receive on open sockets"},
	{.name = "sendto", .reason = "send on open sockets; the notify socket"},
	{.name = "sendmsg", .reason = "send on open sockets"},
	{.name = "shutdown", .reason = "end a connection"},
	{.name = "close", .reason = "end a connection"},
	{.name = "getsockopt", .reason = "the peer's credentials; connection errors"},
	{.name = "setsockopt", .reason = "options of open sockets"},
	{.name = "getsockname", .reason = "libuv looks at what it polls"},
	{.name = "getpeername", .reason = "who the peer is"},
	{.name = "fcntl", .reason = "flags", SANDBOX_IS(1, F_GETFL)},
	{.name = "fcntl", .reason = "non-blocking", SANDBOX_IS(1, F_SETFL)},
	{.name = "fcntl", .reason = "flags", SANDBOX_IS(1, F_GETFD)},
	{.name = "fcntl", .reason = "close on exec", SANDBOX_IS(1, F_SETFD)},
	{.name = "ioctl", .reason = "libuv makes it non-blocking", SANDBOX_IS(1, FIONBIO)},
	{.name = "ioctl", .reason = "bytes that wait", SANDBOX_IS(1, FIONREAD)},
	{.name = "ioctl", .reason = "libuv sets close on exec", SANDBOX_IS(1, FIOCLEX)},
	{.name = "ioctl", .reason = "stdio asks for a terminal", SANDBOX_IS(1, TCGETS)},
	{.name = "fstat", .reason = "stdio asks for the block size"},
	{.name = "newfstatat",
		.reason = "stdio asks so too; it can do without an answer",
		SANDBOX_ANSWER(ENOSYS)},
};

static const struct sandbox_call signal_calls[] = {
	{.name = "rt_sigaction", .reason = "libuv sets and resets handlers"},
	{.name = "rt_sigprocmask", .reason = "libuv blocks signals while it changes them"},
	{.name = "rt_sigreturn", .reason = "the end of a handler"},
	{.name = "sigaltstack", .reason = "handlers of sanitizers and libc"},
	{.name = "tgkill", .reason = "abort() of this process", SANDBOX_OWN_PID(0)},
	{.name = "exit", .reason = "end of a thread"},
	{.name = "exit_group", .reason = "end of the process"},
};

/* Killing would be too much for what a library tries and can do without. */
static const struct sandbox_call refused_calls[] = {
	{.name = "io_uring_setup", .reason = "libuv tries it", SANDBOX_ANSWER(ENOSYS)},
	{.name = "io_uring_enter", .reason = "libuv tries it", SANDBOX_ANSWER(ENOSYS)},
	{.name = "io_uring_register", .reason = "libuv tries it", SANDBOX_ANSWER(ENOSYS)},
	{.name = "clone3", .reason = "libc goes on with clone", SANDBOX_ANSWER(ENOSYS)},
};

const struct sandbox_group sandbox_loop_calls[] = {
	GROUP("memory", memory_calls),
	GROUP("the loop, time and locks", loop_calls),
	GROUP("descriptors that are open already", descriptor_calls),
	GROUP("signals and the end", signal_calls),
	GROUP("tried by libraries, answered and not made", refused_calls),
};
const size_t sandbox_loop_calls_count = ARRAY_SIZE(sandbox_loop_calls);

static const struct sandbox_call thread_calls[] = {
	{.name = "clone",
		.reason = "a thread, never a process",
		SANDBOX_WITH(0, CLONE_VM | CLONE_THREAD)},
	{.name = "set_robust_list", .reason = "a new thread's locks"},
	{.name = "prctl", .reason = "a thread's name", SANDBOX_IS(0, PR_SET_NAME)},
	{.name = "prlimit64", .reason = "libuv asks for the stack's limit", SANDBOX_IS_NULL(2)},
	{.name = "getrlimit", .reason = "libuv asks for the stack's limit"},
	{.name = "sched_getaffinity", .reason = "how many threads to make"},
};

const struct sandbox_group sandbox_thread_calls = GROUP("threads", thread_calls);

#if SANDBOX_FOR_SANITIZER
/* Flags with which the leak check makes its tracer: no new process space, the parent stopped. */
enum { TRACER_FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_UNTRACED };

static const struct sandbox_call sanitizer_calls[] = {
	{.name = "open", .reason = "read /proc/self"},
	{.name = "openat", .reason = "read /proc/self"},
	{.name = "readlink", .reason = "the program's own name"},
	{.name = "readlinkat", .reason = "the program's own name"},
	{.name = "newfstatat", .reason = "files to be read"},
	{.name = "stat", .reason = "files to be read"},
	{.name = "access", .reason = "files to be read"},
	{.name = "lseek", .reason = "files to be read"},
	{.name = "getdents", .reason = "the list of threads"},
	{.name = "getdents64", .reason = "the list of threads"},
	{.name = "clone", .reason = "the leak check's tracer", SANDBOX_WITH(0, TRACER_FLAGS)},
	{.name = "ptrace", .reason = "the leak check stops the threads"},
	{.name = "wait4", .reason = "the leak check's tracer"},
	{.name = "prctl", .reason = "the leak check's tracer"},
	{.name = "getppid", .reason = "the leak check's tracer"},
	{.name = "kill", .reason = "the leak check's tracer"},
	{.name = "tgkill", .reason = "reports end the process"},
	{.name = "prlimit64", .reason = "bounds of the stack"},
	{.name = "getrlimit", .reason = "bounds of the stack"},
	{.name = "sched_getaffinity", .reason = "bounds of the stack"},
	{.name = "uname", .reason = "the kernel's address space"},
	{.name = "nanosleep", .reason = "its own thread's pauses; without an answer it spins"},
};
const struct sandbox_group sandbox_sanitizer_calls = GROUP(
	"the sanitizer's runtime", sanitizer_calls);
#else
const struct sandbox_group sandbox_sanitizer_calls = {.purpose = "no sanitizer"};
#endif
