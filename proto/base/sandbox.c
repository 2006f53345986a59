#include "proto/base/sandbox.h"

#include <assert.h>
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "proto/base/landlock.h"

static void report_layer(
	struct sandbox_report *report, enum sandbox_layer layer, int error, const char *detail)
{
	report->layer[layer].holds = error == 0;
	snprintf(report->layer[layer].detail, sizeof(report->layer[layer].detail), "%s%s%s", detail,
		error == 0 ? "" : ": ", error == 0 ? "" : strerror(-error));
}

bool sandbox_is_relaxed(void)
{
	return SANDBOX_FOR_SANITIZER;
}

const char *sandbox_layer_name(enum sandbox_layer layer)
{
	static const char *const names[SANDBOX_LAYER_COUNT] = {
		[SANDBOX_LAYER_NO_NEW_PRIVILEGES] = "no new privileges",
		[SANDBOX_LAYER_NOT_DUMPABLE] = "not dumpable",
		[SANDBOX_LAYER_LIMITS] = "limits",
		[SANDBOX_LAYER_FILES] = "files",
		[SANDBOX_LAYER_TCP] = "TCP",
		[SANDBOX_LAYER_CALLS] = "system calls",
	};
	return names[layer];
}

void sandbox_missing_layers(const struct sandbox_report *report, char *text, size_t size)
{
	size_t len = 0;
	text[0] = '\0';
	for (int i = 0; i < SANDBOX_LAYER_COUNT && len < size; i++) {
		if (!report->layer[i].holds)
			len += (size_t)snprintf(text + len, size - len, "%s%s", len > 0 ? ", " : "",
				sandbox_layer_name((enum sandbox_layer)i));
	}
}

/* Adds one row with its condition. */
static int add_call(scmp_filter_ctx filter, int number, const struct sandbox_call *call)
{
	uint32_t action = call->answer == 0 ? SCMP_ACT_ALLOW
					    : SCMP_ACT_ERRNO((uint32_t)call->answer);
	if (call->mask == 0)
		return seccomp_rule_add_array(filter, action, number, 0, NULL);
	uint64_t value = call->own_pid ? (uint64_t)getpid() : call->value;
	struct scmp_arg_cmp condition = {call->index, SCMP_CMP_MASKED_EQ, call->mask, value};
	return seccomp_rule_add_array(filter, action, number, 1, &condition);
}

static bool group_allows(const struct sandbox_group *group, const char *name)
{
	for (size_t i = 0; i < group->count; i++) {
		if (group->call[i].answer == 0 && strcmp(group->call[i].name, name) == 0)
			return true;
	}
	return false;
}

/* Every group that applies, by number: the build's, the loop's, threads', its own. NULL at the end.
 */
static const struct sandbox_group *group_at(const struct sandbox *sandbox, size_t index)
{
	if (index == 0)
		return &sandbox_sanitizer_calls;
	index--;
	if (index < sandbox_loop_calls_count)
		return &sandbox_loop_calls[index];
	index -= sandbox_loop_calls_count;
	if (sandbox->has_threads && index-- == 0)
		return &sandbox_thread_calls;
	return index < sandbox->group_count ? &sandbox->group[index] : NULL;
}

static bool sandbox_allows(const struct sandbox *sandbox, const char *name)
{
	const struct sandbox_group *group;
	for (size_t i = 0; (group = group_at(sandbox, i)) != NULL; i++) {
		if (group_allows(group, name))
			return true;
	}
	return false;
}

static int add_group(
	scmp_filter_ctx filter, const struct sandbox *sandbox, const struct sandbox_group *group)
{
	for (size_t i = 0; i < group->count; i++) {
		const struct sandbox_call *call = &group->call[i];
		int number = seccomp_syscall_resolve_name(call->name);
		if (number == __NR_SCMP_ERROR)
			continue; /* newer than this libseccomp, so not used by its libc either */
		if (call->answer != 0 && sandbox_allows(sandbox, call->name))
			continue;
		int r = add_call(filter, number, call);
		if (r < 0 && r != -EEXIST)
			return r;
	}
	return 0;
}

static int build_filter(const struct sandbox *sandbox, scmp_filter_ctx *out)
{
	uint32_t otherwise = sandbox->otherwise == 0 ? SCMP_ACT_KILL_PROCESS
						     : SCMP_ACT_ERRNO((uint32_t)sandbox->otherwise);
	scmp_filter_ctx filter = seccomp_init(otherwise);
	if (filter == NULL)
		return -ENOMEM;
	const struct sandbox_group *group;
	int r = 0;
	for (size_t i = 0; r == 0 && (group = group_at(sandbox, i)) != NULL; i++)
		r = add_group(filter, sandbox, group);
	if (r < 0) {
		seccomp_release(filter);
		return r;
	}
	*out = filter;
	return 0;
}

int sandbox_refuse_io_uring(void)
{
	static const char *const calls[] = {
		"io_uring_setup", "io_uring_enter", "io_uring_register"};
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	if (filter == NULL)
		return -ENOMEM;
	int r = 0;
	for (size_t i = 0; i < ARRAY_SIZE(calls) && r == 0; i++) {
		int number = seccomp_syscall_resolve_name(calls[i]);
		assert(number != __NR_SCMP_ERROR);
		r = seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(ENOSYS), number, 0, NULL);
	}
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

static int lower_limit(const struct sandbox_limit *limit)
{
	if (sandbox_is_relaxed() && limit->resource == RLIMIT_AS)
		return 0;
	struct rlimit now;
	if (getrlimit((__rlimit_resource_t)limit->resource, &now) < 0)
		return -errno;
	rlim_t value = limit->value < now.rlim_max ? limit->value : now.rlim_max;
	struct rlimit wanted = {value, value};
	return setrlimit((__rlimit_resource_t)limit->resource, &wanted) < 0 ? -errno : 0;
}

static void enter_limits(const struct sandbox *sandbox, struct sandbox_report *report)
{
	int r = lower_limit(&(struct sandbox_limit){RLIMIT_CORE, 0});
	for (size_t i = 0; i < sandbox->limit_count && r == 0; i++)
		r = lower_limit(&sandbox->limit[i]);
	report_layer(report, SANDBOX_LAYER_LIMITS, r,
		sandbox_is_relaxed() ? "setrlimit, without RLIMIT_AS for the sanitizer"
				     : "setrlimit");
}

static void enter_landlock(const struct sandbox *sandbox, struct sandbox_report *report)
{
	/* The sanitizer's runtime reads /proc/self/maps and the list of threads. */
	static const struct sandbox_path proc = {"/proc", SANDBOX_READ};
	enum { MAX_PATHS = 64 };
	struct sandbox_path path[MAX_PATHS + 1];
	assert(sandbox->path_count <= MAX_PATHS);
	size_t count = sandbox->path_count;
	if (count > 0)
		memcpy(path, sandbox->path, count * sizeof(*path));
	if (sandbox_is_relaxed())
		path[count++] = proc;

	int abi = landlock_abi();
	int r = abi < 0 ? abi
			: landlock_restrict(abi, path, count, sandbox->may_bind_tcp,
				  sandbox->may_connect_tcp);
	char detail[64];
	snprintf(detail, sizeof(detail), abi < 0 ? "no Landlock" : "Landlock ABI %d", abi);
	report_layer(report, SANDBOX_LAYER_FILES, r, detail);
	if (!sandbox_allows(sandbox, "socket"))
		report_layer(report, SANDBOX_LAYER_TCP, 0, "no call makes a socket");
	else if (sandbox->may_bind_tcp && sandbox->may_connect_tcp)
		report_layer(report, SANDBOX_LAYER_TCP, 0, "allowed");
	else if (r == 0 && abi < LANDLOCK_ABI_WITH_TCP)
		report_layer(report, SANDBOX_LAYER_TCP, -EOPNOTSUPP, detail);
	else
		report_layer(report, SANDBOX_LAYER_TCP, r, detail);
}

int sandbox_enter(const struct sandbox *sandbox, struct sandbox_report *report)
{
	scmp_filter_ctx filter;
	int r = build_filter(sandbox, &filter);
	if (r < 0)
		return r;
	r = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
	report_layer(report, SANDBOX_LAYER_NO_NEW_PRIVILEGES, r, "prctl");
	/* The leak check must be able to trace the process. */
	if (sandbox_is_relaxed())
		report_layer(report, SANDBOX_LAYER_NOT_DUMPABLE, 0, "left out for the sanitizer");
	else
		report_layer(report, SANDBOX_LAYER_NOT_DUMPABLE,
			prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0, "prctl");
	enter_limits(sandbox, report);
	enter_landlock(sandbox, report);
	/* Last, because it forbids all of the above. */
	r = seccomp_load(filter);
	seccomp_release(filter);
	report_layer(report, SANDBOX_LAYER_CALLS, r,
		sandbox_is_relaxed() ? "seccomp, with the sanitizer's calls" : "seccomp");
	for (int i = 0; i < SANDBOX_LAYER_COUNT; i++) {
		if (!report->layer[i].holds)
			return SANDBOX_INCOMPLETE;
	}
	return SANDBOX_COMPLETE;
}
