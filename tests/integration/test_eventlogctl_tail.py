"""eventlogctl tail, cat, status, workers, verify."""

import json
import os
import pty
import queue
import select
import signal
import subprocess
import threading
import time

import pytest

from eventlogd import Eventlogd
from fake_eventlogd import FakeEventlogd, cursor, wait_until
from frames import CAUGHT_UP, GAP, RECORDS

DEADLINE_S = 20

SMALL = {"segment_bytes": "256KiB", "max_event_bytes": "64KiB"}


@pytest.fixture(scope="module")
def server(bin_dir):
    with Eventlogd(bin_dir) as running:
        with running.publisher() as p:
            for n in range(30):
                p.acked("a" if n % 2 else "b", [event(n, "even" if n % 4 == 0 else "odd")])
        yield running


def event(n, kind="note"):
    return json.dumps({"event": kind, "data": {"n": n}}, indent=1).encode()


def objects(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(x) for x in done.stdout.splitlines()]


def shown(done):
    return [x["payload"]["data"]["n"] for x in objects(done)]


class Following:
    """`tail --follow` beside the test."""

    def __init__(self, server, *arguments):
        self.process = server.ctl_start("tail", "--follow", "--json", *arguments)
        self._lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for text in self.process.stdout:
            self._lines.put(json.loads(text))

    def take(self, count):
        return [self._lines.get(timeout=DEADLINE_S) for _ in range(count)]

    def numbers(self, count):
        return [x["payload"]["data"]["n"] for x in self.take(count)]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(DEADLINE_S) == 0
        assert self._lines.empty()
        return self.process.stderr.read()


def test_tail_shows_the_last_ten(server):
    assert shown(server.ctl("tail", "--json")) == list(range(20, 30))


def test_lines_from_worker_and_kind(server):
    assert shown(server.ctl("tail", "--json", "--lines", 3)) == [27, 28, 29]
    assert shown(server.ctl("tail", "--json", "-n", 2, "-w", "a")) == [27, 29]
    assert shown(server.ctl("tail", "--json", "-n", 100)) == list(range(30))
    assert shown(server.ctl("tail", "--json", "-n", 0)) == []
    assert shown(server.ctl("tail", "--json", "--from", "oldest")) == list(range(30))
    assert shown(server.ctl("tail", "--json", "--from", "newest")) == []
    assert shown(server.ctl("tail", "--json", "--from", "oldest", "-w", "a", "-w", "b", "-k",
                            "ev*")) == list(range(0, 30, 4))
    assert shown(server.ctl("tail", "--json", "--from", "keyframe", "-w", "a")) == list(
        range(1, 30, 2))


def test_json_is_one_object_a_line_with_the_payload_as_published(server):
    first = objects(server.ctl("tail", "--json", "--from", "oldest"))[0]
    assert set(first) == {"cursor", "sequence", "worker_id", "kind", "ts_ms", "payload"}
    assert first["sequence"] == 1 and first["worker_id"] == "b" and first["kind"] == "even"
    assert first["cursor"].startswith("wo_") and len(first["cursor"]) == 32


def test_cursor_shown_and_gone_on_behind(server):
    all_of_it = objects(server.ctl("tail", "--json", "--from", "oldest"))
    rest = objects(server.ctl("tail", "--json", "--after-cursor", all_of_it[9]["cursor"]))
    assert rest == all_of_it[10:]
    done = server.ctl("tail", "--from", "oldest", "--show-cursor")
    assert done.stdout.splitlines()[-1] == b"-- cursor: " + all_of_it[-1]["cursor"].encode()
    done = server.ctl("tail", "--json", "--from", "newest", "--show-cursor")
    assert done.stderr.strip() == b"-- cursor: " + all_of_it[-1]["cursor"].encode()


@pytest.mark.parametrize("arguments, code, word", [
    (["--after-cursor", "nonsense"], 1, b"cursor_malformed"),
    (["--after-cursor", "wo_000000000001_0000000000000001"], 1, b"cursor_unknown"),
    (["--worker", "nobody"], 1, b"worker_not_found"),
    (["--from", "keyframe"], 2, b"--worker"),
    (["--from", "middle"], 2, b"--from"),
    (["--lines", "many"], 2, b"--lines"),
    (["--from", "oldest", "--after-cursor", "x"], 2, b"exclude"),
    (["extra"], 2, b"extra"),
    (["--socket", "/nowhere/tail.sock"], 1, b"/nowhere/tail.sock"),
])
def test_refusals(server, arguments, code, word):
    done = server.ctl("tail", *arguments)
    assert done.returncode == code and word in done.stderr


def test_text_is_safe_for_a_terminal(bin_dir):
    with Eventlogd(bin_dir) as server, server.publisher() as p:
        nasty = '{"event":"k\\u001b[31m\\u202e","data":{"text":"\u009b2J\u202e \\u001b]0;x\\u0007"}}'
        p.acked("w", [nasty.encode()])
        out = server.ctl("tail").stdout.decode()
        assert out.count("\n") == 1
        assert all(c.isprintable() or c == "\n" for c in out), ascii(out)
        assert "\\u{1b}[31m" in out


def test_colour_only_on_a_terminal_and_without_no_color(server):
    assert b"\033" not in server.ctl("tail").stdout
    for no_color in (False, True):
        ours, theirs = pty.openpty()
        environment = {**os.environ, "SIGHTLINE_TAIL_SOCKET": server.tail_socket, "TERM": "xterm"}
        environment.pop("NO_COLOR", None)
        if no_color:
            environment["NO_COLOR"] = "1"
        process = server.ctl_start("tail", stdout=theirs, env=environment)
        assert process.wait(DEADLINE_S) == 0
        os.close(theirs)
        out = os.read(ours, 65536)
        os.close(ours)
        assert (b"\033[" in out) == (not no_color)


def test_follow_goes_on_behind_a_restart_without_gap_or_repeat(bin_dir):
    with Eventlogd(bin_dir) as server:
        def publish(numbers):
            with server.publisher() as p:
                for n in numbers:
                    p.acked("w", [event(n)])
        publish(range(5))
        all_of_it = Following(server, "--from", "oldest")
        assert all_of_it.numbers(5) == list(range(5))
        publish(range(5, 10))
        assert all_of_it.numbers(5) == list(range(5, 10))
        server.stop()
        server.start()
        publish(range(10, 15))
        assert all_of_it.numbers(5) == list(range(10, 15))
        server.kill()
        server.start()
        publish(range(15, 20))
        assert all_of_it.numbers(5) == list(range(15, 20))
        assert b"is back" in all_of_it.stop()


def test_follow_from_newest_loses_nothing_when_eventlogd_restarts_before_the_first_event(bin_dir):
    with Eventlogd(bin_dir) as server:
        with server.publisher() as p:
            p.acked("w", [event(0)])
        following = Following(server, "--from", "newest")
        with server.reader() as r:
            wait_until_reading(r)
        server.stop()
        server.start()
        with server.publisher() as p:
            p.acked("w", [event(1)])
        assert following.numbers(1) == [1]
        following.stop()


def wait_until_reading(r):
    while r.status()["counters"]["subscriptions"] == 0:
        pass


def known(reader, worker):
    row, = [x for x in reader.workers()["workers"] if x["worker_id"] == worker]
    return row


def prune_all_of(server, publisher, worker):
    """Of one that is known but has nothing any more."""
    newest = publisher.acked(worker, [event(n) for n in range(5)])[1]
    with server.reader() as reader:
        while known(reader, worker)["highest_pruned"] < newest:
            publisher.acked("noise", [event(0, "x" * 1000)] * 50)


def test_where_it_caught_up_is_a_place_to_come_back_to(bin_dir, tmp_path):
    config = {**SMALL, "retention": {"bytes": "4MiB", "keyframe_reserve": "0"}}
    path = tmp_path / "cursor"
    with Eventlogd(bin_dir, config) as server:
        with server.publisher() as p:
            prune_all_of(server, p, "a")
        following = Following(server, "-w", "a", "--from", "keyframe", "--cursor-file", path)
        wait_until(path.exists, "the cursor file")  # it has caught up, and nothing was there
        following.process.send_signal(signal.SIGSTOP)
        server.kill()
        server.start()
        with server.publisher() as p:
            p.acked("a", [event(1), event(2, "snapshot"), event(3)])
        following.process.send_signal(signal.SIGCONT)
        assert following.numbers(3) == [1, 2, 3]
        following.stop()


def test_a_cursor_is_kept_also_where_nothing_was_shown(bin_dir, tmp_path):
    path = tmp_path / "cursor"
    config = {**SMALL, "retention": {"bytes": "4MiB", "keyframe_reserve": "0"}}
    with Eventlogd(bin_dir, config) as server:
        with server.publisher() as p:
            prune_all_of(server, p, "a")
            arguments = ["--json", "-w", "a", "--from", "keyframe", "--cursor-file", path]
            done = server.ctl("tail", *arguments, "--show-cursor")
            assert done.stdout == b"" and done.stderr == b"-- cursor: " + path.read_bytes()
            p.acked("a", [event(1), event(2, "snapshot"), event(3)])
        assert shown(server.ctl("tail", "--json", "-w", "a", "--cursor-file", path)) == [1, 2, 3]


def test_a_gap_is_told_at_once_and_not_again_after_a_reconnect(server, tmp_path):
    shown_to_us = threading.Event()

    def lose_some(peer):
        peer.send(RECORDS, log.records[0][2])
        peer.send(CAUGHT_UP, 1)
        peer.send(GAP, 2, 5, "damaged")
        assert shown_to_us.wait(DEADLINE_S)

    with FakeEventlogd(tmp_path / "t") as log:
        for n in range(1, 9):
            log.epoch = 1 if n < 4 else 2
            log.append("w", event(n))
        log.scripts.append(lose_some)
        following = Following(server, "--socket", log.path, "--from", "oldest")
        first, gap = following.take(2)
        assert first["sequence"] == 1
        assert gap["gap"] == {"first_seq": 2, "last_seq": 5, "reason": "damaged"}
        shown_to_us.set()
        log.wait_subscriptions(2)
        assert log.subscriptions[1][3] == ["cursor", cursor(2, 5)]
        assert following.numbers(3) == [6, 7, 8]
        following.stop()


def test_cursor_file_is_kept_while_following_and_gone_on_from(bin_dir, tmp_path):
    path = tmp_path / "cursor"
    with Eventlogd(bin_dir) as server:
        with server.publisher() as p:
            p.acked("w", [event(n) for n in range(5)])
            following = Following(server, "--from", "oldest", "--cursor-file", path)
            assert following.numbers(5) == list(range(5))
            following.stop()
            assert path.read_text().startswith("wo_")
            p.acked("w", [event(n) for n in range(5, 8)])
        assert shown(server.ctl("tail", "--json", "--cursor-file", path)) == [5, 6, 7]
        assert shown(server.ctl("tail", "--json", "--cursor-file", path)) == []
        assert sorted(x.name for x in tmp_path.iterdir()) == ["cursor"]
        path.write_text("nonsense\n")
        done = server.ctl("tail", "--cursor-file", path)
        assert done.returncode == 1 and b"holds no cursor" in done.stderr


def test_closed_pipe_ends_it(server):
    process = server.ctl_start("tail", "--from", "oldest", "--follow")
    process.stdout.close()
    assert process.wait(DEADLINE_S) == 1


def test_closed_pipe_ends_it_while_nothing_happens(server):
    process = server.ctl_start("tail", "--json", "--from", "oldest", "--follow")
    for _ in range(30):
        assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(DEADLINE_S) == 1


@pytest.mark.parametrize("arguments", [["tail"], ["tail", "--from", "oldest", "--follow"]])
def test_output_that_cannot_be_written_is_a_failure(server, arguments):
    with open("/dev/full", "wb") as full:
        process = server.ctl_start(*arguments, stdout=full)
        _, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert b"standard output: No space left" in stderr


@pytest.mark.parametrize("arguments", [
    ["--version"], ["--help"], ["status"], ["workers", "--json"], ["forget", "a"],
    ["verify", "LOG"], ["verify", "--help"], ["cat", "LOG"],
    ["prune", "--dry-run", "--bytes", "1MiB", "LOG"]])
def test_an_answer_that_cannot_be_written_is_a_failure(server, arguments):
    arguments = [server.log_dir if x == "LOG" else x for x in arguments]
    with open("/dev/full", "wb") as full:
        done = server.ctl(*arguments, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.count(b"standard output: No space left") == 1
    process = server.ctl_start(*arguments)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait(DEADLINE_S) in (0, 1)


def test_cat_shows_the_same_from_the_directory(server):
    live = objects(server.ctl("tail", "--json", "--from", "oldest"))
    assert objects(server.ctl("cat", "--json", server.log_dir)) == live
    assert objects(server.ctl("cat", "--json", "-w", "a", server.log_dir)) == [
        x for x in live if x["worker_id"] == "a"]
    assert objects(server.ctl("cat", "--json", "--after-cursor", live[3]["cursor"],
                              server.log_dir)) == live[4:]
    assert len(server.ctl("cat", server.log_dir).stdout.splitlines()) == len(live)


def test_cat_works_without_the_daemon(bin_dir):
    with Eventlogd(bin_dir) as server:
        with server.publisher() as p:
            p.acked("w", [event(n) for n in range(10)])
        server.stop()
        assert shown(server.ctl("cat", "--json", server.log_dir)) == list(range(10))
        assert server.ctl("verify", server.log_dir).returncode == 0
        server.start()


def test_what_is_pruned_under_cat_is_a_gap(bin_dir):
    config = {**SMALL, "retention": {"bytes": "4MiB", "keyframe_reserve": "0"}}
    noise = [event(0, "x" * 1000)] * 50
    with Eventlogd(bin_dir, config) as server, server.publisher() as publisher:
        while len(os.listdir(server.log_dir)) < 15:
            publisher.acked("w", noise)
        process = server.ctl_start("cat", "--json", server.log_dir)
        select.select([process.stdout], [], [], DEADLINE_S)  # it goes on when this pipe is read
        there = set(server.log_dir.glob("*.seg"))
        deadline = time.monotonic() + DEADLINE_S
        while there & set(server.log_dir.glob("*.seg")):
            assert time.monotonic() < deadline
            publisher.acked("w", noise)
        taken, stderr = process.communicate(timeout=DEADLINE_S)
        newest = publisher.acked("w", noise)[0] - 1
    assert process.returncode == 0, stderr
    lines = [json.loads(x) for x in taken.splitlines()]
    reached, gaps = 0, 0
    for line in lines:
        if "gap" in line:
            assert (line["gap"]["reason"], line["gap"]["first_seq"]) == ("pruned", reached + 1)
            reached, gaps = line["gap"]["last_seq"], gaps + 1
        else:
            assert int(line["cursor"].split("_")[2], 16) == reached + 1
            reached += 1
    assert reached == newest and gaps > 0


def test_cat_refusals(server, tmp_path):
    assert server.ctl("cat").returncode == 2
    assert server.ctl("cat", tmp_path / "none").returncode == 1
    assert server.ctl("cat", tmp_path).returncode == 1
    done = server.ctl("cat", "--after-cursor", "x", server.log_dir)
    assert done.returncode == 1 and b"cursor_malformed" in done.stderr
    assert server.ctl("cat", "--from", "keyframe", server.log_dir).returncode == 2


def test_status_and_workers(server):
    status, = objects(server.ctl("status", "--json"))
    assert status["durability"] == "interval" and status["counters"]["batches"] >= 30
    assert b"durability: interval\n" in server.ctl("status").stdout
    rows = objects(server.ctl("workers", "--json"))
    assert {"a", "b"} <= {row["worker_id"] for row in rows}
    lines = server.ctl("workers").stdout.splitlines()
    assert lines[0].startswith(b"WORKER") and lines[1].startswith(b"a ")
    assert server.ctl("status", "--socket", "/nowhere").returncode == 1
    assert server.ctl("workers", "extra").returncode == 2


def test_verify_names_damage_and_exits_with_three(bin_dir):
    with Eventlogd(bin_dir, SMALL) as server:
        with server.publisher() as p:
            for n in range(100):
                p.acked("w", [event(n)] * 20)
        server.stop()
        good = server.ctl("verify", "--json", server.log_dir)
        assert good.returncode == 0, good.stderr
        assert json.loads(good.stdout.splitlines()[-1])["records"] == 2000
        segment = sorted(server.log_dir.glob("*.seg"))[0]
        with open(segment, "r+b") as f:
            f.seek(20000)
            byte = f.read(1)
            f.seek(20000)
            f.write(bytes([byte[0] ^ 0xFF]))
        bad = server.ctl("verify", server.log_dir)
        assert bad.returncode == 3, bad.stderr
        text = bad.stderr.decode()
        assert segment.name in text and "offset" in text and "sequences" in text
        bad = server.ctl("verify", "--json", server.log_dir)
        found = [json.loads(x) for x in bad.stdout.splitlines()]
        assert any(x.get("severity") == "damage" for x in found)
        assert found[-1]["damaged"] >= 1
        server.start()


def test_verify_refusals(server, tmp_path):
    assert server.ctl("verify").returncode == 2
    assert server.ctl("verify", tmp_path / "none").returncode == 1
