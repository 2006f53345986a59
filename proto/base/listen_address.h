/*
 * Where a daemon listens: "HOST:PORT" (an IPv6 address in brackets) or "unix:/path".
 *
 * For sockets that are not inherited. A name must resolve to an address of this machine; the first
 * one that can be bound is taken. Resolving may block: only at start.
 */
#pragma once

#include "proto/base/attributes.h"

/*
 * Makes a listening, non-blocking socket. The descriptor; -EINVAL when the text is no such address;
 * or another -errno (-EADDRINUSE, -EACCES, …).
 */
_must_check_ int listen_address_open(const char *text);
