#include "wsgate/confine.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/base/daemon_confine.h"
#include "proto/base/journal.h"

static const struct sandbox_call connection_calls[] = {
	{.name = "accept4", .reason = "backends"},
	{.name = "socket", .reason = "a connection to eventlogd", SANDBOX_IS(0, AF_UNIX)},
	{.name = "connect", .reason = "to eventlogd; Landlock allows no TCP"},
	{.name = "socketpair", .reason = "the inside of a TLS connection", SANDBOX_IS(0, AF_UNIX)},
};

static const struct sandbox_group own_groups[] = {
	{"connections", connection_calls, ARRAY_SIZE(connection_calls)},
};

int confine(void)
{
	const struct sandbox sandbox = {
		.group = own_groups,
		.group_count = ARRAY_SIZE(own_groups),
		/* A call of a library that was not foreseen must not end every session. */
		.otherwise = EPERM,
	};
	journal_use_stderr(); /* the journal's own way would make a socket later */
	return daemon_confine(&sandbox);
}
