/*
 * eventlogd's sandbox: one directory, the sockets that are open, no network, no program.
 */
#pragma once

#include "proto/base/attributes.h"

/*
 * Raises the soft limit of descriptors to the hard one and enters the sandbox. Call it once the
 * listening sockets are open and before the log is: its sync thread has to be born inside. What
 * the kernel lacks is told in the journal. 0, or -errno told already.
 */
_must_check_ int confine(const char *directory);
