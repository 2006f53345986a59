"""Each refusal of projection's sandbox, tried from inside the real process image."""

import array
import os
import signal
import socket
import struct
import subprocess

import msgpack
import older_kernel
import pytest

from projection import OPEN_PASS, Projection

POLICY = """
version: 1
roles:
  operator:
    observe: [{runtime: "*", worker: "*"}]
    events: {allow: ["*"]}
"""
KILLED = -signal.SIGSYS
LANDLOCK = older_kernel.LANDLOCK_CREATE_RULESET
REFUSED = 0

# What each attempt ends in, and whether a build with a sanitizer allows it to its runtime.
ATTEMPTS = {
    "open": (KILLED, True),
    "openat2": (KILLED, False),
    "socket": (KILLED, False),
    "unix-socket": (KILLED, False),
    "connect": (KILLED, False),
    "execve": (KILLED, False),
    "execveat": (KILLED, False),
    "fork": (KILLED, True),
    "clone3": (REFUSED, False),
    "thread": (KILLED, True),
    "ptrace": (KILLED, True),
    "mmap-exec": (KILLED, False),
    "mprotect-exec": (KILLED, False),
    "pkey_mprotect-exec": (KILLED, False),
    "personality": (KILLED, False),
    "memfd": (KILLED, False),
    "process_vm_writev": (KILLED, False),
    "memory": (REFUSED, True),
    "pipe": (KILLED, False),
    "accept": (KILLED, False),
    "signal": (KILLED, True),
    "io_uring": (REFUSED, False),
}


def is_relaxed(bin_dir):
    report = subprocess.run([bin_dir / "projection", "--sandbox-report"], capture_output=True,
                            text=True)
    return "left out for the sanitizer" in report.stdout


@pytest.mark.parametrize("name", ATTEMPTS)
def test_refused_inside(bin_dir, tmp_path, name):
    expected, needed_by_sanitizer = ATTEMPTS[name]
    if needed_by_sanitizer and is_relaxed(bin_dir):
        pytest.skip("the sanitizer's runtime needs this")
    projection = Projection(bin_dir, tmp_path, POLICY, "--sandbox-selftest", name)
    assert projection.wait() == expected, projection.stderr()


def test_every_attempt_is_tested(bin_dir, tmp_path):
    projection = Projection(bin_dir, tmp_path, POLICY, "--sandbox-selftest", "no-such-attempt")
    assert projection.wait() == 2
    known = {line for line in projection.stderr().splitlines() if not line.startswith("projection")}
    assert known == set(ATTEMPTS)


def test_descriptors_that_a_relay_passes_do_not_arrive(bin_dir, tmp_path):
    projection = Projection(bin_dir, tmp_path, POLICY)
    client = projection.client()
    body = msgpack.packb([OPEN_PASS, 1, "operator", "r", "w"])
    mine, passed = socket.socketpair()
    client.socket.sendmsg([struct.pack("<I", len(body)) + body],
                          [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                            array.array("i", [passed.fileno()]))])
    client.expect_error_and_close()
    passed.close()
    mine.settimeout(20)
    assert mine.recv(1) == b""  # nobody holds the other end any more
    assert projection.stop() == 0


def test_nothing_is_inherited_but_what_is_needed(bin_dir, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root may look into a process that is not dumpable")
    stray = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(stray, True)
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    path = tmp_path / "p.sock"
    process = subprocess.Popen([bin_dir / "projection", "--policy", policy, "--socket", path],
                               close_fds=False, env={"MARKER": "x" * 100})
    os.close(stray)
    try:
        watcher = Projection.__new__(Projection)
        watcher.process, watcher.path, watcher.stderr = process, path, lambda: ""
        client = watcher.client()
        links = [os.readlink(f"/proc/{process.pid}/fd/{name}")
                 for name in os.listdir(f"/proc/{process.pid}/fd")]
        assert not any("passwd" in link for link in links), links
        files = [link for link in links if link.startswith("/") and link != "/dev/null"]
        assert len(files) <= 1, links  # stderr, where that is a file
        with open(f"/proc/{process.pid}/status") as status:
            fields = dict(line.split(":", 1) for line in status)
        assert fields["NoNewPrivs"].strip() == "1"
        assert fields["Seccomp"].strip() == "2"
        assert fields["Threads"].strip() == "1"
        client.close()
    finally:
        process.terminate()
        assert process.wait(20) == 0


def test_a_missing_layer_is_told_and_refused_unless_it_is_accepted(bin_dir, tmp_path):
    program = bin_dir / "projection"
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    report = subprocess.run(older_kernel.without(LANDLOCK) + [program, "--sandbox-report"], capture_output=True,
                            text=True, timeout=60)
    (missing,) = [line for line in report.stdout.splitlines() if "MISSING" in line]
    assert report.returncode == 1 and missing.startswith("files") and "Landlock" in missing
    serve = older_kernel.without(LANDLOCK) + [program, "--policy", policy, "--socket", tmp_path / "p.sock"]
    refused = subprocess.run(serve, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    assert "lacks a layer of the sandbox (files)" in refused.stderr
    projection = Projection(bin_dir, tmp_path, POLICY, "--accept-incomplete-sandbox",
                            run_by=older_kernel.without(LANDLOCK))
    client = projection.client()
    assert client.open_pass(1, "operator")[0] == "allow"
    client.close()
    assert projection.stop() == 0
    assert "going on as told" in projection.stderr()


def test_report_says_what_holds_and_why_each_call_is_left(bin_dir):
    report = subprocess.run([bin_dir / "projection", "--sandbox-report"], capture_output=True,
                            text=True)
    missing = [line for line in report.stdout.splitlines() if "MISSING" in line]
    assert report.returncode == (1 if missing else 0)
    for layer in ("no new privileges", "not dumpable", "limits", "files", "system calls"):
        assert layer in report.stdout
    for line in report.stdout.splitlines():
        if line.startswith("    "):
            assert len(line.split()) > 1, line  # a call with its reason
