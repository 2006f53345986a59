"""eventlogctl where eventlogd has as many connections as it takes, or does not answer."""

import contextlib
import os
import signal
import socket
import threading

import pytest

from eventlogd import Eventlogd
from frames import ERROR, frame

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


def close(_):
    """As a daemon that is killed."""


def read_and_close(connection):
    assert connection.recv(4096)


def refuse(code):
    def refusing(connection):
        connection.recv(4096)
        connection.sendall(frame(ERROR, None, code, "said by a test", None))
    return refusing


@contextlib.contextmanager
def doorman(path, real, actions):
    """Listens at `path`; does the actions, one to a connection, then leaves the place to `real`."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    listener.settimeout(DEADLINE_S)

    def attend():
        for action in actions:
            with listener.accept()[0] as connection:
                action(connection)
        listener.close()
        os.unlink(path)
        if real is not None:
            os.symlink(real, path)
    thread = threading.Thread(target=attend)
    thread.start()
    yield
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


@pytest.mark.parametrize("actions", [
    [close], [read_and_close, close], [refuse("shutting_down"), refuse("quota_exceeded")],
], ids=["closed", "closed twice", "refused"])
@pytest.mark.parametrize("verb, arguments", [
    ("status", []), ("tail", ["--from", "oldest"]), ("publish", ["--worker", "w"])])
def test_one_whose_greeting_is_cut_off_greets_again(server, tmp_path, verb, arguments, actions):
    path = str(tmp_path / "door")
    is_publish = verb == "publish"
    real = server.publish_socket if is_publish else server.tail_socket
    with doorman(path, real, actions):
        done = server.ctl(verb, *arguments, "--socket", path, text=True,
                          input='{"event":"a"}\n' if is_publish else None)
    assert done.returncode == 0, done.stderr
    if is_publish:
        assert "1 events published" in done.stderr


def test_a_refusal_in_place_of_a_greeting_is_told(server, tmp_path):
    path = str(tmp_path / "door")
    with doorman(path, None, [refuse("protocol_error")]):
        done = server.ctl("status", "--socket", path, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.endswith("protocol_error: said by a test\n"), done.stderr


def test_one_whose_greeting_is_never_answered_gives_up(server, tmp_path):
    path = str(tmp_path / "door")
    with doorman(path, None, [refuse("shutting_down")]):
        done = server.ctl("publish", "--worker", "w", "--socket", path, text=True, input="{}\n",
                          timeout=DEADLINE_S)
    assert done.returncode == 1
    first, *_, last = done.stderr.splitlines()
    assert "shutting_down: said by a test" in first or "No such file" in first, done.stderr
    assert "0 events published" in last
