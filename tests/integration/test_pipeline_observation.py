"""What a client sends ends its session and nothing else; a plain client sees two kinds only."""

import itertools
import json
import os

import pytest

from codes import check_last_word, items_of
from pipeline import Pipeline
from raw_ws import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawClient, frame

EVENTS = 50
STEP = 40
LARGE_BYTES = 300_000
WORKER = "w"
SENT = "what-a-client-sends"


def numbered(i):
    return json.dumps({"event": "tick" if i else "snapshot", "data": {"n": i}}).encode()


@pytest.fixture(scope="module")
def pipeline(bin_dir):
    overrides = {"backend-relay": {"bookmark_interval": "100ms"}}
    with Pipeline(bin_dir, overrides) as pipeline:
        pipeline.publish(WORKER, map(numbered, range(EVENTS)))
        yield pipeline


# The forms of a session: who answers, and what was asked for.
FORMS = {
    "relay": ("backend", "sightline.v1"),
    "relay plain": ("backend", None),
    "runtime": ("runtime", "sightline.v1"),
    "runtime plain": ("runtime", None),
    "runtime msgpack": ("runtime", "sightline.v1.msgpack"),
}


def observe(pipeline, form):
    side, subprotocol = FORMS[form]
    if side == "backend":
        return pipeline.observe(WORKER, plain=subprotocol is None)
    return pipeline.observe_runtime(f"/v1/workers/{WORKER}/events/ws",
                                    plain=subprotocol is None, subprotocol=subprotocol)


def raw(pipeline, form, **options):
    side, subprotocol = FORMS[form]
    url, token = (pipeline.client_url(WORKER), pipeline.info["tokens"]["operator"]) \
        if side == "backend" else \
        (pipeline.info["runtime_url"] + f"/v1/workers/{WORKER}/events/ws",
         pipeline.info["runtime_token"])
    return RawClient(url, token=token, subprotocol=subprotocol, **options)


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


@pytest.fixture(autouse=True)
def neighbours(pipeline):
    """Others watch the same stream meanwhile: nothing of a test may reach them."""
    with pipeline.observe(WORKER) as client, pipeline.observe(WORKER, plain=True) as plain:
        client.until_caught_up()
        plain.events(1)
        yield
        line = json.dumps({"event": "after", "data": {"of": os.urandom(4).hex()}}).encode()
        pipeline.publish(WORKER, [line])
        for neighbour in (client, plain):
            while neighbour.events(1)[0].payload_bytes != line:
                pass
            assert not any(SENT in message for message in neighbour.raw)
            assert not any(f["kind"] == "diagnostic" and f["diagnostic"]["final"]
                           for f in neighbour.frames)


MESSAGES = {
    "text": SENT,
    "empty text": "",
    "binary": b"\x00\x01",
    "empty binary": b"",
    "an event": json.dumps({"kind": "event", "envelope": {"payload": {"event": SENT}}}),
    "a command": json.dumps({"op": "input", "text": SENT}),
    "large": SENT + "x" * LARGE_BYTES,
    "fragmented text": [SENT, "b", "c"],
    "fragmented binary": [b"a", b"b"],
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_ends_the_session_with_1008(pipeline, form, name):
    with observe(pipeline, form) as client:
        client.frame()
        client.send(MESSAGES[name])
        close_code, _ = client.closed()
        check_last_word(items_of(client), close_code, FORMS[form][0] + ".observation_only")


def test_the_beginning_of_a_message_is_enough(pipeline, form):
    """Nothing is gained by a fragment that never ends, or by a frame that never comes whole."""
    code = (FORMS[form][0] + ".observation_only").encode()
    for first in (frame(b"begin", TEXT, fin=False), frame(b"begin", BINARY, fin=False),
                  frame(b"x" * 70000, TEXT, fin=False)):
        with raw(pipeline, form) as client:
            client.send(first)
            frames = client.until_closed()
        assert frames[-1][0] == CLOSE and frames[-1][1][:2] == (1008).to_bytes(2, "big")
        assert code in frames[-2][1]


def test_a_message_while_the_stream_is_busy_ends_it_all_the_same(pipeline, form):
    """Behind events that were under way already there is the last word, then nothing."""
    with observe(pipeline, form) as client, pipeline.publisher("busy." + form.replace(" ", "-")):
        client.frame()
        client.send("now")
        close_code, _ = client.closed()
        items = items_of(client)
        check_last_word(items, close_code, FORMS[form][0] + ".observation_only")
        assert sum(item["kind"] == "diagnostic" for item in items) == 1


def test_control_frames_are_no_data(pipeline, form):
    with raw(pipeline, form) as client:
        for sent, answer in ((frame(b"p", PING), b"p"), (frame(b"x" * 125, PING), b"x" * 125),
                             (frame(b"", PING), b""), (frame(b"unasked", PONG), None),
                             (frame(b"last", PING), b"last")):
            client.send(sent)
            while answer is not None:
                opcode, data = client.receive()
                assert opcode != CLOSE and b"observation_only" not in data
                if opcode == PONG and data == answer:
                    break
        client.send(frame((1000).to_bytes(2, "big") + b"bye", CLOSE))
        opcode, data = client.until_closed()[-1]
        assert opcode == CLOSE and data[:2] == (1000).to_bytes(2, "big")


VIOLATIONS = {
    "unmasked": frame(b"x", mask=None),
    "reserved bit": frame(b"x", rsv=4),
    "reserved opcode": frame(b"x", opcode=3),
    "reserved control opcode": frame(b"x", opcode=11),
    "long ping": frame(b"x" * 126, PING),
    "fragmented ping": frame(b"x", PING, fin=False),
    "continuation of nothing": frame(b"x", CONTINUATION),
    "message of 2^63 bytes": frame(b"x", length=1 << 63),
    "message of 2^62 bytes": frame(b"x", length=1 << 62),
    "close of one byte": frame(b"\x03", CLOSE),
    "close with a code that may not be sent": frame((1005).to_bytes(2, "big"), CLOSE),
    "invalid UTF-8": frame(b"\xff\xfe", TEXT),
    "not WebSocket at all": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10,
    "random": os.urandom(5000),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_broken_frame_ends_that_connection_only(pipeline, form, name):
    with raw(pipeline, form) as client:
        client.send(VIOLATIONS[name])
        client.end()
        for opcode, _ in client.until_closed():
            assert opcode in (TEXT, BINARY, CLOSE, PING, PONG)


def test_half_a_frame_and_gone(pipeline, form):
    whole = frame(b"x" * 200)
    for cut in (1, 2, 5, 100):
        with raw(pipeline, form) as client:
            client.send(whole[:cut])


def test_bytes_behind_the_request_are_data_as_well(pipeline, form):
    """A frame that comes in one piece with the upgrade, before the 101."""
    with raw(pipeline, form, behind=frame(SENT.encode())) as client:
        frames = client.until_closed()
    assert frames[-1][0] == CLOSE and frames[-1][1][:2] == (1008).to_bytes(2, "big")
    assert b".observation_only" in frames[-2][1]


def test_nothing_that_a_client_sent_is_anywhere(pipeline):
    """Not in the log, and in no process's output."""
    with observe(pipeline, "relay") as client:
        client.send(SENT)
        client.closed()
    files = [path for path in pipeline.dir.rglob("*") if path.is_file()]
    assert any(path.suffix == ".seg" for path in files)
    assert not [path for path in files if SENT.encode() in path.read_bytes()]


def test_plain_clients_see_two_kinds_through_a_whole_session_with_restarts(pipeline):
    """Bookmarks are due every 100 ms, and sightline.v1 gets them meanwhile."""
    more = map(numbered, itertools.count(1))
    with pipeline.observe(WORKER, plain=True) as plain, pipeline.observe(WORKER) as client:
        plain.events(len(client.until_caught_up()))
        for name in ("projection", "wsgate", "eventlogd", "projection"):
            for _ in range(2):
                pipeline.publish(WORKER, itertools.islice(more, STEP))
                pipeline.restart(name)
            plain.events(2 * STEP)
        client.until(lambda f: f["kind"] == "bookmark")
        assert plain.subprotocol is None
        assert {f["kind"] for f in plain.frames} <= {"event", "diagnostic"}
        assert {frozenset(f) for f in plain.frames} <= \
            {frozenset(("kind", "envelope")), frozenset(("kind", "diagnostic"))}
        assert not any(f["diagnostic"]["final"] for f in plain.frames
                       if f["kind"] == "diagnostic")
        assert all(isinstance(message, str) for message in plain.raw)


def test_a_plain_reader_of_the_runtime_sees_two_kinds_only(pipeline):
    paths = (f"/v1/workers/{WORKER}/events/ws", "/v1/events/ws?from=oldest")
    for path in paths:
        with pipeline.observe_runtime(path, plain=True) as client:
            client.events(1)
            pipeline.publish(WORKER, [numbered(1)])
            client.until(lambda f: f["kind"] == "event" and
                         f["envelope"]["payload"] == json.loads(numbered(1)))
            assert {f["kind"] for f in client.frames} <= {"event", "diagnostic"}
