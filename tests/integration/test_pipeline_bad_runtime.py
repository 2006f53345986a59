"""Runtimes that misbehave, as clients of a relay see it that serves a good one as well."""

import json

import msgpack
import pytest

import rogue_runtime as rogue
from codes import FINAL, check_last_word, items_of
from pipeline import Pipeline
from raw_ws import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame
from rogue_runtime import RogueRuntime, answers, batch, event, hello, says, streams
from ws import Refused

GOOD = "good"
FLOOD_PIECE = b"\x00" * (1 << 20)
FLOOD_PIECES = 40


def server_frame(*arguments, **options):
    return frame(*arguments, mask=None, **options)


def raw_batch(data):
    return server_frame(data, BINARY)


def floods(connection, head):
    """Fragments of one message without end, as long as they are taken."""
    connection.sendall(rogue.upgrade(head) + batch(hello()))
    connection.sendall(server_frame(FLOOD_PIECE, BINARY, fin=False))
    for _ in range(FLOOD_PIECES):
        connection.sendall(server_frame(FLOOD_PIECE, CONTINUATION, fin=False))
    rogue.hold(connection)


def pours(connection, head):
    """One frame that would be 2^40 bytes long."""
    connection.sendall(rogue.upgrade(head) + batch(hello()))
    connection.sendall(server_frame(b"", BINARY, length=1 << 40))
    for _ in range(FLOOD_PIECES):
        connection.sendall(FLOOD_PIECE)
    rogue.hold(connection)


def closes(connection):
    connection.close()


def envelope(**members):
    item = event(1)
    item["envelope"].update(members)
    return item


def without(name):
    item = event(1)
    del item["envelope"][name]
    return item


TRAP = RogueRuntime()
UNAVAILABLE = ("runtime_unavailable",)
LOST = ("upstream_disconnect", "runtime_unavailable")
BROKEN = ("malformed_frame", *LOST)

# Never connected: refused at once. What a viewer may be told for each.
BEFORE_THE_UPGRADE = {
    **{str(status): (answers(status, Location=f"http://{TRAP.address}/v1/", Connection="close"),
                     ("runtime_unsupported",)) for status in (300, 301, 302, 303, 307, 308)},
    "redirect-ws": (answers(302, Location=f"ws://{TRAP.address}/"), ("runtime_unsupported",)),
    "redirect-here": (answers(302, Location="/v1/other"), ("runtime_unsupported",)),
    "401": (answers(401), ("runtime_auth_failed",)),
    "403": (answers(403), ("runtime_auth_failed",)),
    "407": (answers(407, Proxy_Authenticate="Basic"), ("runtime_auth_failed",
                                                       "runtime_unsupported")),
    "404": (answers(404), ("runtime_unsupported",)),
    "405": (answers(405), ("runtime_unsupported",)),
    "501": (answers(501), ("runtime_unsupported",)),
    "404-coded": (answers(404, Sightline_Code="runtime.worker_not_found"), ("worker_not_found",)),
    "500": (answers(500), UNAVAILABLE),
    "502": (answers(502), UNAVAILABLE),
    "503-coded": (answers(503, Sightline_Code="runtime.unavailable"), LOST),
    "silent": (rogue.refuses_nothing, ("runtime_timeout",)),
    "half-a-head": (says(b"HTTP/1.1 101 Switching"), ("runtime_timeout",)),
    "endless-head": (says(b"HTTP/1.1 101 X\r\n" + b"X-Y: " + b"z" * 200000), BROKEN),
    "endless-informing": (says(b"HTTP/1.1 100 Continue\r\n\r\n" * 5000),
                          (*BROKEN, "runtime_timeout", "runtime_unsupported")),
    "nothing": (says(b"", then=closes), BROKEN),
    "garbage": (says(b"\x00\xff" * 500, then=closes), BROKEN),
    "ssh": (says(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", then=closes), BROKEN),
    "wrong-accept": (streams(batch(hello(), event(1)), accept="AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
                     BROKEN),
    "no-subprotocol": (streams(batch(hello(), event(1)), subprotocol=None),
                       (*BROKEN, "runtime_unsupported")),
    "other-subprotocol": (streams(batch(hello(), event(1)), subprotocol="sightline.v9"),
                          (*BROKEN, "runtime_unsupported")),
    "no-hello": (streams(batch(event(1))), ("malformed_frame",)),
    "hello-never": (streams(), ("runtime_timeout",)),
    "closes-after-101": (streams(then=closes), LOST),
    "close-frame-first": (streams(rogue.close(1011)), LOST),
}

# Connected, then broken: told, and tried again.
AFTER_HELLO = {
    "not msgpack": raw_batch(b"\xc1"),
    "empty message": raw_batch(b""),
    "not an array": raw_batch(msgpack.packb({"kind": "event"})),
    "left over": raw_batch(msgpack.packb([hello()]) + b"\x90"),
    "array of 4 Gi": raw_batch(b"\xdd\xff\xff\xff\xff"),
    "map of 4 Gi": raw_batch(b"\x91\xdf\xff\xff\xff\xff"),
    "nested": raw_batch(b"\x91" * 100000),
    "wide": raw_batch(b"\xdd\x00\x04\x00\x00" + b"\xc0" * (1 << 18)),
    "extension": raw_batch(b"\x91\xd6\xff\x00\x00\x00\x00"),
    "items of no kind": raw_batch(msgpack.packb([1, None, "x"])),
    "kind is a number": raw_batch(msgpack.packb([{"kind": 1}])),
    "text message": server_frame(json.dumps(hello()).encode(), TEXT),
    "text that is none": server_frame(b"\xff" * (1 << 20), TEXT),
    "no envelope": batch({"kind": "event"}),
    "envelope is a list": batch({"kind": "event", "envelope": []}),
    **{f"no {name}": batch(without(name))
       for name in ("cursor", "event_id", "worker_id", "payload")},
    "cursor is no cursor": batch(envelope(cursor="wo_x")),
    "cursor of a client": batch(envelope(cursor="bo_" + "A" * 29)),
    "id is not the cursor": batch(envelope(event_id=rogue.cursor(2))),
    "payload is a map": batch(envelope(payload={"event": "x"})),
    "worker is no id": batch(envelope(worker_id="a/b")),
    "another worker": batch(envelope(worker_id="v")),
    "time is a text": batch(envelope(ts_ms="now")),
    "caught up at nothing": batch({"kind": "caught_up"}),
    "diagnostic of nothing": batch({"kind": "diagnostic"}),
    "reserved bits": server_frame(b"\x90", BINARY, rsv=4),
    "reserved opcode": server_frame(b"\x90", 3),
    "continuation of nothing": server_frame(b"\x90", CONTINUATION),
    "long ping": server_frame(b"x" * 126, PING),
    "2^64-1 bytes": server_frame(b"x", BINARY, length=(1 << 64) - 1),
    "2^63 bytes": server_frame(b"x", BINARY, length=1 << 63),
    "HTTP again": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 5,
}
FALLS_SILENT = {
    "closes mid-frame": streams(batch(hello()), batch(event(1))[:20], then=closes),
    "closes in a head": streams(batch(hello()), b"\x82", then=closes),
    "close frame": streams(batch(hello()), rogue.close(1000)),
    "close frame of one byte": streams(batch(hello()), server_frame(b"\x03", CLOSE)),
    "cut": streams(batch(hello()), then=closes),
    "endless message": floods,
    "endless frame": pours,
}
STREAMING = {
    **{name: streams(batch(hello()), chunk) for name, chunk in AFTER_HELLO.items()},
    **FALLS_SILENT,
}


def dribbles(connection, head):
    data = rogue.upgrade(head) + batch(hello()) + \
        batch(*(event(i) for i in range(1, 6)), rogue.caught_up(5))
    for byte in data:
        connection.sendall(bytes([byte]))
    rogue.hold(connection)


# Nothing of which a reader must lose or see anything.
HARMLESS = {
    "byte by byte": dribbles,
    "in fragments": streams(
        batch(hello()), server_frame(b"\x95", BINARY, fin=False),
        *(server_frame(msgpack.packb(event(i)), CONTINUATION, fin=i == 5) for i in range(1, 6)),
        batch(rogue.caught_up(5))),
    "pings between": streams(
        batch(hello()), *(server_frame(b"p", PING) + batch(event(i)) + server_frame(b"", PONG)
                          for i in range(1, 6)), batch(rogue.caught_up(5))),
    "repeated": streams(batch(hello(), *(event(i) for i in (1, 2, 2, 1, 3, 3, 2, 4, 1, 5, 5)),
                              rogue.caught_up(5))),
    "unknown kinds and members": streams(
        batch(hello(), {"kind": "weather", "sunny": True},
              *(event(i, mood=["fine"]) for i in range(1, 6)), rogue.caught_up(5),
              {"kind": "diagnostic", "diagnostic": {"code": "runtime.novel", "message": "",
                                                    "final": False}})),
    "a message each": streams(*(batch(item) for item in (
        hello(), *(event(i) for i in range(1, 6)), rogue.caught_up(5)))),
    "empty batches": streams(batch(hello()), *(batch() + batch(event(i)) for i in range(1, 6)),
                             batch(rogue.caught_up(5)), batch()),
}
PAYLOADS = {  # that no eventlogd would have taken
    "not JSON": b"hello",
    "empty": b"",
    "an array": b"[]",
    "two objects": b"{}{}",
    "breaks out": b'{}}},{"kind":"event"',
    "invalid UTF-8": b'{"a":"\xff"}',
    "a lone surrogate": b'{"a":"\\ud800"}',
    "a NUL": b'{"a":"\x00"}',
    "cut off": b'{"event":"status","data":{',
    "too deep": b'{"a":' + b"[" * 200 + b"]" * 200 + b"}",
}
BEHAVIOURS = {
    **{name: behaviour for name, (behaviour, _) in BEFORE_THE_UPGRADE.items()},
    **{f"s.{i}": b for i, b in enumerate(STREAMING.values())},
    **{f"h.{i}": b for i, b in enumerate(HARMLESS.values())},
    "payloads": streams(batch(hello(), event(1), *(
        event(i, payload=p) for i, p in enumerate(PAYLOADS.values(), 2)), event(100),
        rogue.caught_up(100))),
}


@pytest.fixture(scope="module")
def stage(bin_dir, tmp_path_factory):
    token = tmp_path_factory.mktemp("tokens") / "token"
    token.write_text("a-token\n")
    token.chmod(0o600)
    rogues = {name: RogueRuntime(behaviour) for name, behaviour in BEHAVIOURS.items()}
    overrides = {
        "runtimes": [{"runtime_id": name, "url": r.url, "token_file": str(token)}
                     for name, r in rogues.items()],
        "backend-relay": {"upstream_timeout": "500ms", "upstream_give_up": "1s"}}
    with Pipeline(bin_dir, overrides) as pipeline:
        pipeline.publish(GOOD, [b'{"event":"snapshot","data":{}}'])
        yield pipeline, rogues
    for r in rogues.values():
        r.__exit__()


@pytest.fixture(autouse=True)
def pipeline(stage):
    """Whose own clients notice nothing, and whose relay lives on."""
    pipeline, _ = stage
    pids = dict(pipeline.pids)
    with pipeline.observe(GOOD) as client:
        client.until_caught_up()
        yield pipeline
        pipeline.publish(GOOD, [b'{"event":"still here","data":{}}'])
        assert client.events(1)[0].payload["event"] == "still here"
        assert all(f["kind"] != "diagnostic" for f in client.frames)
    assert pipeline.pids == pids, pipeline.logs()


@pytest.mark.parametrize("name", BEFORE_THE_UPGRADE)
def test_a_runtime_that_was_never_there_ends_the_session_at_once(pipeline, name):
    expected = ["backend." + code for code in BEFORE_THE_UPGRADE[name][1]]
    with pipeline.observe("w", runtime_id=name) as client:
        close_code, _ = client.closed()
        items = items_of(client)
        assert items, close_code
        code = items[-1]["diagnostic"]["code"]
        assert code in expected, items
        before, _ = check_last_word(items, close_code, code)
        assert not any(item["kind"] == "event" for item in before)
    with pytest.raises(Refused) as refused:
        pipeline.observe("w", runtime_id=name, plain=True)
    assert refused.value.code in expected
    assert refused.value.status == (404 if "worker_not_found" in refused.value.code else
                                    501 if FINAL[refused.value.code][0] == "never" else 503)


def test_no_redirect_was_ever_followed():
    assert TRAP.connections == 0 and TRAP.requests == []


@pytest.mark.parametrize("name", STREAMING)
def test_a_runtime_that_breaks_the_stream_is_told_of_and_asked_again(stage, pipeline, name):
    runtime_id = f"s.{list(STREAMING).index(name)}"
    broken = name in AFTER_HELLO or name.startswith("endless")
    with pipeline.observe("w", runtime_id=runtime_id) as client:
        told = client.diagnostic()
        assert told["code"].removeprefix("backend.") in (BROKEN if broken else LOST), told
        assert not told["final"] and not client.all_events()
    rogue_runtime = stage[1][runtime_id]
    assert b"sightline.v1.msgpack" in rogue_runtime.requests[0]


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_only_unusual_costs_nothing(pipeline, name):
    with pipeline.observe("w", runtime_id=f"h.{list(HARMLESS).index(name)}") as client:
        events = client.until_caught_up()
        assert [e.payload_bytes for e in events] == [event(1)["envelope"]["payload"]] * 5
        assert len({e.event_id for e in events}) == 5
        assert all(f["kind"] != "diagnostic" for f in client.frames)


def test_payloads_that_are_no_events_are_withheld_and_the_stream_goes_on(pipeline):
    for role in ("operator", "viewer"):
        with pipeline.observe("w", role=role, runtime_id="payloads") as client:
            events = client.until_caught_up()
            told = [f["diagnostic"] for f in client.frames if f["kind"] == "diagnostic"]
        assert [e.payload_bytes for e in events] == [event(1)["envelope"]["payload"]] * 2
        assert [d["code"] for d in told] == ["backend.event_withheld"] * len(PAYLOADS)
        assert all(not d["final"] and d["cursor"].startswith("bo_") for d in told)
