"""eventlogctl where eventlogd has as many connections as it takes, or does not answer."""

import contextlib
import os
import signal
import socket

import pytest

from eventlogd import Eventlogd

DEADLINE_S = 60
FULL = 128  # more than eventlogd's backlog holds beside those that it has taken


@pytest.fixture(name="server")
def fixture_server(bin_dir):
    with Eventlogd(bin_dir, {"max_readers": 1}) as running:
        yield running


@contextlib.contextmanager
def full_backlog(server):
    """One reader is served, and as many wait as can."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(server.reader()).status()
        for _ in range(FULL * 4):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            try:
                waiting.connect(server.tail_socket)
            except BlockingIOError:
                break
        else:
            pytest.fail("the backlog never is full")
        yield


@pytest.mark.parametrize("verb, arguments", [
    ("status", []), ("workers", []), ("tail", ["--from", "oldest"])])
def test_a_full_backlog_is_told_and_waited_for(server, verb, arguments):
    with full_backlog(server):
        process = server.ctl_start(verb, *arguments)
        line = process.stderr.readline()
        assert b"as many connections as it takes: waiting" in line, line
        assert os.fsencode(server.tail_socket) in line
    _, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, stderr


def test_one_that_waits_in_the_backlog_is_told(server):
    with server.reader() as reader:
        reader.status()
        process = server.ctl_start("status")
        assert b"waiting" in process.stderr.readline()
    _, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, stderr


def test_who_does_not_answer_is_given_up(server):
    server.process.send_signal(signal.SIGSTOP)
    try:
        done = server.ctl("status", timeout=DEADLINE_S, text=True)
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert done.returncode == 1 and done.stdout == ""
    assert "no answer" in done.stderr.splitlines()[-1], done.stderr
