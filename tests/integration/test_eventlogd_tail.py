"""tail.sock: where a subscription starts, what it is given, and what a slow reader costs."""

import json
import shutil
import threading
import time

import pytest

from eventlogd import Eventlogd
from frames import CAUGHT_UP, ERROR, RECORDS, SUBSCRIBE

SMALL = {"segment_bytes": "256KiB", "max_event_bytes": "64KiB"}


def event(text, kind="note", size=0):
    return json.dumps({"event": kind, "data": {"text": text, "pad": "x" * size}}).encode()


def texts(records):
    return [json.loads(x.payload)["data"]["text"] for x in records]


@pytest.fixture(scope="module")
def server(bin_dir):
    with Eventlogd(bin_dir) as running:
        with running.publisher() as p:
            p.acked("a", [event("a1"), event("a2", "snapshot"), event("a3")])
            p.acked("b", [event("b1")])
            p.acked("a", [event("a4")])
        yield running


def history(server, start, workers=None):
    with server.reader() as r:
        reply = r.subscribe(start, workers, follow=False)
        assert reply[0] != ERROR, reply
        return r.until_caught_up(verify=True)


def cursor_of(server, record):
    with server.reader() as r:
        return r.cursor(record)


def test_oldest_is_everything_in_order(server):
    records = history(server, ["oldest"])
    assert texts(records)[:5] == ["a1", "a2", "a3", "b1", "a4"]
    assert [x.sequence for x in records] == list(range(1, len(records) + 1))


def test_keyframe_is_the_newest_snapshot_and_everything_after(server):
    assert texts(history(server, ["keyframe"], ["a"])) == ["a2", "a3", "a4"]
    assert texts(history(server, ["keyframe"], ["b"])) == ["b1"]


def test_workers_are_kept_apart_and_together(server):
    assert texts(history(server, ["oldest"], ["b"])) == ["b1"]
    assert texts(history(server, ["oldest"], ["a", "b"])) == ["a1", "a2", "a3", "b1", "a4"]


def test_every_cursor_gives_exactly_the_rest(server):
    records = history(server, ["oldest"])
    for at, record in enumerate(records):
        rest = history(server, ["cursor", cursor_of(server, record)])
        assert rest == records[at + 1:]


def test_newest_is_only_what_comes(server):
    with server.reader() as r, server.publisher() as p:
        r.subscribe(["newest"])
        assert r.receive()[0] == CAUGHT_UP
        p.acked("live", [event("now")])
        assert texts(r.records(1)) == ["now"]


def test_caught_up_comes_once_and_live_goes_on_without_gap_or_repeat(bin_dir):
    with Eventlogd(bin_dir, SMALL) as server:
        count = 5000
        with server.publisher() as p:
            p.acked("w", [event(str(n)) for n in range(1000)])

            def publish():
                with server.publisher() as other:
                    for n in range(1000, count, 10):
                        other.acked("w", [event(str(m)) for m in range(n, n + 10)])

            thread = threading.Thread(target=publish)
            thread.start()
            seams, got = 0, []
            with server.reader() as r:
                r.subscribe(["oldest"], ["w"])
                while len(got) < count:
                    message = r.receive()
                    if message[0] == CAUGHT_UP:
                        seams += 1
                        assert message[1] >= len(got)
                    else:
                        got += r._take(message, False)
            thread.join()
        assert texts(got) == [str(n) for n in range(count)]
        assert seams == 1


@pytest.mark.parametrize("cursor, code", [
    ("", "cursor_malformed"), ("wo_", "cursor_malformed"), ("x" * 300, "cursor_malformed"),
    ("WO_000000000001_0000000000000001", "cursor_malformed"),
    ("wo_000000000001_0000000000000001", "cursor_unknown"),
])
def test_cursors_that_are_none_or_of_another_log(server, cursor, code):
    with server.reader() as r:
        assert r.subscribe(["cursor", cursor])[2] == code
        assert len(r.subscribe(["oldest"], follow=False)) == 3  # may try again


def test_cursor_ahead_or_of_another_epoch_is_unknown(server):
    record = history(server, ["oldest"])[-1]
    with server.reader() as r:
        for wrong in (record._replace(sequence=record.sequence + 1000),
                      record._replace(epoch=record.epoch + 1),
                      record._replace(sequence=(1 << 64) - 1)):
            assert r.subscribe(["cursor", r.cursor(wrong)])[2] == "cursor_unknown", wrong


@pytest.mark.parametrize("worker", ["nobody", "a/b", "x" * 200, ""])
def test_unknown_worker_is_not_found(server, worker):
    with server.reader() as r:
        assert r.subscribe(["oldest"], [worker])[2] == "worker_not_found"


@pytest.mark.parametrize("message", [
    (SUBSCRIBE, 1, None, ["keyframe"], True), (SUBSCRIBE, 1, ["a", "b"], ["keyframe"], True),
    (SUBSCRIBE, 1, None, ["nowhere"], True), (SUBSCRIBE, 1, None, [], True),
    (SUBSCRIBE, 1, None, "oldest", True), (SUBSCRIBE, 1, "a", ["oldest"], True),
    (SUBSCRIBE, 1, [], ["oldest"], True), (SUBSCRIBE, 1, None, ["oldest"], 1),
    (SUBSCRIBE, None, None, ["oldest"], True), (SUBSCRIBE, 1, None, ["cursor"], True),
])
def test_subscribe_of_the_wrong_shape_breaks_the_protocol(server, message):
    with server.reader() as r:
        r.send(*message)
        r.expect_error("protocol_error")
        r.expect_closed()


def test_one_connection_carries_one_subscription(server):
    with server.reader() as r:
        r.subscribe(["newest"])
        assert r.receive()[0] == CAUGHT_UP
        r.send(SUBSCRIBE, 2, None, ["oldest"], True)
        r.expect_error("protocol_error")
        r.expect_closed()


def test_status_and_workers_without_a_subscription(server):
    with server.reader() as r:
        status = r.status()
        assert status["log_id"] == r.welcome["log_id"]
        assert status["oldest_seq"] == 1
        assert status["newest_seq"] >= 5
        assert status["durability"] == "interval"
        assert status["read_only"] is False and status["no_space"] is False
        assert status["epochs"][-1] == [r.welcome["epoch"], 1]
        assert status["counters"]["events"] >= 5
        rows = r.workers()
        assert rows["more"] is False
        by_id = {row["worker_id"]: row for row in rows["workers"]}
        assert by_id["a"]["newest_seq"] == 5 and by_id["a"]["newest_keyframe"] == 2
        assert by_id["a"]["records"] == 4 and by_id["b"]["records"] == 1
        newest = status["newest_cursor"]
        assert len(r.subscribe(["cursor", newest], follow=False)) == 3
        assert r.until_caught_up() == []


def test_workers_come_page_by_page_in_order(bin_dir):
    with Eventlogd(bin_dir) as server, server.publisher() as p, server.reader() as r:
        ids = [f"worker-{n:04}" for n in range(250)]
        for worker in reversed(ids):
            p.send_publish(worker, [b"{}"])
        for _ in ids:
            p.receive()
        seen, after = [], None
        while True:
            page = r.workers(after, 100)
            seen += [row["worker_id"] for row in page["workers"]]
            if not page["more"]:
                break
            assert len(page["workers"]) == 100
            after = seen[-1]
        assert seen == ids


@pytest.mark.measures_memory
def test_reader_that_does_not_read_does_not_grow_eventlogd(bin_dir):
    with Eventlogd(bin_dir) as server, server.publisher() as p:
        for _ in range(640):
            p.acked("w", [event("x", size=1000)] * 100)
        before = server.private_bytes()
        idle = [server.reader() for _ in range(20)]
        for r in idle:
            r.send(SUBSCRIBE, 1, None, ["oldest"], True)
        for _ in range(640):
            p.acked("w", [event("x", size=1000)] * 100)
        with server.reader() as quick:
            quick.subscribe(["oldest"], follow=False)
            assert len(quick.until_caught_up()) == 128000
        # At most one piece of the log a reader.
        assert server.private_bytes() - before < 20 * (512 << 10)
        for r in idle:
            r.close()


def test_slow_reader_gets_everything(bin_dir):
    with Eventlogd(bin_dir, {"segment_bytes": "1MiB", "max_event_bytes": "64KiB"}) as server, server.publisher() as p:
        with server.reader() as slow:
            slow.send(SUBSCRIBE, 1, None, ["oldest"], True)
            for n in range(200):
                p.acked("w", [event(str(n), size=200)] * 100)
            assert slow.receive()[1] == 1
            got = []
            while len(got) < 20000:
                message = slow.receive()
                if message[0] == RECORDS:
                    got += slow._take(message, False)
        assert [x.sequence for x in got] == list(range(1, 20001))


def test_readers_that_catch_up_at_once_all_get_everything(bin_dir):
    """Together they ask for more than one turn of the loop gives; publishers come in between."""
    with Eventlogd(bin_dir) as server, server.publisher() as p:
        for n in range(40):
            p.acked("w", [event(str(n), size=1000)] * 100)
        readers = [server.reader() for _ in range(24)]
        for r in readers:
            r.send(SUBSCRIBE, 1, None, ["oldest"], False)
        p.acked("w", [event("last")])
        for r in readers:
            assert r.receive()[1] == 1
            got = [x.sequence for x in r.until_caught_up()]
            assert len(got) >= 4000 and got == list(range(1, len(got) + 1))
            r.close()


def test_cursor_expired_is_exact_with_a_tiny_retention(bin_dir):
    config = {**SMALL, "retention": {"bytes": "1MiB", "keyframe_reserve": 0}}
    with Eventlogd(bin_dir, config) as server, server.publisher() as p:
        p.acked("noisy", [event("first", size=100)])
        with server.reader() as r:
            r.subscribe(["oldest"], follow=False)
            first = r.until_caught_up()[0]
            early = r.cursor(first)
        for n in range(400):
            p.acked("noisy", [event(str(n), size=1000)] * 10)
        wait_pruned(server)

        def answer(cursor):
            with server.reader() as r:
                reply = r.subscribe(["cursor", cursor], ["noisy"], follow=False)
                return reply, r.until_caught_up() if len(reply) == 3 else []

        def oldest():
            refused, _ = answer(early)
            assert refused[2] == "cursor_expired", refused
            return refused[4]["oldest"]

        good, settled = None, oldest()
        while good != settled:  # otherwise more was pruned while it was being looked at
            good = settled
            accepted, rest = answer(good)
            edge = first._replace(sequence=int(good[-16:], 16) - 1)
            refused, _ = answer(r.cursor(edge))
            settled = oldest()
        assert len(accepted) == 3 and rest[0].sequence == int(good[-16:], 16) + 1
        # One before: the record that it still needs is gone.
        assert refused[2] == "cursor_expired"


def wait_pruned(server):
    """Until pruning has come to rest: a spare segment, made ahead, may push one more out."""
    deadline = time.monotonic() + 20
    with server.reader() as r:
        status, since = r.status(), time.monotonic()
        while status["pruned_segments"] == 0 or time.monotonic() - since < 1.0:
            assert time.monotonic() < deadline, status
            before, status = status, r.status()
            if status["pruned_segments"] != before["pruned_segments"]:
                since = time.monotonic()
        return status


def test_quiet_workers_old_cursor_stays_good_while_none_of_its_own_was_pruned(bin_dir):
    config = {**SMALL, "retention": {"bytes": "1MiB"}}
    with Eventlogd(bin_dir, config) as server, server.publisher() as p:
        p.acked("quiet", [event("k", "snapshot"), event("q1")])
        with server.reader() as r:
            r.subscribe(["oldest"], ["quiet"], follow=False)
            cursor = r.cursor(r.until_caught_up()[-1])
        for n in range(400):
            p.acked("noisy", [event(str(n), size=1000)] * 10)
        wait_pruned(server)
        p.acked("quiet", [event("q2")])
        assert texts(history(server, ["cursor", cursor], ["quiet"])) == ["q2"]


@pytest.mark.parametrize("kill", [False, True])
def test_cursors_survive_a_restart(bin_dir, kill):
    with Eventlogd(bin_dir) as server:
        with server.publisher() as p:
            p.acked("w", [event(str(n)) for n in range(50)])
        records = history(server, ["oldest"])
        cursor = cursor_of(server, records[20])
        server.kill() if kill else server.stop()
        server.start()
        with server.publisher() as p:
            p.acked("w", [event("after")])
        rest = history(server, ["cursor", cursor])
        assert rest[:-1] == records[21:]
        assert texts(rest)[-1] == "after"
        assert rest[-1].epoch == records[0].epoch + (1 if kill else 0)


def test_stopping_says_so_to_readers(bin_dir):
    with Eventlogd(bin_dir) as server:
        r = server.reader()
        r.subscribe(["newest"])
        assert r.receive()[0] == CAUGHT_UP
        server.stop()
        r.expect_error("shutting_down")
        r.expect_closed()


def test_cursor_of_records_that_were_lost_is_unknown_and_not_another_place(bin_dir):
    with Eventlogd(bin_dir) as server:
        with server.publisher() as p:
            p.acked("w", [event(str(n)) for n in range(10)])
            before_power_loss = server.dir / "before"
            shutil.copytree(server.log_dir, before_power_loss)
            p.acked("w", [event("lost")] * 5)
            seen = history(server, ["oldest"])
        server.kill()
        # What the disk had when the power went: the last five never reached it.
        shutil.rmtree(server.log_dir)
        before_power_loss.rename(server.log_dir)
        server.start()
        with server.publisher() as p:
            p.acked("w", [event("other")] * 20)
        with server.reader() as r:
            for record in seen[10:]:
                assert r.subscribe(["cursor", r.cursor(record)], ["w"])[2] == "cursor_unknown"
            assert len(r.subscribe(["cursor", r.cursor(seen[9])], ["w"], follow=False)) == 3
            assert texts(r.until_caught_up()) == ["other"] * 20


def test_reader_that_is_overrun_is_told_and_not_moved(bin_dir):
    config = {**SMALL, "retention": {"bytes": "1MiB", "keyframe_reserve": 0}}
    with Eventlogd(bin_dir, config) as server, server.publisher() as p, server.reader() as slow:
        for n in range(100):
            p.acked("w", [event(str(n), size=1000)] * 5)
        slow.send(SUBSCRIBE, 1, None, ["oldest"], True)
        for n in range(1000):
            p.acked("w", [event(str(n), size=1000)] * 5)
        wait_pruned(server)
        got, message = [], slow.receive()
        while message[0] != ERROR:
            if message[0] == RECORDS:
                got += slow._take(message, False)
            message = slow.receive()
        assert message[2] == "overrun"
        assert [x.sequence for x in got] == list(range(1, len(got) + 1))
        slow.expect_closed()
        rest = history(server, ["cursor", message[4]["oldest"]])
        assert rest[0].sequence == int(message[4]["oldest"][-16:], 16) + 1 > len(got)
