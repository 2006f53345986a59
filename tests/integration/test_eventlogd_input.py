"""Garbage on both sockets: it ends the connection that sent it, after an ERROR, and harms no other."""

import array
import os
import random
import socket
import struct

import msgpack
import pytest

from eventlogd import Eventlogd
from frames import (ACK, CAUGHT_UP, ERROR, HELLO, PUBLISH, STATUS, SUBSCRIBE, Closed, Connection,
                    frame)

SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))


@pytest.fixture(scope="module")
def server(bin_dir):
    with Eventlogd(bin_dir) as running:
        yield running


@pytest.fixture(autouse=True)
def peers(server):
    """A publisher and a reader that go on undisturbed while a test does its worst."""
    with server.publisher("good") as p, server.reader() as r:
        r.subscribe(["newest"])
        assert r.receive()[0] == CAUGHT_UP
        yield
        assert p.publish("good", [b'{"event":"alive"}'])[0] == ACK
        while r.records(1)[-1].kind != "alive":
            pass


@pytest.fixture(params=["publish", "tail"])
def path(server, request):
    return server.publish_socket if request.param == "publish" else server.tail_socket


def raw(body):
    return struct.pack("<I", len(body)) + body


def expect_refused(c):
    message = c.receive()
    assert message[0] == ERROR and message[2] == "protocol_error", message
    c.expect_closed()


BOMBS = {
    "nested arrays": b"\x91" * 100000 + b"\xc0",
    "nested maps": b"\x81\xa1a" * 50000 + b"\xc0",
    "array of 4 Gi": b"\xdd\xff\xff\xff\xff",
    "map of 4 Gi": b"\xdf\xff\xff\xff\xff",
    "string of 4 GiB": b"\xdb\xff\xff\xff\xff" + b"x" * 10,
    "many elements": b"\xdd\x00\x08\x00\x00" + b"\xc0" * (1 << 19),
    "extension": b"\x92\x03\xc7\x01\x01x",
    "never used": b"\xc1",
    "two values": b"\x92\x14\x01\xc0",
    "cut off": b"\x94\x03\x01",
    "not an array": b"\x03",
    "empty array": b"\x90",
    "type is a text": msgpack.packb(["3", 1]),
    "unknown type": msgpack.packb([99]),
    "type of 2**63": msgpack.packb([1 << 63]),
    "wrong direction": msgpack.packb([ACK, 1, 1, 1, 0, "written"]),
    "wrong arity": msgpack.packb([HELLO, 1]),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("greeted", [True, False])
def test_malformed_message_is_refused(server, path, name, greeted):
    before = server.private_bytes()
    with Connection(path, hello=greeted) as c:
        c.send_bytes(raw(BOMBS[name]))
        expect_refused(c)
    assert server.private_bytes() - before < 64 << 20


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 0x80000000, 64 << 20])
def test_frame_of_an_impossible_length_is_refused_at_once(server, path, length):
    before = server.private_bytes()
    with Connection(path) as c:
        c.send_bytes(struct.pack("<I", length))
        expect_refused(c)
    assert server.private_bytes() - before < 16 << 20


def test_half_a_frame_and_gone(server, path):
    for cut in (1, 3, 4, 5, 100):
        with Connection(path) as c:
            c.send_bytes((struct.pack("<I", 1000) + b"\x94" * 1000)[:cut])


def test_half_a_frame_that_stays_holds_nobody_up(server, path):
    c = Connection(path)
    c.send_bytes(struct.pack("<I", 1000) + b"\x94")
    with server.publisher() as p:
        assert p.publish("other", [b"{}"])[0] == ACK
    c.close()


def test_publisher_that_sends_byte_by_byte_is_served_in_the_end(server):
    with server.publisher() as slow, server.publisher() as quick:
        for byte in frame(PUBLISH, 1, "slow", None, [[None, b'{"event":"drop"}']]):
            slow.send_bytes(bytes([byte]))
            assert quick.publish("quick", [b"{}"])[0] == ACK
        assert slow.receive()[:2] == [ACK, 1]


def test_good_frames_before_a_bad_one_are_kept(server):
    with server.publisher("kept") as p:
        p.send_bytes(frame(PUBLISH, 1, "kept", 1, [[None, b"{}"]]) + raw(b"\xc1"))
        message = p.receive()
        while message[0] == ACK:
            message = p.receive()
        assert message[0] == ERROR and message[2] == "protocol_error"
        p.expect_closed()
    with server.publisher("kept") as p:
        assert p.position("kept") == 1


def test_random_bytes(server, path):
    rng = random.Random(SEED)
    print(f"SEED={SEED}")
    for _ in range(200):
        with Connection(path, hello=rng.random() < 0.5) as c:
            try:
                c.send_bytes(rng.randbytes(rng.choice((1, 4, 7, 64, 4096))))
                if rng.random() < 0.5:
                    c.send_bytes(raw(rng.randbytes(rng.randrange(1, 200))))
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has been closed already


def test_mutated_good_frames(server, path):
    rng = random.Random(SEED)
    print(f"SEED={SEED}")
    good = [frame(PUBLISH, 1, "mutant", 1, [[None, b'{"a":1}'], [5, None]]),
            frame(SUBSCRIBE, 1, ["good"], ["oldest"], False), frame(STATUS, 1), frame(HELLO, 1, "x"),
            frame(6, 1, "mutant"), frame(22, 1, None, 5)]
    for _ in range(300):
        data = bytearray(rng.choice(good))
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(4, len(data))] = rng.randrange(256)
        with Connection(path) as c:
            try:
                c.send_bytes(bytes(data))
                c.send_bytes(raw(b"\x90"))  # ends it for certain
                while True:
                    c.receive()
            except (Closed, BrokenPipeError):
                pass


def test_passed_descriptor_is_refused(server, path):
    with Connection(path) as c, open("/dev/null", "rb") as null:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null.fileno()]))]
        c.socket.sendmsg([frame(STATUS, 1)], rights)
        expect_refused(c)


def test_many_connections_that_say_nothing_hold_nobody_up(server, path):
    idle = [Connection(path, hello=False) for _ in range(200)]
    with server.publisher() as p:
        assert p.publish("other", [b"{}"])[0] == ACK
    for c in idle:
        c.close()


@pytest.mark.parametrize("field", range(4))
def test_publish_fields_of_the_wrong_type(server, field):
    for wrong in ({"a": 1}, [1], "x" * 10, -1, True, None):
        good = [1, "w", 1, [[None, b"{}"]]]
        if wrong is None and field == 2 or isinstance(wrong, str) and field == 1:
            continue
        good[field] = wrong
        with Connection(server.publish_socket) as c:
            c.send(PUBLISH, *good)
            expect_refused(c)


def test_frame_at_the_limit_is_taken(server):
    limit = 2 * (8 << 20) + 65536
    with server.publisher() as p:
        event = b'{"a":"' + b"x" * ((8 << 20) - 8) + b'"}'
        assert len(event) == 8 << 20
        assert p.publish("large", [event])[0] == ACK
        assert p.nacked("large", [event + b" "]) == ("event_too_large", 0)
        overhead = len(frame(PUBLISH, 4, "large", None, [[None, b"x" * 70000]])) - 4 - 70000 + 2
        p.send_publish("large", [b" " * (limit - overhead)])
        assert p.receive()[2] == "event_too_large"
        p.send_bytes(struct.pack("<I", limit + 1))
        expect_refused(p)
