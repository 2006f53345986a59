"""wsgate's sessions in front of a real eventlogd: frames, cursors, the seam, backpressure."""

import json
import threading

import pytest

from eventlogd import Eventlogd
from fake_eventlogd import wait_until
from wsgate import Wsgate, batch_items

SMALL = {"segment_bytes": "256KiB", "max_event_bytes": "64KiB"}
# Spellings that a parser would change.
ODD = [b'{"event":"delta","n":1.10,"big":18446744073709551617,"e":"\\u00e9\\/"}',
       b'{ "event" : "delta" , "dup":1, "dup":2 }', b'{"type":"x","\xc3\xa9":"\xf0\x9f\x98\x80"}',
       b'{}', b' \t{"event":"delta"}\n ', b'{"event":"delta","s":"' + b"x" * 70000 + b'"}']


@pytest.fixture(name="log")
def _log(bin_dir):
    with Eventlogd(bin_dir) as log:
        yield log


@pytest.fixture(name="gate")
def _gate(bin_dir, log):
    with Wsgate(bin_dir, log.tail_socket) as gate:
        yield gate


def publish(log, worker, payloads, **options):
    with log.publisher() as publisher:
        return publisher.acked(worker, payloads, **options)


def batched(client):
    """Everything received so far on a binary session, one item after the other."""
    return [item for message in list(client.raw) for item in batch_items(message)]


def wait_batched(client, kind, count=1):
    wait_until(lambda: sum(i["kind"] == kind for i in batched(client)) >= count,
               f"{count} {kind}")
    return [i for i in batched(client) if i["kind"] == kind]


def test_payloads_arrive_byte_for_byte_in_every_form(log, gate):
    publish(log, "w-1", ODD, ts_ns=-1)
    for form in ("sightline.v1", None):
        with gate.observe("w-1", "?from=oldest", form=form) as client:
            events = client.events(len(ODD))
            frames = [raw.encode() for raw, frame in zip(client.raw, client.frames)
                      if frame["kind"] == "event"]
            assert [raw[raw.index(b'"payload":') + 10 : -2] for raw in frames] == ODD
    with gate.observe("w-1", "?from=oldest", form="sightline.v1.msgpack") as client:
        items = wait_batched(client, "event", len(ODD))
        assert [i["envelope"]["payload"] for i in items] == ODD
    for i, event in enumerate(events):
        envelope = {k: v for k, v in event.envelope.items() if k != "payload"}
        binary = {k: v for k, v in items[i]["envelope"].items() if k != "payload"}
        assert envelope == binary
        assert envelope["event_id"] == envelope["cursor"] and envelope["worker_id"] == "w-1"
        assert envelope["source_ts_ms"] == -1 and envelope["ts_ms"] > 1_700_000_000_000


def test_source_time_is_left_out_when_there_is_none(log, gate):
    publish(log, "w-1", [b'{"a":1}'])
    with gate.observe("w-1", form=None) as client:
        assert set(client.events(1)[0].envelope) == \
            {"cursor", "event_id", "worker_id", "ts_ms", "payload"}


def test_plain_session_sees_events_and_diagnostics_only(log, gate):
    publish(log, "w-1", [b'{"event":"snapshot"}', b'{"n":2}'])
    with gate.observe("w-1", form=None) as client:
        client.events(2)
        publish(log, "w-1", [b'{"n":3}'])
        client.events(1)
        client._call(client._connection.send("hello"))
        assert client.closed() == (1008, "runtime.observation_only")
        assert {f["kind"] for f in client.frames} == {"event", "diagnostic"}


def test_session_begins_at_the_newest_keyframe_and_meets_the_seam_once(log, gate):
    publish(log, "w-1", [b'{"n":1}', b'{"event":"snapshot","n":2}', b'{"n":3}'])
    publish(log, "w-2", [b'{"event":"snapshot"}'])
    with gate.observe("w-1") as client:
        hello = client.frame()
        assert hello["kind"] == "hello" and hello["hello"]["heartbeat_s"] == 30
        assert hello["hello"]["newest"].endswith("_0000000000000004")
        assert [e.payload["n"] for e in client.until_caught_up()] == [2, 3]
        # The seam is where the subscription has come to, others' events included.
        assert client.frames[-1]["cursor"].endswith("_0000000000000004")
        publish(log, "w-1", [b'{"n":5}'])
        assert client.events(1)[0].payload["n"] == 5
        assert sum(f["kind"] == "caught_up" for f in client.frames) == 1


def test_cursor_brings_exactly_the_rest(log, gate):
    publish(log, "w-1", [b'{"event":"snapshot","n":%d}' % n for n in range(1, 6)])
    with gate.observe("w-1", "?from=oldest") as client:
        events = client.until_caught_up()
    for i, event in enumerate(events):
        with gate.observe("w-1", f"?cursor={event.cursor}") as client:
            assert [e.event_id for e in client.until_caught_up()] == \
                [e.event_id for e in events[i + 1:]]


def test_all_workers_from_now_on_or_from_the_oldest(log, gate):
    publish(log, "w-1", [b'{"n":1}'])
    publish(log, "w-2", [b'{"n":2}'])
    with gate.observe() as now, gate.observe(None, "?from=oldest") as all_of_them:
        assert now.until_caught_up() == []
        assert [e.worker_id for e in all_of_them.until_caught_up()] == ["w-1", "w-2"]
        publish(log, "w-3", [b'{"n":3}'])
        assert now.events(1)[0].worker_id == all_of_them.events(1)[0].worker_id == "w-3"


@pytest.mark.parametrize("form", ["sightline.v1", "sightline.v1.msgpack", None])
@pytest.mark.parametrize("cursor,code,close", [
    ("x", "runtime.cursor_malformed", 4400),
    ("", "runtime.cursor_malformed", 4400),
    ("wo_" + "0" * 100, "runtime.cursor_malformed", 4400),
    ("%ff", "runtime.cursor_malformed", 4400),
    ("wo_000000000001_0000000000000001", "runtime.cursor_unknown", 4409),
    ("{log}0001_00000000000000ff", "runtime.cursor_unknown", 4409),
    ("{log}0009_0000000000000001", "runtime.cursor_unknown", 4409),
])
def test_refused_cursors_get_their_code_and_nothing_else(log, gate, cursor, code, close, form):
    publish(log, "w-1", [b'{"n":1}'])
    with log.reader() as reader:
        cursor = cursor.replace("{log}", "wo_" + reader.welcome["log_id"][:8])
    with gate.observe("w-1", f"?cursor={cursor}", form=form) as client:
        assert client.closed() == (close, code)
        frames = batched(client) if form == "sightline.v1.msgpack" else client.frames
        assert [f["kind"] for f in frames] == ["diagnostic"]
        assert frames[0]["diagnostic"]["code"] == code and frames[0]["diagnostic"]["final"]


def test_pruned_cursor_is_expired_and_names_the_oldest(bin_dir):
    with Eventlogd(bin_dir, {**SMALL, "retention": {"bytes": "1MiB"}}) as log, \
            Wsgate(bin_dir, log.tail_socket) as gate:
        first, _ = publish(log, "w-1", [b'{"n":1}'])
        with gate.observe("w-1", "?from=oldest") as client:
            cursor = client.events(1)[0].cursor
        filler = b'{"pad":"' + b"x" * 30000 + b'"}'
        for _ in range(60):
            publish(log, "w-1", [filler] * 3)

        def is_pruned():
            ends = gate.get("/v1/runtime")[2]["log"]
            return ends["oldest_seq"] > first + 1 and ends["allocated_bytes"] <= 1 << 20
        wait_until(is_pruned, "pruning, to its end")
        with gate.observe("w-1", f"?cursor={cursor}") as client:
            diagnostic = client.diagnostic("runtime.cursor_expired")
            assert client.closed() == (4410, "runtime.cursor_expired")
        with gate.observe("w-1", f"?cursor={diagnostic['oldest']}") as client:
            assert len(client.until_caught_up()) > 0


@pytest.mark.parametrize("message", ["text", b"bytes", "", b"x" * 200000],
                         ids=["text", "binary", "empty", "long"])
@pytest.mark.parametrize("form", ["sightline.v1", None])
def test_data_from_the_peer_ends_the_session(log, gate, message, form):
    publish(log, "w-1", [b'{"n":1}'])
    with gate.observe("w-1", form=form) as client, gate.observe("w-1") as other:
        client._call(client._connection.send(message))
        assert client.closed() == (1008, "runtime.observation_only")
        assert client.frames[-1]["diagnostic"]["final"] is True
        publish(log, "w-1", [b'{"n":2}'])
        other.events(2)


def test_quiet_session_is_told_how_far_it_has_come(bin_dir, log):
    config = {"limits": {"bookmark_interval": "200ms"}}
    with Wsgate(bin_dir, log.tail_socket, config) as gate:
        publish(log, "w-1", [b'{"n":1}'])
        with gate.observe("w-1") as client, \
                gate.observe("w-1", form="sightline.v1.msgpack") as binary, \
                gate.observe("w-1", form=None) as plain:
            client.until_caught_up()
            _, last = publish(log, "w-2", [b'{"n":2}', b'{"n":3}'])
            seen = client.until(lambda f: f["kind"] == "bookmark"
                                and f["cursor"].endswith(f"_{last:016x}"))
            wait_batched(binary, "bookmark")
            for _ in range(3):  # by then the plain one would have been told too
                client.until(lambda f: f["kind"] == "bookmark")
            publish(log, "w-1", [b'{"n":4}'])
            assert [e.payload["n"] for e in plain.events(2)] == [1, 4]
            assert {f["kind"] for f in plain.frames} == {"event"}
        with gate.observe("w-1", f"?cursor={seen[-1]['cursor']}") as client:
            assert [e.payload["n"] for e in client.until_caught_up()] == [4]


def test_pings_are_answered_and_a_close_is_returned(log, gate):
    publish(log, "w-1", [b'{"n":1}'])
    with gate.observe("w-1") as client:
        client.until_caught_up()

        async def ping():
            await (await client._connection.ping(b"there?"))
        client._call(ping())
        client._call(client._connection.close(1000, "enough"))
        assert client.closed()[0] == 1000
    wait_until(lambda: gate.metric("sessions_open") == 0, "the end of the session")


def test_slow_peer_costs_nobody_else_and_loses_nothing(bin_dir):
    """A peer that does not read: eventlogd stops reading for it, wsgate's memory stays."""
    count, size = 3000, 20000
    with Eventlogd(bin_dir) as log, Wsgate(bin_dir, log.tail_socket) as gate:
        payloads = [json.dumps({"n": n, "pad": "x" * size}).encode() for n in range(count)]
        publish(log, "w-1", payloads[:1])
        with gate.observe("w-1", "?from=oldest", reads=False) as slow, \
                gate.observe("w-1", "?from=oldest") as fast:
            before = gate.rss_bytes()
            with log.publisher() as publisher:
                for i in range(1, count, 50):
                    publisher.acked("w-1", payloads[i:i + 50])
            assert [e.payload["n"] for e in fast.events(count, 60)] == list(range(count))
            assert gate.rss_bytes() - before < 40 << 20  # 60 MB were sent, once
            slow.resume()
            assert [e.payload["n"] for e in slow.events(count, 60)] == list(range(count))


def test_largest_event_passes_whole(log, gate):
    payload = b'{"big":"' + b"x" * ((8 << 20) - 11) + b'"}'
    publish(log, "w-1", [payload, b'{"n":2}'])
    with gate.observe("w-1", "?from=oldest") as client:
        first, second = client.events(2)
        assert first.payload_bytes == payload and second.payload == {"n": 2}
    with gate.observe("w-1", "?from=oldest", form="sightline.v1.msgpack") as client:
        assert wait_batched(client, "event", 2)[0]["envelope"]["payload"] == payload


def test_many_sessions_while_publishing_goes_on(log, gate):
    count, sessions = 2000, 20
    publish(log, "w-1", [b'{"event":"snapshot","n":0}'])
    clients = []
    try:
        def feed():
            with log.publisher() as publisher:
                for n in range(1, count):
                    publisher.acked("w-1", [b'{"n":%d}' % n])
        feeder = threading.Thread(target=feed)
        feeder.start()
        for i in range(sessions):
            clients.append(gate.observe(
                "w-1", form=("sightline.v1", None)[i % 2]))
        feeder.join()
        for client in clients:
            assert [e.payload["n"] for e in client.events(count, 60)] == list(range(count))
    finally:
        for client in clients:
            client.close()
    wait_until(lambda: gate.metric("connections") == 0, "the end of all sessions")


def test_stopping_says_goodbye_to_everybody(bin_dir, log):
    publish(log, "w-1", [b'{"n":1}'])
    gate = Wsgate(bin_dir, log.tail_socket).start()
    with gate.observe("w-1") as one, gate.observe(form=None) as other:
        one.until_caught_up()
        gate.stop()
        assert one.closed() == other.closed() == (1001, "runtime.going_away")
        assert one.frames[-1]["diagnostic"]["retry"] == "now"
