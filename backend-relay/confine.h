/*
 * What backend-relay gives up once its sockets are open: writing to any file, reading most of them,
 * listening, and system calls that it does not need.
 *
 * What stays: outgoing connections (runtimes, projection), and reading what the resolver, TLS and a
 * reload of the tokens need.
 */
#pragma once

#include "proto/base/attributes.h"

/*
 * `tokens_file`: may be read again, NULL when there is none. 0, also where the kernel lacks a layer
 * (a warning then); or -errno, told to the journal.
 */
_must_check_ int confine(const char *tokens_file);
