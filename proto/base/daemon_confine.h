/*
 * Entering the sandbox (sandbox.h) as a daemon does: what the kernel lacks is told in the journal
 * as a warning, and the daemon goes on with the layers that there are.
 */
#pragma once

#include "proto/base/attributes.h"
#include "proto/base/sandbox.h"

/* 0; or -errno, told to the journal. */
_must_check_ int daemon_confine(const struct sandbox *sandbox);
