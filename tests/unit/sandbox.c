/* proto/base/sandbox: what a process that has entered it can and can't do; each try in a child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "proto/base/sandbox.h"

enum { MEMORY_BYTES = 512 * 1024 * 1024 };

/* Ends the child without the leak check, which is not what is tested here. */
static void end(int code)
{
	_exit(code);
}

/* Runs `attempt` in a child and returns its wait status. */
static int status_of(void (*attempt)(void))
{
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		attempt();
		end(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void assert_killed(void (*attempt)(void))
{
	int status = status_of(attempt);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

/* The child's exit code is 0, or the number of the check that failed. */
static void assert_works(void (*attempt)(void))
{
	int status = status_of(attempt);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void enter(const struct sandbox_group *extra, const struct sandbox_path *path)
{
	static const struct sandbox_limit limits[] = {
		{RLIMIT_AS, MEMORY_BYTES}, {RLIMIT_NOFILE, 64}};
	struct sandbox sandbox = {.group = extra,
		.group_count = extra != NULL ? 1 : 0,
		.path = path,
		.path_count = path != NULL ? 1 : 0,
		.limit = limits,
		.limit_count = ARRAY_SIZE(limits)};
	struct sandbox_report report;
	if (sandbox_enter(&sandbox, &report) < 0)
		end(100);
}

static void on_timer(uv_timer_t *timer)
{
	(void)timer;
}

static void use_a_loop(void)
{
	uv_loop_t loop;
	uv_timer_t timer;
	uv_poll_t poll;
	int pair[2];
	if (sandbox_refuse_io_uring() < 0 || uv_loop_init(&loop) < 0 ||
		socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		end(1);
	enter(NULL, NULL);
	uv_timer_init(&loop, &timer);
	uv_timer_start(&timer, on_timer, 1, 0);
	uv_run(&loop, UV_RUN_DEFAULT);
	if (uv_poll_init(&loop, &poll, pair[0]) < 0)
		end(2);
	uv_close((uv_handle_t *)&poll, NULL);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	char byte = 'x';
	if (send(pair[0], &byte, 1, 0) != 1 || recv(pair[1], &byte, 1, 0) != 1)
		end(3);
	free(malloc(10 * 1024 * 1024));
	if (uv_loop_close(&loop) < 0)
		end(4);
}

static void open_a_file(void)
{
	enter(NULL, NULL);
	syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
}

static void make_a_socket(void)
{
	enter(NULL, NULL);
	socket(AF_INET, SOCK_STREAM, 0);
}

static void run_a_program(void)
{
	enter(NULL, NULL);
	char *argv[] = {(char *)"true", NULL};
	execve("/bin/true", argv, NULL);
}

static void fork_a_child(void)
{
	enter(NULL, NULL);
	syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static void trace_the_parent(void)
{
	enter(NULL, NULL);
	ptrace(PTRACE_ATTACH, getppid(), 0, 0);
}

static void signal_the_parent(void)
{
	enter(NULL, NULL);
	syscall(SYS_tgkill, 1, 1, 0);
}

static void map_executable_memory(void)
{
	enter(NULL, NULL);
	mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void make_memory_executable(void)
{
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	enter(NULL, NULL);
	mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static void abort_itself(void)
{
	enter(NULL, NULL);
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGTERM);
}

static void a_loop_works_inside(void **state)
{
	(void)state;
	assert_works(use_a_loop);
}

static void calls_that_are_not_listed_kill(void **state)
{
	(void)state;
	assert_killed(make_a_socket);
	assert_killed(run_a_program);
	assert_killed(map_executable_memory);
	assert_killed(make_memory_executable);
	if (sandbox_is_relaxed())
		return;
	assert_killed(open_a_file);
	assert_killed(fork_a_child);
	assert_killed(trace_the_parent);
	assert_killed(signal_the_parent);
}

static void a_process_may_end_itself(void **state)
{
	(void)state;
	int status = status_of(abort_itself);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGTERM);
}

static void try_io_uring(void)
{
	if (sandbox_refuse_io_uring() < 0)
		end(1);
	if (syscall(SYS_io_uring_setup, 8, NULL) != -1 || errno != ENOSYS)
		end(2);
	enter(NULL, NULL);
	if (syscall(SYS_io_uring_setup, 8, NULL) != -1 || errno != ENOSYS)
		end(3);
	if (syscall(SYS_io_uring_enter, 0, 0, 0, 0, NULL, 0) != -1 || errno != ENOSYS)
		end(4);
}

static void io_uring_does_not_exist_before_and_inside(void **state)
{
	(void)state;
	assert_works(try_io_uring);
}

static const struct sandbox_call file_calls[] = {
	{.name = "openat", .reason = "test"},
	{.name = "unlinkat", .reason = "test"},
	{.name = "newfstatat", .reason = "test"},
};
static const struct sandbox_group file_group = {"test", file_calls, ARRAY_SIZE(file_calls)};
static char directory[] = "/tmp/sandbox-test-XXXXXX";

static int try_open(const char *path, int flags)
{
	int fd = openat(AT_FDCWD, path, flags | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static void use_files(void)
{
	char inside[64];
	snprintf(inside, sizeof(inside), "%s/file", directory);
	const struct sandbox_path path = {directory, SANDBOX_READ | SANDBOX_WRITE};
	enter(&file_group, &path);
	if (try_open(inside, O_WRONLY | O_CREAT | O_TRUNC) != 0 || try_open(inside, O_RDONLY) != 0)
		end(1);
	if (try_open("/etc/passwd", O_RDONLY) != EACCES)
		end(2);
	if (try_open("/tmp", O_RDONLY | O_DIRECTORY) != EACCES)
		end(3);
	if (unlinkat(AT_FDCWD, inside, 0) < 0)
		end(4);
	struct stat st;
	if (fstatat(AT_FDCWD, directory, &st, 0) < 0)
		end(5); /* a row that allows beats one that answers */
}

static void only_read_files(void)
{
	char inside[64];
	snprintf(inside, sizeof(inside), "%s/file", directory);
	const struct sandbox_path path = {directory, SANDBOX_READ};
	enter(&file_group, &path);
	if (try_open(directory, O_RDONLY | O_DIRECTORY) != 0)
		end(1);
	if (try_open(inside, O_WRONLY | O_CREAT) != EACCES)
		end(2);
}

static void only_named_paths_can_be_used(void **state)
{
	(void)state;
	if (syscall(444, NULL, 0, 1) < 1) {
		print_message("SKIPPED: this kernel has no Landlock\n");
		skip();
	}
	assert_non_null(mkdtemp(directory));
	assert_works(use_files);
	assert_works(only_read_files);
	rmdir(directory);
}

static void *nothing(void *arg)
{
	return arg;
}

static void make_a_thread(void)
{
	enter(&sandbox_thread_calls, NULL);
	pthread_t thread;
	if (pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
		end(1);
}

static void threads_can_be_allowed(void **state)
{
	(void)state;
	assert_works(make_a_thread);
}

static void ask_for_much(void)
{
	enter(NULL, NULL);
	char *volatile block = malloc(MEMORY_BYTES);
	end(block == NULL ? 0 : 1);
}

static void raise_limits(void)
{
	static const struct sandbox_call calls[] = {{.name = "prlimit64", .reason = "test"},
		{.name = "prctl", .reason = "test"}, {.name = "setrlimit", .reason = "test"}};
	static const struct sandbox_group group = {"test", calls, ARRAY_SIZE(calls)};
	if (setuid(65534) < 0 && getuid() == 0)
		end(1); /* root may raise hard limits */
	enter(&group, NULL);
	struct rlimit more = {128, 128};
	if (setrlimit(RLIMIT_NOFILE, &more) == 0)
		end(2);
	struct rlimit core;
	if (getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_max != 0)
		end(3);
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		end(4);
	if (!sandbox_is_relaxed() && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		end(5);
}

static void limits_hold_and_cannot_be_raised(void **state)
{
	(void)state;
	assert_works(raise_limits);
	if (!sandbox_is_relaxed())
		assert_works(ask_for_much);
}

static void check_report(void)
{
	struct sandbox sandbox = {0};
	struct sandbox_report report;
	int r = sandbox_enter(&sandbox, &report);
	char missing[256];
	sandbox_missing_layers(&report, missing, sizeof(missing));
	bool all = true;
	for (int i = 0; i < SANDBOX_LAYER_COUNT; i++)
		all = all && report.layer[i].holds;
	if (all != (r == SANDBOX_COMPLETE) || all != (missing[0] == '\0'))
		end(1);
	if (!report.layer[SANDBOX_LAYER_CALLS].holds || !report.layer[SANDBOX_LAYER_TCP].holds)
		end(2);
}

static void report_says_what_holds(void **state)
{
	(void)state;
	assert_works(check_report);
}

static int add_to(scmp_filter_ctx filter, const struct sandbox_call *call)
{
	uint32_t action = call->answer == 0 ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(ENOSYS);
	struct scmp_arg_cmp condition = {call->index, SCMP_CMP_MASKED_EQ, call->mask, call->value};
	int r = seccomp_rule_add_array(filter, action, seccomp_syscall_resolve_name(call->name),
		call->mask != 0 ? 1 : 0, &condition);
	return r == -EEXIST ? 0 : r;
}

/* Each kind of machine has calls that others do not have; rows for those are skipped. */
static void the_lists_make_a_filter_for_every_kind_of_machine(void **state)
{
	(void)state;
	static const uint32_t machines[] = {SCMP_ARCH_X86_64, SCMP_ARCH_AARCH64};
	for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
		scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
		assert_non_null(filter);
		if (seccomp_arch_exist(filter, machines[i]) != 0) {
			assert_int_equal(seccomp_arch_add(filter, machines[i]), 0);
			assert_int_equal(seccomp_arch_remove(filter, seccomp_arch_native()), 0);
		}
		for (size_t j = 0; j < sandbox_loop_calls_count; j++) {
			const struct sandbox_group *group = &sandbox_loop_calls[j];
			for (size_t k = 0; k < group->count; k++) {
				assert_true(seccomp_syscall_resolve_name(group->call[k].name) !=
					    __NR_SCMP_ERROR);
				if (group->call[k].answer == 0)
					assert_int_equal(add_to(filter, &group->call[k]), 0);
			}
		}
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		assert_int_equal(seccomp_export_bpf(filter, null), 0);
		close(null);
		seccomp_release(filter);
	}
	/* What waits for events where there is no epoll_wait. */
	assert_true(seccomp_syscall_resolve_name_arch(SCMP_ARCH_AARCH64, "epoll_wait") < 0);
	assert_true(seccomp_syscall_resolve_name_arch(SCMP_ARCH_AARCH64, "epoll_pwait") > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_loop_works_inside),
		cmocka_unit_test(calls_that_are_not_listed_kill),
		cmocka_unit_test(a_process_may_end_itself),
		cmocka_unit_test(io_uring_does_not_exist_before_and_inside),
		cmocka_unit_test(only_named_paths_can_be_used),
		cmocka_unit_test(threads_can_be_allowed),
		cmocka_unit_test(limits_hold_and_cannot_be_raised),
		cmocka_unit_test(report_says_what_holds),
		cmocka_unit_test(the_lists_make_a_filter_for_every_kind_of_machine),
	};
	return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
