"""wsgate behind an eventlogd that restarts, disappears, prunes, or talks nonsense."""

import struct
import threading

import pytest

import ws
from eventlogd import Eventlogd
from fake_eventlogd import FakeEventlogd, cursor, make_record, wait_until
from frames import CAUGHT_UP, ERROR, GAP, RECORDS, SUBSCRIBED, WELCOME, frame
from wsgate import Wsgate


@pytest.fixture(name="log")
def _log(tmp_path):
    with FakeEventlogd(tmp_path / "tail.sock") as log:
        log.append("w-1", b'{"event":"snapshot","n":1}', keyframe=True)
        log.append("w-1", b'{"n":2}')
        yield log


@pytest.fixture(name="gate")
def _gate(bin_dir, log):
    with Wsgate(bin_dir, log.path) as gate:
        yield gate


def numbers(events):
    return [e.payload["n"] for e in events]


def test_session_goes_on_after_a_restart(log, gate):
    with gate.observe("w-1") as client:
        assert numbers(client.until_caught_up()) == [1, 2]
        log.stop()
        diagnostic = client.diagnostic()
        assert diagnostic["code"] == "runtime.unavailable" and diagnostic["final"] is False
        log.epoch = 2
        log.append("w-1", b'{"n":3}')
        log.start()
        event = client.events(1)[0]
        assert event.payload["n"] == 3 and event.cursor == cursor(2, 3)
        assert log.subscriptions[-1][3] == ["cursor", cursor(1, 2)]
        log.append("w-1", b'{"n":4}')
        client.events(1)
        assert [f["kind"] for f in client.frames].count("caught_up") == 1
        assert [f["kind"] for f in client.frames].count("diagnostic") == 1


def test_all_workers_session_that_has_seen_nothing_comes_back_to_its_place(log, gate):
    with gate.observe() as client:
        client.until_caught_up()
        log.stop()
        client.diagnostic("runtime.unavailable")
        log.append("w-1", b'{"n":3}')
        log.start()
        assert numbers(client.events(1)) == [3]
        assert log.subscriptions[-1][3] == ["cursor", cursor(1, 2)]


@pytest.mark.parametrize("worker", ["w-1", None])
def test_newest_in_the_hello_is_where_the_stream_begins(log, gate, worker):
    """Also when events come between the question where the log ends and the subscription."""
    log.before_subscribe = lambda: log.append("w-1", b'{"n":3}')
    with gate.observe(worker, "?from=newest") as client:
        newest = client.frame()["hello"]["newest"]
        log.append("w-1", b'{"n":4}')
        assert numbers(client.events(1)) == [4] and newest == cursor(1, 3)
    with gate.observe(worker, f"?cursor={newest}") as client:
        assert numbers(client.events(1)) == [4]


@pytest.mark.parametrize("restarts", [5])
def test_killed_again_and_again_nothing_is_lost_or_doubled(bin_dir, restarts):
    total = 3000
    with Eventlogd(bin_dir) as log, Wsgate(bin_dir, log.tail_socket) as gate:
        with log.publisher() as publisher:
            publisher.acked("w-1", [b'{"event":"snapshot","n":0}'])
        with gate.observe("w-1") as client, \
                gate.observe("w-1", form="sightline.v1.msgpack") as _:
            done = 1
            for _ in range(restarts):
                with log.publisher() as publisher:
                    for _ in range(total // restarts):
                        publisher.acked("w-1", [b'{"n":%d}' % done])
                        done += 1
                log.kill()
                log.start()
            events = client.events(done, 60)
            assert numbers(events) == list(range(done))
            assert len({e.event_id for e in events}) == done


@pytest.mark.parametrize("nonsense", [
    b"\xff\xff\xff\xff",                                      # announces 4 GiB
    b"\x00\x00\x00\x00",                                      # an empty frame
    b"\x05\x00\x00\x00\xdd\xff\xff\xff\xff",                  # a bomb
    struct.pack("<I", 40) + b"\x91" * 40,                     # nested too deeply
    frame(RECORDS),                                           # arity
    frame(3, 1, "w", None, []),                               # a direction that is not this one
    frame(99, 1),                                             # a type that is none
    frame(RECORDS, 7),
    frame(GAP, 9, 3, "lost"),
    frame(GAP, "a", "b", "lost"),
    frame(CAUGHT_UP, -1),
    frame(WELCOME, 1, {}),
    frame(SUBSCRIBED, 1, 1, 1, 1),
    frame(RECORDS, b"short"),
    frame(RECORDS, make_record(3, "w-1", b"{}")[:-1]),
    frame(RECORDS, make_record(2, "w-1", b"{}")),             # again
    frame(RECORDS, make_record(3, "w-2", b"{}")),             # another worker's
    frame(RECORDS, make_record(3, "a/b", b"{}")),
    frame(RECORDS, make_record(3, "w-1", b"{}").replace(b"{}", b"{]")),  # checksum
    frame(RECORDS, make_record(3, "w-1", b"{}"))[:30],        # half a frame, then the end
], ids=range(20))
def test_nonsense_from_eventlogd_is_a_lost_connection_and_nothing_passes(log, gate, nonsense):
    good = frame(RECORDS, b"".join(r[2] for r in log.records))
    with gate.observe("w-1") as other:
        assert numbers(other.events(2)) == [1, 2]  # its connection to the log stands
        log.scripts.append(lambda peer: peer.send_bytes(good + nonsense))
        with gate.observe("w-1") as client:
            assert client.diagnostic("runtime.unavailable")["final"] is False
            log.append("w-1", b'{"n":3}')
            assert numbers(client.all_events()[:2]) == [1, 2]
            wait_until(lambda: numbers(client.all_events()) == [1, 2, 3], "the stream going on")
        assert numbers(other.events(1)) == [3]
    assert gate.get("/v1/runtime")[0] == 200


def test_nonsense_instead_of_an_answer_is_503(log, gate):
    log._answer = lambda peer, message: peer.send_bytes(b"\xff" * 16)
    assert gate.get("/v1/runtime")[:2] == (503, "runtime.unavailable")
    with pytest.raises(ws.Refused) as refused:
        gate.observe("w-1")
    assert refused.value.status == 503


def test_gaps_are_told_in_their_place(log, gate):
    def script(peer):
        peer.send(RECORDS, log.records[0][2])
        peer.send(GAP, 2, 5, "damaged")
        peer.send(RECORDS, make_record(6, "w-1", b'{"n":6}'))
        peer.send(GAP, 7, 7, "lost")
        peer.send(GAP, 8, 9, "pruned")
        peer.send(RECORDS, make_record(10, "w-1", b'{"n":10}'))
        peer.receive()
    log.scripts.append(script)
    with gate.observe("w-1", form=None) as client:
        client.until(lambda f: f["kind"] == "event" and f["envelope"]["payload"]["n"] == 10)
        seen = [f["envelope"]["payload"]["n"] if f["kind"] == "event" else
                (f["diagnostic"]["code"], f["diagnostic"]["from"][-1], f["diagnostic"]["to"][-1])
                for f in client.frames]
        assert seen == [1, ("runtime.corrupt", "2", "5"), 6, ("runtime.corrupt", "7", "7"),
                        ("runtime.pruned", "8", "9"), 10]
        assert not any(f["diagnostic"]["final"] for f in client.frames
                       if f["kind"] == "diagnostic")


def test_overrun_reader_gets_cursor_expired_with_the_oldest(log, gate):
    oldest = cursor(1, 77)

    def script(peer):
        peer.send(ERROR, None, "overrun", "too slow", {"oldest": oldest})
        peer.receive()
    log.scripts.append(script)
    with gate.observe("w-1") as client:
        assert client.diagnostic("runtime.cursor_expired")["oldest"] == oldest
        assert client.closed() == (4410, "runtime.cursor_expired")


@pytest.mark.parametrize("code,expected,close", [
    ("cursor_unknown", "runtime.cursor_unknown", 4409),
    ("cursor_expired", "runtime.cursor_expired", 4410),
    ("worker_not_found", "runtime.worker_not_found", 4404),
])
def test_place_that_is_gone_after_a_restart_ends_the_session(log, gate, code, expected, close):
    with gate.observe("w-1") as client:
        client.until_caught_up()
        log.stop()
        client.diagnostic("runtime.unavailable")
        log.refusals.append((code, {"oldest": cursor(1, 0)}))
        log.start()
        assert client.closed() == (close, expected)


@pytest.mark.parametrize("code", ["shutting_down", "unavailable", "protocol_error", "new_code"])
def test_other_errors_are_a_lost_connection(log, gate, code):
    log.scripts.append(lambda peer: peer.send(ERROR, None, code, "for a test", None))
    with gate.observe("w-1") as client:
        client.diagnostic("runtime.unavailable")
        assert numbers(client.events(2)) == [1, 2]


def test_session_is_given_up_in_the_end(bin_dir, log):
    with Wsgate(bin_dir, log.path, {"limits": {"give_up": "300ms"}}) as gate:
        with gate.observe("w-1") as client:
            client.until_caught_up()
            log.stop()
            assert client.diagnostic("runtime.unavailable")["final"] is False
            assert client.diagnostic("runtime.unavailable")["final"] is True
            assert client.closed() == (1013, "runtime.unavailable")


def test_sessions_end_in_order_while_eventlogd_is_away(bin_dir, log):
    gate = Wsgate(bin_dir, log.path).start()
    with gate.observe("w-1") as client:
        client.until_caught_up()
        log.stop()
        client.diagnostic("runtime.unavailable")
        gate.stop()
        assert client.closed() == (1001, "runtime.going_away")


def test_peer_that_does_not_read_holds_eventlogd_back(log, gate):
    """Flow control end to end: what the peer does not take is not taken from eventlogd."""
    total, payload = 2000, b'{"pad":"' + b"x" * 60000 + b'"}'
    sent = []

    def script(peer):
        for sequence in range(3, 3 + total):
            peer.send(RECORDS, make_record(sequence, "w-1", payload))
            sent.append(sequence)
        peer.receive()

    def is_held_back():
        before = len(sent)
        return not held.wait(0.5) and 0 < len(sent) == before
    log.scripts.append(script)
    held = threading.Event()  # never set: a wait that only takes time
    with gate.observe("w-1", reads=False) as client:
        wait_until(is_held_back, "eventlogd being held back", 60)
        assert len(sent) * len(payload) < 30 << 20
        client.resume()
        assert len(client.events(total, 60)) == len(sent) == total


def test_frames_cut_anywhere_make_no_difference(log, gate):
    raw = frame(RECORDS, b"".join(r[2] for r in log.records)) + frame(CAUGHT_UP, 2)

    def script(peer):
        for byte in raw:
            peer.send_bytes(bytes([byte]))
        peer.receive()
    log.scripts.append(script)
    with gate.observe("w-1") as client:
        assert numbers(client.until_caught_up()) == [1, 2]
