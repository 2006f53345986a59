"""Reading what our programs tell the journal.

    audit_of_stderr(text)                   # from lines "… NAME=value NAME=value"
    with Journal(tmp_path) as journal:      # a journal's socket; needs root for a mount of its own
        subprocess.Popen([*journal.wrapper, program, …])
        journal.records()                   # [{"MESSAGE": …, "NAME": value}, …]
"""

import os
import re
import socket
import struct

import pytest

_FIELD = re.compile(r" ([A-Z][A-Z0-9_]*)=(\S*)")
# The program sees this directory as the one of the journal, and nobody else does.
_MOUNT = ("mount -t tmpfs none /run && mkdir -p /run/systemd/journal && "
          "mount --bind \"$1\" /run/systemd/journal && shift && exec \"$@\"")


def audit_of_stderr(text):
    """The fields of each audit line, in order."""
    rows = [dict(_FIELD.findall(line)) for line in text.splitlines()]
    return [row for row in rows if "AUDIT" in row]


def parse_entry(data):
    """The journal's native protocol: NAME=value, or NAME, a 64-bit length and the value."""
    fields = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8:8 + length], rest[9 + length:]
        fields[name.decode()] = value.decode()
        data = rest
    return fields


class Journal:
    def __init__(self, directory):
        if os.geteuid() != 0:
            pytest.skip("a mount of its own needs root")
        self.directory = directory / "journal"
        self.wrapper = ["unshare", "--mount", "sh", "-ec", _MOUNT, "sh", str(self.directory),
                        "env", "JOURNAL_STREAM=1:1"]

    def __enter__(self):
        self.directory.mkdir()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.directory / "socket"))
        self._socket.setblocking(False)
        return self

    def __exit__(self, *_):
        self._socket.close()

    def records(self):
        """Everything since the last call. Nothing comes later from a process that has ended."""
        records = []
        while True:
            try:
                records.append(parse_entry(self._socket.recv(1 << 20)))
            except BlockingIOError:
                return records
