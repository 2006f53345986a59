/*
 * Landlock by its system calls: a process gives up all files and TCP but what it names.
 *
 * Written against the kernel's ABI (Documentation/userspace-api/landlock.rst), whose headers may be
 * older than the kernel that runs. Rights that the kernel does not know yet are left out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/attributes.h"
#include "proto/base/sandbox_path.h"

/* Version of the ABI, 1 and up; -ENOSYS or -EOPNOTSUPP where there is none. */
_must_check_ int landlock_abi(void);

enum { LANDLOCK_ABI_WITH_TCP = 4 };

/*
 * Restricts this thread and those that it makes from now on. With no path, no file can be opened.
 * no-new-privileges must be set. 0 or -errno.
 */
_must_check_ int landlock_restrict(int abi, const struct sandbox_path *path, size_t path_count,
	bool may_bind_tcp, bool may_connect_tcp);
