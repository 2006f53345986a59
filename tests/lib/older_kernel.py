"""Runs a program as on a kernel that does not have some system call: it is answered with ENOSYS.

    python3 older_kernel.py NUMBER PROGRAM ARGUMENTS…
"""

import ctypes
import errno
import os
import struct
import sys

LANDLOCK_CREATE_RULESET = 444  # on every kind of machine

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
LOAD_NUMBER, JUMP_IF_EQUAL, RETURN = (0x20, 0, 0, 0), 0x15, 0x06
ANSWER, ALLOW = 0x00050000, 0x7FFF0000


def without(number):
    """The words to put before a command."""
    return [sys.executable, __file__, str(number)]


def refuse(number):
    steps = [LOAD_NUMBER, (JUMP_IF_EQUAL, 0, 1, number), (RETURN, 0, 0, ANSWER | errno.ENOSYS),
             (RETURN, 0, 0, ALLOW)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    described = ctypes.create_string_buffer(
        struct.pack("@HP", len(steps), ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, described)):
        if libc.prctl(*arguments, 0, 0) != 0:
            sys.exit(os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    refuse(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
