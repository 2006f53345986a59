/*
 * Forwarded (RFC 7239): whose request a proxy passes on.
 *
 *	Forwarded: for=203.0.113.9;proto=https, for="[2001:db8::1]:4711"
 *
 * Each proxy adds its peer at the end, so the list is believed from its end on, and only as long as
 * the one who added the entry is one of our proxies. What stands before is a stranger's claim. An
 * entry that names no address (`unknown`, `_hidden`) ends the search at the proxy that wrote it; a
 * field that can't be read says nothing at all.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "backend-relay/identity/network.h"

enum { FORWARDED_ENTRIES_MAX = 32 }; /* of a longer list nothing is believed */

/* Whether the address is in one of the networks. */
bool forwarded_is_trusted(
	const struct network *trusted, size_t count, const struct network_address *address);

/*
 * `peer` is who is connected, and trusted; `header` the field's value. Answers the nearest address
 * that is none of our proxies, or the farthest proxy that names nobody else.
 */
struct network_address forwarded_client(const char *header, const struct network *trusted,
	size_t count, const struct network_address *peer);
