/*
 * What backend-relay gives up once its sockets are open: writing to any file, reading most of them,
 * listening, and system calls that it does not need.
 *
 * What stays: outgoing connections (runtimes, projection), and reading what the resolver, TLS and a
 * reload of the tokens need.
 */
#pragma once

#include <stddef.h>

#include "proto/base/attributes.h"

/*
 * `files`: what a reload reads again (at most CONFINE_FILES_MAX). 0, also where the kernel lacks a
 * layer (a warning then); or -errno, told to the journal.
 */
enum { CONFINE_FILES_MAX = 4 };
_must_check_ int confine(const char *const files[], size_t count);
