"""units/demo's supervisor keeps what a service manager promises, shown with stand-in programs."""

import json
import os
import pathlib
import resource
import select
import signal
import socket
import subprocess
import tempfile
import time

import pytest

import pipeline as pipeline_module
from fake_eventlogd import wait_until
from pipeline import PROCESSES, Pipeline

# One program under all names: answers each connection with what it was given, feeds its watchdog.
STAND_IN = r'''#!/usr/bin/python3 -IB
import json, os, select, signal, socket, sys
name = os.path.basename(sys.argv[0])
if "--new-token" in sys.argv:
    print("token-of-" + sys.argv[-1])
    print('- {subject: s, role: %s, hash: "00"}' % sys.argv[-1])
    sys.exit(0)
if os.path.exists(os.path.join(os.path.dirname(sys.argv[0]), name + ".broken")):
    print("broken on purpose", file=sys.stderr)
    sys.exit(3)
if os.path.exists(os.path.join(os.path.dirname(sys.argv[0]), name + ".hung")):
    signal.pause()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
names = os.environ["LISTEN_FDNAMES"].split(":")
assert int(os.environ["LISTEN_PID"]) == os.getpid() == int(os.environ["WATCHDOG_PID"])
assert int(os.environ["LISTEN_FDS"]) == len(names)
listening = [socket.socket(fileno=3 + i) for i in range(len(names))]
try:
    os.fstat(3 + len(names))
    sys.exit("a descriptor too many")
except OSError:
    pass
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"])
notify.send(b"READY=1\nSTATUS=well")
while True:
    ready, _, _ = select.select(listening, [], [], int(os.environ["WATCHDOG_USEC"]) / 4e6)
    try:
        notify.send(b"WATCHDOG=1")
    except OSError:
        pass  # goes on without a supervisor, so that only its promise ends this process
    for one in ready:
        connection, _ = one.accept()
        given = {"name": names[listening.index(one)], "pid": os.getpid(), "argv": sys.argv[1:]}
        connection.sendall(json.dumps(given).encode())
        connection.close()
'''
WATCHDOG_S = 1.0
READY_S = 5.0


@pytest.fixture
def tmp_path():
    """Shorter than pytest's own: a Unix socket's path may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="sl-") as path:
        yield pathlib.Path(path)


@pytest.fixture
def stand_ins(tmp_path):
    for name in PROCESSES + ("eventlogctl",):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(STAND_IN)
        path.chmod(0o755)
    return tmp_path / "bin"


@pytest.fixture
def pipeline(stand_ins, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\n")
    with Pipeline(stand_ins, policy=policy, overrides={
            "watchdog_s": WATCHDOG_S, "ready_s": READY_S}) as pipeline:
        yield pipeline


def ask(address):
    """What the stand-in behind a path or a URL says of itself."""
    family = socket.AF_INET if address.startswith("http") else socket.AF_UNIX
    with socket.socket(family) as s:
        s.settimeout(10)
        if family == socket.AF_INET:
            host, port = address.removeprefix("http://").split(":")
            s.connect((host, int(port)))
        else:
            s.connect(address)
        return json.loads(s.makefile().read())


def await_gone(pidfds, deadline_s=10):
    end = time.monotonic() + deadline_s
    for pidfd in pidfds:
        ended, _, _ = select.select([pidfd], [], [], max(end - time.monotonic(), 0))
        os.close(pidfd)
        assert ended, "a process is still there"


def test_describes_itself_in_one_json_line(pipeline):
    assert set(pipeline.info) == {"publish_socket", "tail_socket", "log_dir", "runtime_url",
                                  "runtime_token", "runtime_id", "client_url", "tokens", "pids"}
    assert pipeline.info["tokens"] == {"operator": "token-of-operator",
                                       "viewer": "token-of-viewer"}
    assert set(pipeline.pids) == set(PROCESSES)
    assert os.path.isdir(pipeline.info["log_dir"])
    assert os.stat(pipeline.dir).st_mode & 0o077 == 0


def test_hands_over_each_listening_socket_by_name(pipeline):
    info = pipeline.info
    for address, name, process in (
            (info["publish_socket"], "publish", "eventlogd"),
            (info["tail_socket"], "tail", "eventlogd"),
            (info["runtime_url"], "runtime", "wsgate"),
            (pipeline.status_url("wsgate"), "status", "wsgate"),
            (info["client_url"], "client", "backend-relay"),
            (pipeline.status_url("backend-relay"), "status", "backend-relay"),
            (str(pipeline.dir / "projection.sock"), "projection", "projection")):
        answer = ask(address)
        assert (answer["name"], answer["pid"]) == (name, pipeline.pids[process])


def test_starts_a_killed_process_again_within_a_second_at_the_same_address(pipeline):
    before = pipeline.info
    for name in PROCESSES:
        killed_at = time.monotonic()
        pipeline.wait_restarted(name, pipeline.kill(name))
        assert time.monotonic() - killed_at < 1.0
    after = pipeline.info
    assert {k: v for k, v in after.items() if k != "pids"} == \
        {k: v for k, v in before.items() if k != "pids"}
    assert ask(after["client_url"])["pid"] == after["pids"]["backend-relay"]


def test_a_connection_made_while_a_process_is_down_is_served_by_the_next_one(pipeline):
    old = pipeline.kill("eventlogd")
    assert ask(pipeline.info["publish_socket"])["pid"] != old


def test_kills_a_process_that_misses_its_watchdog(pipeline):
    old = pipeline.kill("projection", signal.SIGSTOP)
    pipeline.wait_restarted("projection", old, deadline_s=WATCHDOG_S + 5)
    assert "missed its watchdog" in pipeline.log("projection")


def test_kills_a_process_that_is_not_ready_in_time(pipeline, stand_ins):
    """Until another one is ready, the pid that it tells stays the old one's."""
    hung = stand_ins / "wsgate.hung"
    hung.touch()
    old = pipeline.kill("wsgate")
    pipeline.wait_restarted("eventlogd", pipeline.kill("eventlogd"))
    assert pipeline.pids["wsgate"] == old
    wait_until(lambda: "did not say READY=1" in pipeline.log("wsgate"), "the word about it")
    hung.unlink()
    pipeline.wait_restarted("wsgate", old)
    assert ask(pipeline.info["runtime_url"])["pid"] == pipeline.pids["wsgate"]


def test_tries_again_while_it_has_no_descriptors(pipeline):
    """And says so, though it can't open the log of the process."""
    limits = resource.prlimit(pipeline.supervisor_pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pipeline.supervisor_pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    old = pipeline.kill("wsgate")
    pipeline.await_stderr("wsgate .* can't be started: .*Too many open files")
    resource.prlimit(pipeline.supervisor_pid, resource.RLIMIT_NOFILE, limits)
    pipeline.wait_restarted("wsgate", old)
    assert ask(pipeline.info["runtime_url"])["pid"] == pipeline.pids["wsgate"]


def test_nothing_is_left_running_after_sigterm(stand_ins, tmp_path):
    (tmp_path / "policy.yaml").write_text("version: 1\n")
    with Pipeline(stand_ins, policy=tmp_path / "policy.yaml") as pipeline:
        pidfds = [os.pidfd_open(pid) for pid in pipeline.pids.values()]
        pipeline.stop()
        await_gone(pidfds)
        assert not list(pipeline.dir.glob("*.sock"))


def test_nothing_is_left_running_when_the_supervisor_is_killed(stand_ins, tmp_path):
    (tmp_path / "policy.yaml").write_text("version: 1\n")
    with Pipeline(stand_ins, policy=tmp_path / "policy.yaml") as pipeline:
        pidfds = [os.pidfd_open(pid) for pid in pipeline.pids.values()]
        pipeline.kill_supervisor()
        await_gone(pidfds)


def test_begins_again_in_the_directory_of_a_supervisor_that_was_killed(stand_ins, tmp_path):
    (tmp_path / "policy.yaml").write_text("version: 1\n")
    with Pipeline(stand_ins, policy=tmp_path / "policy.yaml") as pipeline:
        before = pipeline.info
        pipeline.kill_supervisor()
        pipeline.start()
        assert pipeline.info["tokens"] == before["tokens"]
        assert ask(pipeline.info["publish_socket"])["pid"] == pipeline.pids["eventlogd"]


def run_demo(stand_ins, tmp_path, *arguments):
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\n")
    environment = dict(os.environ, XDG_RUNTIME_DIR=str(tmp_path / "run"))
    (tmp_path / "run").mkdir(exist_ok=True)
    return subprocess.Popen(
        ["/usr/bin/python3", "-B", str(pipeline_module.TOP / "units/demo/main.py"),
         "--bin-dir", str(stand_ins), "--policy", str(policy), *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_private_directory_of_its_own_is_removed_at_the_end(stand_ins, tmp_path):
    with run_demo(stand_ins, tmp_path, "--json", "--no-feed") as demo:
        info = json.loads(demo.stdout.readline())
        assert info["log_dir"].startswith(str(tmp_path / "run"))
        demo.send_signal(signal.SIGINT)
        assert demo.wait(20) == 0
    assert list((tmp_path / "run").iterdir()) == []


def test_what_a_killed_demo_left_behind_is_removed_by_the_next(stand_ins, tmp_path):
    with run_demo(stand_ins, tmp_path, "--json", "--no-feed") as demo:
        left = os.path.dirname(json.loads(demo.stdout.readline())["log_dir"])
        demo.kill()
    assert os.path.isdir(left)
    with run_demo(stand_ins, tmp_path, "--json", "--no-feed") as demo:
        demo.stdout.readline()
        assert not os.path.exists(left)
        demo.terminate()
        assert demo.wait(20) == 0


def test_a_program_that_cannot_start_is_named_with_its_last_words(stand_ins, tmp_path):
    (stand_ins / "wsgate.broken").touch()
    with run_demo(stand_ins, tmp_path, "--json", "--no-feed") as demo:
        assert demo.wait(30) == 1
        talk = demo.stderr.read()
    assert "wsgate exited with 3" in talk and "broken on purpose" in talk


@pytest.mark.parametrize("arguments", [["--once", "--json"], ["--json"], ["/does/not/exist"],
                                       ["/"], ["/dev/null"]])
def test_wrong_usage_is_told_before_anything_starts(stand_ins, tmp_path, arguments):
    with run_demo(stand_ins, tmp_path, *arguments) as demo:
        assert demo.wait(30) == 2
        assert "demo: error:" in demo.stderr.read()
