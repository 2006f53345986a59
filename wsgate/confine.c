#include "wsgate/confine.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/base/journal.h"
#include "proto/base/sandbox.h"

static const struct sandbox_call connection_calls[] = {
	{.name = "accept4", .reason = "backends"},
	{.name = "socket", .reason = "a connection to eventlogd", SANDBOX_IS(0, AF_UNIX)},
	{.name = "connect", .reason = "to eventlogd; Landlock allows no TCP"},
	{.name = "socketpair", .reason = "the inside of a TLS connection", SANDBOX_IS(0, AF_UNIX)},
};

static const struct sandbox_group own_groups[] = {
	{"connections", connection_calls, ARRAY_SIZE(connection_calls)},
};

enum { GROUPS_MAX = 16 };

static size_t gather_groups(struct sandbox_group out[GROUPS_MAX])
{
	size_t count = 0;
	for (size_t i = 0; i < sandbox_loop_calls_count; i++)
		out[count++] = sandbox_loop_calls[i];
	for (size_t i = 0; i < ARRAY_SIZE(own_groups); i++)
		out[count++] = own_groups[i];
	return count;
}

int confine(void)
{
	struct sandbox_group groups[GROUPS_MAX];
	const struct sandbox sandbox = {
		.group = groups,
		.group_count = gather_groups(groups),
		/* A call of a library that was not foreseen must not end every session. */
		.otherwise = EPERM,
	};
	struct sandbox_report report;
	journal_use_stderr(); /* the journal's own way would make a socket later */
	int r = sandbox_enter(&sandbox, &report);
	if (r < 0) {
		journal(LOG_ERR, "can't enter the sandbox: %s", strerror(-r));
		return r;
	}
	if (r == SANDBOX_INCOMPLETE) {
		char missing[256];
		sandbox_missing_layers(&report, missing, sizeof(missing));
		journal(LOG_WARNING, "this kernel lacks layers of the sandbox: %s", missing);
	}
	return 0;
}
