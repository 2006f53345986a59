"""eventlogctl export and import: a log goes to another one, whole, once, and byte for byte."""

import itertools
import json
import os
import pty
import random
import select
import shutil
import signal
import tempfile
import time

import pytest

from eventlogd import Eventlogd
from frames import KEYFRAME
from pipeline import recorded_streams, sample_stream

DEADLINE_S = 60
SMALL = {"segment_bytes": "256KiB", "max_event_bytes": "64KiB"}
DEEP = b'{"a":' * 127 + b"{}" + b"}" * 127  # as deep as JSON may be: no other object can hold it
ODD = [b'{}', b' {"event":"snapshot"}', b'{"a":1}\t', b'{"a"\t: 1.10,  "a":"\\u0041\\/"}',
       b'{\n"event":\r\n"x"}', b'{"a":"\xc3\xbc\xe2\x80\xa8\x7f"}', DEEP, DEEP[5:-1],
       b'{"event":"a\\u0000b"}', b'{"event":"\\"quo\\\\ted\\n"}',
       b'{"event":"' + b"k" * 256 + b'"}',
       b'{"payload":{"x":"}"},"end":{}}', b'{"big":"' + b"x" * 60000 + b'"}']


@pytest.fixture(name="logs")
def fixture_logs(bin_dir):
    """Two daemons, the first with small segments."""
    with Eventlogd(bin_dir, SMALL) as first, Eventlogd(bin_dir) as second:
        yield first, second


def event(kind, **data):
    return json.dumps({"event": kind, "data": data}).encode()


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        select.select([], [], [], 0.01)


def events(server, worker=None):
    """What a move keeps of each event, in the order of the log."""
    with server.reader() as reader:
        if reader.subscribe(["oldest"], worker and [worker], follow=False)[0] == 15:
            return []
        return [(x.worker, x.payload, x.kind, x.flags & KEYFRAME, x.source_time_ns)
                for x in reader.until_caught_up()]


def workers(server):
    with server.reader() as reader:
        return [x["worker_id"] for x in reader.workers()["workers"]]


def export(server, *arguments, expected=0):
    done = server.ctl("export", server.log_dir, *arguments, timeout=DEADLINE_S)
    assert done.returncode == expected, done.stderr
    return done.stdout


def imports(server, lines, *arguments, expected=0):
    """What it says on standard error; `lines` are bytes, or a path."""
    if isinstance(lines, bytes):
        done = server.ctl("import", *arguments, input=lines, timeout=DEADLINE_S)
    else:
        done = server.ctl("import", *arguments, lines, timeout=DEADLINE_S)
    assert done.returncode == expected, done.stderr
    return done.stderr.decode()


def publish_mixed(server, count, seed=1):
    """Events of four workers in runs of random length, numbered or not, with times or without."""
    rng = random.Random(seed)
    with server.publisher("mixed") as publisher:
        for n in range(count):
            worker = f"w-{rng.randrange(4)}"
            payloads = [event("snapshot" if rng.random() < 0.05 else "note", n=n, i=i,
                              pad="x" * rng.randrange(200)) for i in range(rng.randrange(1, 9))]
            publisher.acked(worker, payloads, ts_ns=rng.choice([None, -1, n, 1 << 62]))


def test_the_recorded_corpus_comes_back(bin_dir, tmp_path):
    streams = recorded_streams() or {"sample": sample_stream()}
    with Eventlogd(bin_dir) as first, Eventlogd(bin_dir) as second:
        with first.publisher("corpus") as publisher:
            for number, lines in enumerate(itertools.zip_longest(*streams.values()), 1):
                for worker, line in zip(streams, lines):
                    if line:
                        publisher.acked(worker, [line], number)
        path = tmp_path / "log.jsonl"
        path.write_bytes(export(first))
        assert f"{len(events(first))} events imported, 0 already there, 0 refused" in \
            imports(second, path)
        assert events(second) == events(first)
        assert workers(second) == workers(first) == sorted(streams)


def test_payloads_kinds_and_times_come_back_byte_for_byte(logs):
    first, second = logs
    with first.publisher() as publisher:
        for n, payload in enumerate(ODD):
            publisher.acked("odd", [payload], ts_ns=[None, 0, -(1 << 63), (1 << 63) - 1][n % 4])
    exported = export(first)
    assert exported.count(b"\n") == len(ODD) + 2
    assert all(isinstance(json.loads(x), dict) for x in exported.splitlines())
    imports(second, exported)
    assert [x[1] for x in events(second)] == ODD
    assert events(second) == events(first)


def test_lines_tell_what_the_log_knows(logs):
    first, second = logs
    with first.publisher("p") as publisher:
        publisher.acked("w", [event("snapshot")], producer_seq=1, ts_ns=5)
        publisher.acked("w", [event("note")])
    head, one, two, end = map(json.loads, export(first).splitlines())
    with first.reader() as reader:
        assert head["export"] == 1 and head["log_id"] == reader.welcome["log_id"]
        reader.subscribe(["oldest"], follow=False)
        records = reader.until_caught_up()
        cursors = [reader.cursor(x) for x in records]
    assert one == {"cursor": cursors[0], "number": 1, "worker_id": "w", "kind": "snapshot",
                   "keyframe": True, "ts_ns": records[0].time_ns, "source_ts_ns": 5,
                   "owner_uid": os.getuid(), "producer": one["producer"], "producer_seq": 1,
                   "payload": json.loads(event("snapshot"))}
    assert two == {"cursor": cursors[1], "number": 2, "worker_id": "w", "kind": "note",
                   "ts_ns": records[1].time_ns, "owner_uid": os.getuid(),
                   "payload": json.loads(event("note"))}
    assert end == {"end": {"records": 2, "gaps": 0, "newest": cursors[1]}}
    imports(second, export(first), "--time-as-source")
    assert [x[4] for x in events(second)] == [5, records[1].time_ns]


def test_order_among_workers_is_kept(logs):
    first, second = logs
    publish_mixed(first, 1500)
    imports(second, export(first))
    assert events(second) == events(first)


def test_an_import_again_adds_only_what_is_new(logs, tmp_path):
    first, second = logs
    with second.publisher("own") as publisher:
        publisher.acked("w-1", [event("own")])
    publish_mixed(first, 50)
    count = len(events(first))
    path = tmp_path / "log.jsonl"
    path.write_bytes(export(first))
    for imported in (count, 0):
        assert f" {imported} events imported, {count - imported} already there" in \
            imports(second, path)
    second.kill()
    second.start()
    assert f" 0 events imported, {count} already there" in imports(second, path.read_bytes())
    publish_mixed(first, 50, seed=2)
    path.write_bytes(export(first))
    assert f" {len(events(first)) - count} events imported, {count} already there" in \
        imports(second, path)
    assert events(second) == [("w-1", event("own"), "own", 0, None)] + events(first)
    first.kill()
    first.start()


def test_a_continuation_is_behind_what_was_exported(logs):
    first, second = logs
    publish_mixed(first, 50)
    exported = export(first)
    imports(second, exported)
    newest = json.loads(exported.splitlines()[-1])["end"]["newest"]
    publish_mixed(first, 50, seed=2)
    first.kill()
    first.start()
    rest = export(first, "--after-cursor", newest)
    for _ in range(2):
        imports(second, rest)
    assert events(second) == events(first)
    assert export(first, "--after-cursor", "x", expected=1) == b""
    assert export(second, "--after-cursor", newest, expected=1) == b""


def test_another_export_of_the_same_log_is_refused_unless_asked_for(logs):
    first, second = logs
    publish_mixed(first, 20)
    exported = export(first)
    imports(second, exported)
    newest = json.loads(exported.splitlines()[-1])["end"]["newest"]
    count = len(events(first))
    first.kill()
    first.start()
    with first.publisher() as publisher:
        publisher.acked("new", [event("note")])
    assert "another export of the same log" in imports(second, export(first), expected=1)
    assert events(second) == events(first)[:-1]
    imports(second, export(first, "--after-cursor", newest))
    assert events(second) == events(first)
    imports(second, exported)
    assert events(second) == events(first)
    for imported in (count + 1, 0):
        assert f" {imported} events imported" in imports(second, export(first), "--again")
    assert len(events(second)) == 2 * count + 2
    assert not [x for x in workers(second) if x.startswith("import")]


def test_chosen_workers_only(logs):
    first, second = logs
    publish_mixed(first, 50)
    imports(second, export(first, "-w", "w-1", "-w", "w-2"), "--worker", "w-2")
    assert events(second) == events(first, "w-2")
    imports(second, export(first))  # the rest, and nothing twice
    assert [events(second, f"w-{n}") for n in range(4)] == \
        [events(first, f"w-{n}") for n in range(4)]
    assert export(first, "-w", "nobody", expected=1) == b""


def test_an_import_is_marked_before_it_begins(bin_dir):
    with Eventlogd(bin_dir) as first, Eventlogd(bin_dir, {"max_workers": 1}) as second:
        with first.publisher() as publisher, second.publisher("before") as before:
            publisher.acked("w", [event("note")])
            before.acked("w", [event("note")])
        exported = first.dir / "exported"
        exported.write_bytes(export(first))
        waiting = second.ctl_start("import", exported)
        assert b"quota_exceeded" in waiting.stderr.readline()
        second.stop()
        second.configure({})
        second.start()
        _, said = waiting.communicate(timeout=DEADLINE_S)
        assert (waiting.returncode, b" 1 events imported" in said) == (0, True), said
        first.kill()
        first.start()
        assert "another export of the same log" in imports(second, export(first), expected=1)
        assert len(events(second)) == 2


def test_what_the_keyframe_reserve_keeps_is_moved(bin_dir):
    config = {**SMALL, "retention": {"bytes": "2MiB"}}
    with Eventlogd(bin_dir, config) as first, Eventlogd(bin_dir) as second:
        with first.publisher("quiet") as publisher:
            publisher.acked("pruned", [event("note")])
            for n in range(3):
                publisher.acked(f"quiet-{n}", [event("note"), event("snapshot", n=n)])
            publisher.acked("quiet-1", [event("note", late=True)])
        with first.publisher("noise") as publisher, first.reader() as reader:
            while reader.status()["reserve_segments"] == 0:
                publisher.acked("noisy", [event("note", pad="x" * 1000)] * 50)
            publisher.acked("quiet-2", [event("note", late=True)])
        known = workers(first)
        first.stop()
        first.configure(SMALL)  # nothing is pruned any more
        imports(second, export(first))
        first.start()
        assert [events(second, x) for x in known] == [events(first, x) for x in known]
        assert [len(events(second, f"quiet-{n}")) for n in range(3)] == [1, 2, 2]
        assert "pruned" not in workers(second)


def damage(server):
    """Flips a byte in the payload of a record in the middle of a sealed segment: its sequence."""
    path = sorted(server.log_dir.glob("*.seg"))[0]
    content = bytearray(path.read_bytes())
    at = content.index(b'"n": 20,')
    content[at + 5] ^= 1
    path.write_bytes(content)


def test_damage_is_a_gap_and_the_rest_is_moved(logs):
    first, second = logs
    publish_mixed(first, 1500)
    whole = events(first)
    first.stop()
    damage(first)
    exported = export(first, expected=3)
    gaps = [json.loads(x)["gap"] for x in exported.splitlines() if x.startswith(b'{"gap"')]
    assert [x["reason"] for x in gaps] == ["damaged"]
    lost = gaps[0]["first_seq"]
    assert gaps[0]["last_seq"] == lost
    lines = exported.splitlines()
    place = [x.startswith(b'{"gap"') for x in lines].index(True)
    assert place == lost  # behind the head and those before it
    assert "the export has 1 gaps" in imports(second, exported)
    assert events(second) == whole[:lost - 1] + whole[lost:]


def test_killed_imports_go_on_without_hole_or_repeat(bin_dir, tmp_path):
    rng = random.Random(7)
    with Eventlogd(bin_dir) as first, Eventlogd(bin_dir, SMALL) as second:
        with first.publisher("p") as publisher:
            for n in range(400):
                publisher.send_publish(f"w-{n % 7}", [event("note", n=n, i=i) for i in range(100)])
            for _ in range(400):
                publisher.receive()
        path = tmp_path / "log.jsonl"
        path.write_bytes(export(first))
        for kill in range(8):
            process = second.ctl_start("import", path)
            with second.reader() as reader:
                before = reader.status()["newest_seq"]
                more = before + rng.randrange(5000)
                wait_for(lambda: reader.status()["newest_seq"] > more or
                         process.poll() is not None)
            if kill % 2:  # eventlogd, and the import waits for it
                second.kill()
                second.start()
            process.kill()
            process.communicate()
        imports(second, path)
        names = [f"w-{n}" for n in range(7)]
        assert [events(second, x) for x in names] == [events(first, x) for x in names]


def test_a_restart_of_eventlogd_is_waited_for(bin_dir, tmp_path):
    with Eventlogd(bin_dir) as first, Eventlogd(bin_dir, SMALL) as second:
        publish_mixed(first, 3000)
        path = tmp_path / "log.jsonl"
        path.write_bytes(export(first))
        process = second.ctl_start("import", path)
        with second.reader() as reader:
            wait_for(lambda: reader.status()["newest_seq"] > 100 or process.poll() is not None)
        second.kill()
        second.start()
        _, stderr = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, stderr
        names = workers(first)
        assert [events(second, x) for x in names] == [events(first, x) for x in names]


def write_long_export(path, count):
    """By hand, of three workers in turn."""
    head = {"export": 1, "log_id": "ab" * 16, "stream": "cd" * 16}
    lines = [json.dumps(head)]
    for n in range(count):
        lines.append('{"cursor":"%s","number":%d,"worker_id":"w-%d","ts_ns":5,"payload":{"n":%d}}'
                     % ("wo_abababab0001_%016x" % (n + 1), n // 3 + 1, n % 3, n))
    lines.append(json.dumps({"end": {"records": count, "gaps": 0, "newest": ""}}))
    path.write_text("\n".join(lines) + "\n")


def test_what_a_power_loss_took_is_imported_again(bin_dir, tmp_path):
    count = 90000
    path, before = tmp_path / "log.jsonl", tmp_path / "before"
    write_long_export(path, count)
    with Eventlogd(bin_dir) as server:
        process = server.ctl_start("import", path)
        with server.reader() as reader:
            wait_for(lambda: reader.status()["newest_seq"] > 1000)
        server.kill()
        shutil.copytree(server.log_dir, before)
        server.start()
        with server.reader() as reader:
            newest = reader.status()["newest_seq"]
            wait_for(lambda: reader.status()["newest_seq"] > newest)
        server.kill()  # and what was acknowledged since then is gone
        shutil.rmtree(server.log_dir)
        before.rename(server.log_dir)
        server.start()
        _, stderr = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0 and b"the log has lost events" in stderr, stderr
        for worker in range(3):
            assert [x[1] for x in events(server, f"w-{worker}")] == \
                [b'{"n":%d}' % n for n in range(worker, count, 3)]


def test_lines_that_are_none_are_named_and_skipped_only_on_request(logs, tmp_path):
    first, second = logs
    with first.publisher() as publisher:
        publisher.acked("w", [event("note", n=n) for n in range(6)])
    good = export(first).splitlines()
    path = tmp_path / "log.jsonl"
    bad = {3: b'{"cursor":"wo_x","number":2', 4: good[3].replace(b'"w"', b'"a/b"'),
           5: good[4].replace(b'"payload":{', b'"payload":{"a":[}'), 6: b"{}"}
    path.write_bytes(b"\n".join(bad.get(n, x) for n, x in enumerate(good, 1)) + b"\n")
    said = imports(second, path, expected=1)
    assert f"{path}:3: invalid_line: " in said and ":4:" not in said
    assert [json.loads(x[1])["data"]["n"] for x in events(second)] == [0]
    said = imports(second, path, "-k")
    assert [n for n in range(1, 10) if f"{path}:{n}: invalid_line: " in said] == [3, 4, 5, 6]
    assert "4 refused" in said and "2 events where its last line says 6" in said
    assert [json.loads(x[1])["data"]["n"] for x in events(second)] == [0, 5]
    # Mended too late: their numbers were passed over, and nothing comes twice.
    assert "0 events imported, 6 already there" in imports(second, b"\n".join(good))


@pytest.mark.parametrize("spoil, told", [
    (lambda x: x[:-1], "cut short"),
    (lambda x: x[:2] + x[3:], "where its last line says"),
    (lambda x: x[1:], ":1: this is not the first line of an export"),
    (lambda x: [], ":1: this is not the first line of an export"),
    (lambda x: [x[0].replace(b'"export":1', b'"export":2')] + x[1:], "version"),
    (lambda x: x + [x[0][:-3] + (b'0"}' if x[0][-3:] != b'0"}' else b'1"}')], "another export"),
    (lambda x: x[:1] + [x[1].replace(b'"number":1,', b'"number":1234567,')] + x[2:],
     "too many numbers"),
], ids=["cut", "line", "head", "empty", "version", "two", "number"])
def test_what_is_not_a_whole_export_is_told(logs, spoil, told):
    first, second = logs
    with first.publisher() as publisher:
        publisher.acked("w", [event("note", n=n) for n in range(6)])
    lines = spoil(export(first).splitlines())
    assert told in imports(second, b"".join(x + b"\n" for x in lines), expected=1)


def test_a_log_does_not_take_its_own_export(logs):
    first, _ = logs
    publish_mixed(first, 5)
    count = len(events(first))
    assert "this very log" in imports(first, export(first), expected=1)
    assert len(events(first)) == count


def test_wrong_usage(logs, tmp_path):
    first, _ = logs
    assert first.ctl("export").returncode == 2
    assert first.ctl("export", "a", "b").returncode == 2
    assert first.ctl("export", tmp_path).returncode == 1  # no log
    assert first.ctl("import", "a", "b").returncode == 2
    assert first.ctl("import", tmp_path / "none").returncode == 1
    assert first.ctl("import", tmp_path).returncode == 1


def test_what_is_pruned_under_an_export_is_a_gap(bin_dir):
    noise = [event("note", pad="x" * 1000)] * 50
    with Eventlogd(bin_dir, {**SMALL, "retention": {"bytes": "4MiB"}}) as server, \
            server.publisher("p") as publisher:
        publisher.acked("quiet", [event("snapshot")])
        while len(os.listdir(server.log_dir)) < 15:
            publisher.acked("noisy", noise)
        process = server.ctl_start("export", server.log_dir)
        select.select([process.stdout], [], [], DEADLINE_S)  # it goes on when this pipe is read
        there = set(server.log_dir.glob("*.seg"))
        deadline = time.monotonic() + DEADLINE_S
        while len(there & set(server.log_dir.glob("*.seg"))) > 1:  # the reserve's keeps its name
            assert time.monotonic() < deadline
            publisher.acked("noisy", noise)
        taken, stderr = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, stderr
        newest = publisher.acked("noisy", noise)[0] - 1
    lines = [json.loads(x) for x in taken.splitlines()]
    assert lines[1]["worker_id"] == "quiet" and lines[-1]["end"]["gaps"] >= 1
    reached = covered = 0  # up to here nothing is missing, or a gap said that it may be
    for line in lines[1:-1]:
        if "gap" in line:
            assert line["gap"]["reason"] == "pruned"
            assert line["gap"]["first_seq"] == max(reached, covered) + 1
            covered = line["gap"]["last_seq"]
            continue
        sequence = int(line["cursor"].split("_")[2], 16)
        assert reached < sequence <= max(reached, covered) + 1
        reached = sequence
    assert reached == newest
    numbers = [x["number"] for x in lines if x.get("worker_id") == "noisy"]
    assert numbers == list(range(1, len(numbers) + 1))


def fill(server, count=2500):
    with server.publisher("p") as publisher:
        for _ in range(count // 50):
            publisher.acked("noisy", [event("note", pad="x" * 1000)] * 50)


def take_the_place_of(log_dir, other):
    copies = shutil.copytree(other, log_dir.with_name("copies"))  # other inodes than those there
    for path in log_dir.iterdir():
        path.unlink()
    for path in copies.iterdir():
        path.rename(log_dir / path.name)


def make_other_log(first, second):
    fill(first)
    with second:
        fill(second, 5000)


def make_other_past(first, second):
    """As after a power loss: what stands behind the first fill was lost, and given again."""
    fill(first, 50)
    first.kill()
    shutil.copytree(first.log_dir, second.log_dir, dirs_exist_ok=True)
    first.start()
    fill(first)
    with second:
        second.kill()
        second.start()
        fill(second, 5000)


def wait_until_behind(process, sequence):
    for line in process.stdout:
        cursor = json.loads(line).get("cursor")
        if cursor and int(cursor.split("_")[2], 16) > sequence:
            return


@pytest.mark.parametrize("verb", [["cat", "--json"], ["export"]], ids=lambda x: x[0])
@pytest.mark.parametrize("make, told", [
    (make_other_log, b"another log"), (make_other_past, b"lost events")])
def test_nothing_is_spliced_to_what_was_read_before(bin_dir, verb, make, told):
    with Eventlogd(bin_dir, SMALL) as first, tempfile.TemporaryDirectory(prefix="el-") as other:
        second = Eventlogd(bin_dir, SMALL, other)
        make(first, second)
        process = first.ctl_start(*verb, first.log_dir)
        wait_until_behind(process, 50)  # and not at the end, while nobody reads
        process.send_signal(signal.SIGSTOP)
        first.kill()
        take_the_place_of(first.log_dir, second.log_dir)
        process.send_signal(signal.SIGCONT)
        _, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1 and told in stderr, stderr


def seen_on_terminal(server, *arguments, **options):
    ours, theirs = pty.openpty()
    process = server.ctl_start(*arguments, stderr=theirs, **options)
    os.close(theirs)
    shown = b""
    while b"ETA" not in shown:
        assert select.select([ours], [], [], DEADLINE_S)[0], shown
        shown += os.read(ours, 65536)
    process.kill()
    os.close(ours)
    return shown


def test_progress_bars_on_a_terminal_only(logs, tmp_path):
    first, second = logs
    (tmp_path / "many.jsonl").write_bytes(b'{"event":"note"}\n' * 400000)
    assert first.ctl("publish", tmp_path / "many.jsonl", timeout=DEADLINE_S).returncode == 0
    shown = seen_on_terminal(first, "export", first.log_dir)
    assert b"events" in shown and b"/s" in shown and b"%" in shown
    path = tmp_path / "log.jsonl"
    with open(path, "wb") as out:
        process = first.ctl_start("export", first.log_dir, stdout=out)
        _, stderr = process.communicate(timeout=DEADLINE_S)
    assert b"\r" not in stderr and stderr.endswith(b"400000 events, 0 gaps\n")
    assert b"events" in seen_on_terminal(second, "import", path)
