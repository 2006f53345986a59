/*
 * The sandbox that a daemon puts itself into before it reads the first byte of a peer.
 *
 * The layers, each of which holds without the others:
 *	no new privileges   exec can gain nothing
 *	not dumpable        no core file, no ptrace and no /proc/PID/mem from the same user
 *	limits              setrlimit, so that they can't be raised again; never a core file
 *	files               Landlock: only the paths named, none without; no TCP unless named
 *	calls               seccomp: only the system calls listed; any other kills the process
 *
 * A daemon calls sandbox_refuse_io_uring() before it makes a loop (daemon_init() does), opens all
 * that it needs, and then calls sandbox_enter() once, while it has one thread: Landlock binds the
 * calling thread and the threads that it makes later. There is no way back.
 *
 * What a kernel lacks is reported and never a silent gap: the caller decides whether that will do.
 *
 * In builds with the address or thread sanitizer the same filters hold, and besides them what the
 * sanitizer's runtime needs (sandbox_sanitizer_calls in sandbox_calls.c: reading /proc, and at
 * exit the leak check's tracer); RLIMIT_AS is left out, because the sanitizer reserves terabytes of
 * address space, and the process stays dumpable. sandbox_is_relaxed() tells tests.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include "proto/base/attributes.h"
#include "proto/base/sandbox_path.h"

/* Builds with a sanitizer need a little more: see above. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_FOR_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANDBOX_FOR_SANITIZER 1
#endif
#endif
#ifndef SANDBOX_FOR_SANITIZER
#define SANDBOX_FOR_SANITIZER 0
#endif

/*
 * One row of a list of calls, written with designators:
 *	{.name = "mmap", .reason = "heap", SANDBOX_WITHOUT(2, PROT_EXEC)}
 * The same call may stand in several rows, in any groups: it is allowed when one that allows it
 * applies; rows that only answer count for calls that no row allows.
 */
struct sandbox_call {
	const char *name;   /* as in the kernel; one that this machine does not have is skipped */
	const char *reason; /* why the process needs it */
	int answer;         /* 0: allowed; else not made, and answered with this errno */
	/* Only when (argument `index` & mask) == value. mask 0: whatever the arguments. */
	unsigned int index;
	uint64_t mask, value;
	bool own_pid; /* `value` is this process's id */
};

#define SANDBOX_IS(index_, value_) \
	.index = (index_), .mask = UINT32_MAX, .value = (uint32_t)(value_)
#define SANDBOX_WITHOUT(index_, bits_) .index = (index_), .mask = (bits_), .value = 0
#define SANDBOX_WITH(index_, bits_) .index = (index_), .mask = (bits_), .value = (bits_)
#define SANDBOX_IS_NULL(index_) .index = (index_), .mask = UINT64_MAX, .value = 0
#define SANDBOX_OWN_PID(index_) .index = (index_), .mask = UINT32_MAX, .own_pid = true
#define SANDBOX_ANSWER(errno_) .answer = (errno_)

/* Rows for one purpose. */
struct sandbox_group {
	const char *purpose;
	const struct sandbox_call *call;
	size_t count;
};

/* What every daemon with a libuv loop needs once its sockets are open: no way to make a new one. */
extern const struct sandbox_group sandbox_loop_calls[];
extern const size_t sandbox_loop_calls_count;

/* What starting and ending threads needs besides. */
extern const struct sandbox_group sandbox_thread_calls;

/* Applied by sandbox_enter() itself in builds with a sanitizer; empty in others. */
extern const struct sandbox_group sandbox_sanitizer_calls;

struct sandbox_limit {
	int resource; /* RLIMIT_… */
	rlim_t value; /* soft and hard; a lower hard limit that exists already stays */
};

/* The calls of the loop (sandbox_loop_calls) are always among those that are allowed. */
struct sandbox {
	const struct sandbox_group *group; /* what the daemon needs besides */
	size_t group_count;
	bool has_threads; /* with sandbox_thread_calls */
	/* What a call that no row lists does: 0 kills the process, else it fails with this errno.*/
	int otherwise;
	const struct sandbox_path *path;
	size_t path_count;
	bool may_bind_tcp, may_connect_tcp;
	const struct sandbox_limit *limit;
	size_t limit_count;
};

enum sandbox_layer {
	SANDBOX_LAYER_NO_NEW_PRIVILEGES,
	SANDBOX_LAYER_NOT_DUMPABLE,
	SANDBOX_LAYER_LIMITS,
	SANDBOX_LAYER_FILES,
	SANDBOX_LAYER_TCP,
	SANDBOX_LAYER_CALLS,
	SANDBOX_LAYER_COUNT,
};

struct sandbox_report {
	struct {
		bool holds;
		char detail[96]; /* "Landlock ABI 6", or what is missing and why */
	} layer[SANDBOX_LAYER_COUNT];
};

enum sandbox_result {
	SANDBOX_COMPLETE = 0,
	SANDBOX_INCOMPLETE = 1, /* entered, but a layer does not hold: see the report */
};

/*
 * Answers io_uring's calls with ENOSYS from now on (and sets no-new-privileges): libuv tries them
 * when it makes a loop, even when told not to. 0, or -errno where there is no seccomp.
 */
_must_check_ int sandbox_refuse_io_uring(void);

/* enum sandbox_result, or -errno when the description itself can't be applied. */
_must_check_ int sandbox_enter(const struct sandbox *sandbox, struct sandbox_report *report);

/* "no new privileges", "files", … */
const char *sandbox_layer_name(enum sandbox_layer layer);

/* The names of the layers that do not hold, separated by ", ". */
void sandbox_missing_layers(const struct sandbox_report *report, char *text, size_t size);

/* Whether this build relaxes the sandbox for a sanitizer. */
bool sandbox_is_relaxed(void);
