"""publish.sock: replies, refusals, numbers, ownership, what a restart keeps."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from eventlogd import Eventlogd
from frames import ACK, HELLO, NACK, POSITION_REPLY, Publisher

MAX_EVENT_BYTES = 64 * 1024


@pytest.fixture(scope="module")
def server(bin_dir):
    with Eventlogd(bin_dir, {"max_event_bytes": MAX_EVENT_BYTES}) as running:
        yield running


def event(text="x"):
    return json.dumps({"event": "note", "data": {"text": text}}).encode()


def test_welcome_tells_log_and_limits(server):
    with server.publisher() as p:
        assert len(p.welcome["log_id"]) == 32
        assert p.welcome["epoch"] >= 1
        assert p.welcome["durability"] == "interval"
        limits = p.welcome["limits"]
        assert limits["max_event_bytes"] == MAX_EVENT_BYTES
        assert limits["max_frame_bytes"] == 2 * MAX_EVENT_BYTES + 65536
        assert limits["max_batch_events"] == 4096


def test_payload_bytes_and_times_arrive_as_published(server):
    payloads = [b'{"event":"note" , "n":1.10}', b'{ "type":"\\u0061b"}', '{"ü":"\U0001f642"}'.encode(),
                b'{"event":"snapshot"}', b'{"event":1,"type":"t"}']
    with server.publisher() as p, server.reader() as r:
        first, last = p.acked("bytes", payloads, ts_ns=-7)
        assert last - first == len(payloads) - 1
        r.subscribe(["oldest"], ["bytes"], follow=False)
        records = r.until_caught_up(verify=True)
    assert [x.payload for x in records] == payloads
    assert [x.kind for x in records] == ["note", "ab", "", "snapshot", "t"]
    assert [x.flags & 1 for x in records] == [0, 0, 0, 1, 0]
    assert {x.source_time_ns for x in records} == {-7}
    assert {x.owner for x in records} == {os.getuid()}


def test_text_payload_is_as_good_as_binary(server):
    with server.publisher() as p:
        assert p.acked("str", ['{"a":1}'])[0] is not None


@pytest.mark.parametrize("payload, code", [
    (b"", "invalid_json"), (b"{", "invalid_json"), (b'{"a":}', "invalid_json"),
    (b'{"a":"\xff"}', "invalid_json"), (b'\xef\xbb\xbf{}', "invalid_json"),
    (b'{"a":"\\ud800"}', "invalid_json"), (b'{} x', "invalid_json"),
    (b'{"a":' + b"[" * 128 + b"]" * 128 + b"}", "invalid_json"),
    (b"[]", "not_an_object"), (b'"text"', "not_an_object"), (b"null", "not_an_object"),
    (b'{"a":"' + b"x" * MAX_EVENT_BYTES + b'"}', "event_too_large"),
])
def test_one_bad_event_refuses_the_whole_batch(server, payload, code):
    with server.publisher() as p:
        before = p.acked("whole", [event()])[1]
        assert p.nacked("whole", [event(), payload, b"{"]) == (code, 1)
        assert p.acked("whole", [event()])[0] == before + 1


@pytest.mark.parametrize("worker", ["", "a/b", "x" * 129, "x" * 200, "a b", "ü", "a\n", ".", ".."])
def test_worker_id_that_cannot_be_is_refused(server, worker):
    with server.publisher() as p:
        assert p.nacked(worker, [event()]) == ("worker_id_invalid", None)
        for good in ("x" * 128, "...", ".x"):
            assert p.acked(good, [event()])[0] is not None


def test_batch_over_the_limit_is_refused(server):
    with server.publisher() as p:
        assert p.nacked("large", [b"{}"] * 4097) == ("batch_too_large", None)
        assert p.publish("large", [b"{}"] * 4096)[0] == ACK


def test_empty_batch_is_acknowledged_with_nothing(server):
    with server.publisher() as p:
        assert p.publish("none", [])[2:5] == [None, None, 0]


def test_numbers_are_stored_once(server):
    with server.publisher("numbers") as p:
        assert p.position("numbered") is None
        first, last = p.acked("numbered", [event("1"), event("2")], producer_seq=1)
        reply = p.publish("numbered", [event("2"), event("3")], producer_seq=2)
        assert reply[0] == ACK and reply[2:5] == [last + 1, last + 1, 1]
        reply = p.publish("numbered", [event("1"), event("2"), event("3")], producer_seq=1)
        assert reply[0] == ACK and reply[2:5] == [None, None, 3]
        assert p.nacked("numbered", [event("5")], producer_seq=5) == ("producer_gap", None)
        assert p.publish("numbered", [None, event("5")], producer_seq=4)[0] == ACK
        assert p.position("numbered") == 5
        assert p.position("nobody") is None
    with server.publisher("another") as p:
        assert p.position("numbered") is None
        assert p.acked("numbered", [event("other")], producer_seq=1)[0] is not None
    with server.reader() as r:
        r.subscribe(["oldest"], ["numbered"], follow=False)
        texts = [json.loads(x.payload)["data"]["text"] for x in r.until_caught_up()]
    assert texts == ["1", "2", "3", "5", "other"]


def test_without_a_producer_id_nothing_is_skipped(server):
    with server.publisher("") as p:
        for _ in range(2):
            assert p.acked("unnamed", [event()], producer_seq=1)[0] is not None
        assert p.position("unnamed") is None


def test_pipelined_replies_come_in_order_and_a_refusal_stops_what_is_behind(server):
    with server.publisher("pipeline") as p:
        requests = [p.send_publish("piped", [event()], 1), p.send_publish("piped", [b"{"], 2),
                    p.send_publish("piped", [event()], 3), p.send_publish("other", [event()], 1)]
        p.send(6, p.next_request_id(), "piped")
        requests.append(p.request_id)
        replies = [p.receive() for _ in requests]
    assert [x[1] for x in replies] == requests
    assert [x[0] for x in replies] == [ACK, NACK, NACK, ACK, POSITION_REPLY]
    assert replies[1][2] == "invalid_json" and replies[2][2] == "producer_gap"
    assert replies[4][2] == 1


def test_publisher_that_reads_no_replies_is_no_longer_read(server):
    with server.publisher() as slow, server.publisher() as quick:
        slow.socket.setblocking(False)
        sent = b"".join(slow_frames(5000))
        taken = 0
        grown = server.private_bytes()
        with pytest.raises(BlockingIOError):
            while taken < 64 * len(sent):
                taken += slow.socket.send(sent[taken % len(sent):])
        assert quick.publish("quick", [event()])[0] == ACK
        assert server.private_bytes() - grown < 32 << 20


def slow_frames(count):
    from frames import PUBLISH, frame
    return [frame(PUBLISH, n, "slow", None, [[None, b"{}"]]) for n in range(1, count + 1)]


def publish_as(server, uid, worker, producer="tests"):
    """The reply to one PUBLISH from a process of that user."""
    program = (
        "import os,sys,json; os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]));"
        "from frames import Publisher;"
        "print(json.dumps(Publisher(sys.argv[2], sys.argv[4]).publish(sys.argv[3], [b'{}'])))")
    out = subprocess.run([sys.executable, "-c", program, str(uid), server.publish_socket, worker,
                          producer], check=True, stdout=subprocess.PIPE, timeout=20)
    return json.loads(out.stdout)


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root to be two users")


@needs_root
def test_worker_id_belongs_to_who_used_it_first_and_root_is_exempt(server):
    assert publish_as(server, 65534, "owned")[0] == ACK
    assert publish_as(server, 65533, "owned")[:3:2] == [NACK, "worker_id_denied"]
    assert publish_as(server, 0, "owned")[0] == ACK
    assert publish_as(server, 65534, "owned")[0] == ACK
    assert publish_as(server, 0, "roots")[0] == ACK
    assert publish_as(server, 65534, "roots")[:3:2] == [NACK, "worker_id_denied"]


@needs_root
def test_configured_publishers_decide_and_ownership_survives_a_restart(bin_dir):
    config = {"publishers": [{"worker": "build-*", "user": 65533}]}
    with Eventlogd(bin_dir, config) as server:
        assert publish_as(server, 65534, "build-1")[2] == "worker_id_denied"
        assert publish_as(server, 65533, "build-1")[0] == ACK
        assert publish_as(server, 65534, "kept")[0] == ACK
        server.restart()
        assert publish_as(server, 65533, "kept")[2] == "worker_id_denied"
        server.kill()
        server.start()
        assert publish_as(server, 65533, "kept")[2] == "worker_id_denied"
        assert publish_as(server, 65534, "kept")[0] == ACK


@needs_root
def test_producers_of_two_users_are_two_producers(bin_dir):
    with Eventlogd(bin_dir, {"publishers": [{"worker": "*", "user": 65533},
                                            {"worker": "*", "user": 65534}]}) as server:
        assert publish_as(server, 65533, "w", "same")[0] == ACK
        assert publish_as(server, 65534, "w", "same")[2:5] != [None, None, 1]


@needs_root
def test_quotas_of_a_user(bin_dir):
    with Eventlogd(bin_dir, {"quotas": {"workers": 2}}) as server:
        assert publish_as(server, 65534, "one")[0] == ACK
        assert publish_as(server, 65534, "two")[0] == ACK
        assert publish_as(server, 65534, "three")[2] == "quota_exceeded"
        assert publish_as(server, 65534, "two")[0] == ACK
        assert publish_as(server, 0, "three")[0] == ACK


@pytest.mark.parametrize("kill", [False, True])
def test_restart_keeps_positions_and_sequences(bin_dir, kill):
    with Eventlogd(bin_dir) as server:
        with server.publisher("p") as p:
            first, last = p.acked("w", [event(str(n)) for n in range(100)], producer_seq=1)
            epoch = p.welcome["epoch"]
        server.kill() if kill else server.stop()
        server.start()
        with server.publisher("p") as p:
            assert p.welcome["epoch"] == epoch + (1 if kill else 0)
            assert p.publish("w", [event("again")] * 100, 1)[2:5] == [None, None, 100]
            assert p.position("w") == 100
            assert p.acked("w", [event()], producer_seq=101) == (last + 1, last + 1)


def test_stop_finishes_what_is_staged_and_says_so(bin_dir):
    with Eventlogd(bin_dir) as server:
        p = server.publisher("p")
        for n in range(200):
            p.send_publish("w", [event(str(n))], n + 1)
        first = p.receive()
        assert first[0] == ACK
        server.stop()
        replies = [first]
        while replies[-1][0] in (ACK, NACK):
            replies.append(p.receive())
        assert replies[-1][0] == 15 and replies[-1][2] == "shutting_down"
        p.expect_closed()
        acked = sum(1 for x in replies if x[0] == ACK)
        server.start()
        with server.publisher("p") as again:
            assert again.position("w") == acked


def test_durable_mode_acknowledges_synced(bin_dir):
    with Eventlogd(bin_dir, {"durability": "durable"}) as server, server.publisher() as p:
        assert p.welcome["durability"] == "durable"
        assert p.publish("w", [event()])[5] == "synced"


def test_a_second_hello_and_no_hello_break_the_protocol(server):
    with server.publisher() as p:
        p.send(HELLO, 1, "again")
        p.expect_error("protocol_error")
        p.expect_closed()
    with Publisher(server.publish_socket, hello=False) as p:
        p.send(3, 1, "w", None, [[None, b"{}"]])
        p.expect_error("protocol_error")
        p.expect_closed()
    with Publisher(server.publish_socket, hello=False) as p:
        p.send(HELLO, 2, "from the future")
        p.expect_error("protocol_error")
        p.expect_closed()


def test_failed_sync_makes_the_log_read_only_and_loses_nothing_acknowledged(bin_dir):
    if shutil.which("strace") is None:
        pytest.skip("needs strace to make fdatasync fail")
    # Small segments: a start makes ahead, and syncs, no more than one of them.
    server = Eventlogd(bin_dir, {"durability": "durable", "segment_bytes": "256KiB",
                                 "max_event_bytes": "64KiB"})
    server.start(prefix=["strace", "-D", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e",
                         "inject=fdatasync:error=EIO:when=20+"])
    with server:
        p, acked, reply = server.publisher(), 0, [ACK]
        try:
            while reply[0] == ACK:
                reply = p.publish("w", [event(str(acked))])
                acked += reply[0] == ACK
                assert acked < 100
        except AssertionError as refused:
            assert "unavailable" in str(refused)
        with server.publisher() as other:
            assert other.nacked("w", [event()])[0] == "read_only"
        with server.reader() as r:
            assert r.status()["read_only"] is True
            r.subscribe(["oldest"], follow=False)
            assert len(r.until_caught_up()) == acked > 0
        server.stop(expected=1)
        server.start()
        with server.reader() as r:
            r.subscribe(["oldest"], follow=False)
            assert len(r.until_caught_up()) >= acked
