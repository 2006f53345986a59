#include "projection/confine.h"

#include <string.h>

#include "projection/relay.h"

enum {
	MEMORY_MIB = 1024, /* an event of 16 MiB with its tape takes at most half of it */
	OPEN_FILES = RELAYS_MAX + 48,
};

int confine(int listen_fd, struct sandbox_report *report)
{
	static const struct sandbox_limit limits[] = {
		{RLIMIT_AS, (rlim_t)MEMORY_MIB * 1024 * 1024},
		{RLIMIT_NOFILE, OPEN_FILES},
		{RLIMIT_NPROC, 0},
	};
	/* The only call that makes a descriptor, and only of what connects to this socket. */
	const struct sandbox_call accept_call = {
		.name = "accept4", .reason = "relays connect", SANDBOX_IS(0, listen_fd)};
	const struct sandbox_group accepting = {"the listening socket", &accept_call, 1};
	const struct sandbox sandbox = {.group = &accepting,
		.group_count = listen_fd >= 0 ? 1 : 0,
		.limit = limits,
		.limit_count = ARRAY_SIZE(limits)};
	return sandbox_enter(&sandbox, report);
}

static void print_group(const struct sandbox_group *group, FILE *out)
{
	fprintf(out, "  %s\n", group->purpose);
	for (size_t i = 0; i < group->count; i++) {
		const struct sandbox_call *call = &group->call[i];
		fprintf(out, "    %-20s %s%s\n", call->name, call->reason,
			call->answer != 0 ? ": not made, answered with an error"
			: call->mask != 0 ? " (only with certain arguments)"
					  : "");
	}
}

void confine_print_report(const struct sandbox_report *report, FILE *out)
{
	for (int i = 0; i < SANDBOX_LAYER_COUNT; i++)
		fprintf(out, "%-18s %-8s %s\n", sandbox_layer_name((enum sandbox_layer)i),
			report->layer[i].holds ? "holds" : "MISSING", report->layer[i].detail);
	fprintf(out, "\nsystem calls that are left; any other kills the process\n");
	for (size_t i = 0; i < sandbox_loop_calls_count; i++)
		print_group(&sandbox_loop_calls[i], out);
	fprintf(out, "  the listening socket\n    %-20s relays connect (only on this socket)\n",
		"accept4");
	if (sandbox_sanitizer_calls.count > 0)
		print_group(&sandbox_sanitizer_calls, out);
}
