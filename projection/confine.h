/*
 * projection's sandbox: what it still may do when it reads its first request.
 *
 * Receive and send on sockets that are open, accept on its one listening socket, allocate, wait,
 * tell the time, and end. No file, no new socket, no exec, no process, no thread, no executable
 * memory, and bounds on memory and descriptors.
 */
#pragma once

#include <stdio.h>

#include "proto/base/attributes.h"
#include "proto/base/sandbox.h"

/* `listen_fd` is the only descriptor that accept works on; -1: none. As sandbox_enter(). */
_must_check_ int confine(int listen_fd, struct sandbox_report *report);

/* Each layer and what holds it, and each call that is left with its reason. For people. */
void confine_print_report(const struct sandbox_report *report, FILE *out);
