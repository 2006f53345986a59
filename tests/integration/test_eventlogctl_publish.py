"""eventlogctl publish: files, pipes and a socket; goes on where it stopped; names what it refuses."""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from eventlogd import Eventlogd

DEADLINE_S = 20


@pytest.fixture
def server(bin_dir):
    with Eventlogd(bin_dir) as running:
        yield running


def line(n):
    return json.dumps({"event": "note", "data": {"n": n}}).encode()


def numbers(server, worker):
    with server.reader() as r:
        reply = r.subscribe(["oldest"], [worker], follow=False)
        if reply[0] == 15:
            return []
        return [json.loads(x.payload)["data"]["n"] for x in r.until_caught_up()]


def write_lines(path, lines):
    path.write_bytes(b"".join(x + b"\n" for x in lines))
    return path


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        select.select([], [], [], 0.02)


def test_file_becomes_events_of_the_worker_that_it_is_named_for(server, tmp_path):
    path = write_lines(tmp_path / "build-7.jsonl", [line(n) for n in range(3000)])
    done = server.ctl("publish", path)
    assert done.returncode == 0, done.stderr
    assert b"3000 events published, 0 already there, 0 refused" in done.stderr
    assert numbers(server, "build-7") == list(range(3000))


def test_payloads_are_the_lines_byte_for_byte(server, tmp_path):
    lines = [b'{"a" : 1.10,\t"b":"\\u0041"}', b'  {"b":2}  ', b'{"c":3}\r', '{"ü":"é"}'.encode()]
    path = tmp_path / "w.jsonl"
    path.write_bytes(b"\n".join(lines))  # and no line end behind the last
    assert server.ctl("publish", path).returncode == 0
    with server.reader() as r:
        r.subscribe(["oldest"], follow=False)
        assert [x.payload for x in r.until_caught_up()] == lines


def test_published_again_goes_on_behind_what_the_log_has(server, tmp_path):
    path = write_lines(tmp_path / "w.jsonl", [line(n) for n in range(10)])
    assert server.ctl("publish", path).returncode == 0
    with open(path, "ab") as f:
        f.write(b"\n" + line(11) + b"\n")
    again = server.ctl("publish", path)
    assert b"1 events published, 10 already there" in again.stderr, again.stderr
    assert numbers(server, "w") == list(range(10)) + [11]
    server.kill()
    server.start()
    assert b"0 events published, 12 already there" in server.ctl("publish", path).stderr


def test_another_run_at_the_same_place_is_another_stream(server, tmp_path):
    path = write_lines(tmp_path / "w.jsonl", [line(1), line(2)])
    assert server.ctl("publish", path).returncode == 0
    write_lines(path, [line(3), line(2)])
    assert server.ctl("publish", path).returncode == 0
    assert numbers(server, "w") == [1, 2, 3, 2]


def test_standard_input_and_several_files(server, tmp_path):
    done = server.ctl("publish", "--worker", "piped", input=line(1) + b"\n" + line(2) + b"\n")
    assert done.returncode == 0, done.stderr
    assert numbers(server, "piped") == [1, 2]
    files = [write_lines(tmp_path / f"w{n}.jsonl", [line(n)]) for n in range(3)]
    assert server.ctl("publish", *files).returncode == 0
    assert [numbers(server, f"w{n}") for n in range(3)] == [[0], [1], [2]]


@pytest.mark.parametrize("bad, code", [
    (b"{", b"invalid_json"), (b'{"a":"\xff"}', b"invalid_json"), (b"[1]", b"not_an_object"),
    (b'{"a":"' + b"x" * (8 << 20) + b'"}', b"event_too_large"),
], ids=["cut", "utf8", "array", "large"])
def test_refused_line_is_named_and_skipped_only_on_request(server, tmp_path, bad, code):
    path = write_lines(tmp_path / "w.jsonl", [line(1), bad, line(3)])
    done = server.ctl("publish", path)
    assert done.returncode == 1
    assert b"%s:2: %s: " % (os.fsencode(path), code) in done.stderr
    assert numbers(server, "w") == [1]
    done = server.ctl("publish", "--skip-invalid", path)
    assert done.returncode == 0
    assert b"%s:2: %s: " % (os.fsencode(path), code) in done.stderr
    assert numbers(server, "w") == [1, 3]
    assert b"0 events published, 3 already there" in server.ctl("publish", path).stderr


def test_wrong_usage(server, tmp_path):
    path = write_lines(tmp_path / "w.jsonl", [line(1)])
    for arguments in (["--worker", "a/b", path], ["--worker", "w", path, path], ["-"],
                      ["--listen", "x"], ["--nope"], ["--listen", "x", "--worker", "w", path]):
        assert server.ctl("publish", *arguments, input=b"").returncode == 2, arguments
    assert server.ctl("publish", tmp_path / "none.jsonl").returncode == 1
    assert server.ctl("publish", "--socket", tmp_path / "none", path).returncode == 1
    assert server.ctl("publish", "--worker", "w", tmp_path).returncode == 1


def test_kill_of_the_publisher_leaves_no_hole_and_no_repeat(server, tmp_path):
    path = write_lines(tmp_path / "w.jsonl", [line(n) for n in range(100000)])
    for _ in range(5):
        process = server.ctl_start("publish", path)
        with server.reader() as r:
            before = r.status()["newest_seq"]
            wait_for(lambda: r.status()["newest_seq"] > before or process.poll() is not None)
        process.kill()
        process.communicate()
    assert server.ctl("publish", path).returncode == 0
    assert numbers(server, "w") == list(range(100000))


@pytest.mark.parametrize("kill", [False, True])
def test_restart_of_eventlogd_is_waited_for(server, tmp_path, kill):
    path = write_lines(tmp_path / "w.jsonl", [line(n) for n in range(200000)])
    process = server.ctl_start("publish", path)
    for _ in range(3):
        with server.reader() as r:
            before = r.status()["newest_seq"]
            wait_for(lambda: r.status()["newest_seq"] > before or process.poll() is not None)
        server.kill() if kill else server.stop()
        server.start()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert b"waiting" in stderr and b"going on" in stderr
    assert numbers(server, "w") == list(range(200000))


def test_worker_speaks_lines_on_a_socket(server, tmp_path):
    path = str(tmp_path / "worker.sock")
    process = server.ctl_start("publish", "--listen", path, "--worker", "live")
    wait_for(lambda: os.path.exists(path))
    with socket.socket(socket.AF_UNIX) as worker:
        worker.connect(path)
        for n in range(5):
            worker.sendall(line(n)[:5])
            worker.sendall(line(n)[5:] + b"\n")
            wait_for(lambda: len(numbers(server, "live")) == n + 1)
    with socket.socket(socket.AF_UNIX) as worker:
        worker.connect(path)
        worker.sendall(line(5) + b"\n")
    wait_for(lambda: len(numbers(server, "live")) == 6)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, stderr
    assert not os.path.exists(path)
    assert numbers(server, "live") == list(range(6))


def test_refused_line_on_the_socket_is_named_by_its_connection(server, tmp_path):
    path = str(tmp_path / "worker.sock")
    process = server.ctl_start("publish", "--listen", path, "--worker", "live", "--skip-invalid")
    wait_for(lambda: os.path.exists(path))
    with socket.socket(socket.AF_UNIX) as worker:
        worker.connect(path)
        worker.sendall(line(1) + b"\nnonsense\n" + line(2) + b"\n")
        wait_for(lambda: numbers(server, "live") == [1, 2])
    process.terminate()
    _, stderr = process.communicate(timeout=DEADLINE_S)
    assert b"connection 1, line 2: invalid_json: " in stderr


def test_refused_line_closes_its_connection_and_no_other(server, tmp_path):
    path = str(tmp_path / "worker.sock")
    process = server.ctl_start("publish", "--listen", path, "--worker", "live")
    wait_for(lambda: os.path.exists(path))
    with socket.socket(socket.AF_UNIX) as good, socket.socket(socket.AF_UNIX) as bad:
        for worker in (good, bad):
            worker.settimeout(DEADLINE_S)
            worker.connect(path)
        good.sendall(line(1) + b"\n")
        wait_for(lambda: numbers(server, "live") == [1])
        bad.sendall(line(2) + b"\nnonsense\n" + line(3) + b"\n")
        told = bad.makefile("rb").read()  # to the end: it is closed
        assert told.startswith(b"line 2: invalid_json: ") and told.endswith(b"\n")
        good.sendall(line(4) + b"\n")
        wait_for(lambda: numbers(server, "live") == [1, 2, 4])
    with socket.socket(socket.AF_UNIX) as another:
        another.connect(path)
        another.sendall(line(5) + b"\n")
        wait_for(lambda: numbers(server, "live") == [1, 2, 4, 5])
    process.terminate()
    _, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, stderr
    assert b"connection 2, line 2: invalid_json: " in stderr
    assert b"4 events published, 0 already there, 1 refused" in stderr


def test_progress_bar_on_a_terminal_only(server, tmp_path):
    path = tmp_path / "long.jsonl"
    path.write_bytes(b'{"event":"note"}\n' * 3000000)
    ours, theirs = pty.openpty()
    process = server.ctl_start("publish", path, stderr=theirs)
    os.close(theirs)
    shown = b""
    while b"ETA" not in shown:
        assert select.select([ours], [], [], DEADLINE_S)[0], shown
        shown += os.read(ours, 65536)
    assert b"events" in shown and b"/s" in shown and b"%" in shown
    process.kill()
    os.close(ours)
    done = server.ctl("publish", write_lines(tmp_path / "w.jsonl", [line(1)] * 100000))
    assert b"ETA" not in done.stderr and b"\r" not in done.stderr


def test_worker_id_of_another_user_is_told(server, tmp_path):
    if os.getuid() != 0:
        pytest.skip("needs root to be two users")
    path = write_lines(tmp_path / "w.jsonl", [line(1)])
    assert server.ctl("publish", "--worker", "w", path).returncode == 0
    copy = server.dir / "copy.jsonl"
    write_lines(copy, [line(2)])
    copy.chmod(0o644)
    done = server.ctl("publish", "--worker", "w", copy, user=65534, group=65534)
    assert done.returncode == 1 and b"worker_id_denied" in done.stderr, done.stderr


@pytest.fixture
def small_disk(tmp_path):
    """A mounted tmpfs of a few MiB."""
    if os.getuid() != 0:
        pytest.skip("needs root to mount a small disk")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", tmp_path],
                             check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"can't mount here: {mounted.stderr.decode()}")
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


def test_full_disk_is_waited_for_and_reads_go_on(bin_dir, small_disk):
    source = tempfile.NamedTemporaryFile(suffix=".jsonl")
    source.write(b"".join(line(n) + b"\n" for n in range(60000)))
    source.flush()
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (28 << 20))
    config = {"segment_bytes": "256KiB", "max_event_bytes": "64KiB"}
    with Eventlogd(bin_dir, config, small_disk) as server:
        process = server.ctl_start("publish", "--worker", "w", source.name)
        first = process.stderr.readline()
        assert b"no_space" in first and b"waiting" in first
        with server.publisher() as p:
            assert p.nacked("other", [b"{}"])[0] == "no_space"
        stored = numbers(server, "w")
        assert stored == list(range(len(stored))) and 0 < len(stored) < 60000
        with server.reader() as r:
            assert r.status()["no_space"] is True
        filler.unlink()
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
        assert b"there is room again" in stderr
        assert numbers(server, "w") == list(range(60000))
        with server.reader() as r:
            assert r.status()["no_space"] is False
