"""projection over its socket: verdicts, views, several relays at once, and peers that misbehave."""

import array
import contextlib
import json
import os
import pathlib
import select
import socket
import struct

import msgpack
import pytest

from projection import (AUTHORIZE, CLOSE_PASS, ERROR, HELLO, OPEN_PASS, PROJECT, PROJECTED, Client,
                        Closed, Projection)

POLICY = """
version: 1
roles:
  operator:
    observe: [{runtime: "*", worker: "*"}]
    events: {allow: ["*"]}
    commands: {allow: ["*"]}
  viewer:
    observe: [{runtime: "prod-*", worker: "*", except: ["*-private"]}]
    events: {allow: ["*"], deny: ["thinking_*"]}
    commands: {allow: ["input", "stop_*"], deny: ["stop_all"]}
    redact:
      - {in: ["tool_result"], path: "data.output", action: mask}
      - {in: ["*"], path: "**.cwd", action: rewrite_prefix, from: "/srv/agents", to: "/workspace"}
  anonymous:
    observe: [{runtime: "public", worker: "*"}]
    events: {allow: ["status"]}
"""


@contextlib.contextmanager
def running(bin_dir, directory, policy=POLICY, *options):
    projection = Projection(bin_dir, directory, policy, *options)
    try:
        yield projection
    finally:
        code = projection.stop()
    assert code == 0, projection.stderr()


@pytest.fixture
def projection(bin_dir, tmp_path):
    with running(bin_dir, tmp_path) as it:
        yield it


def test_verdicts_follow_the_policy(projection):
    client = projection.client()
    verdict, revision = client.open_pass(1, "viewer")
    assert verdict == "allow" and len(revision) == 16
    answers = client.project(1, [
        b'{"event":"status","data":{}}',
        b'{"event":"thinking_delta","data":{"text":"x"}}',
        b'{"event":"tool_result","data":{"output":"secret","id":1}}',
        b'{"event":"snapshot","data":{"cwd":"/srv/agents/w"}}',
        b'{"event":"status"',
        b'["status"]',
        b'{"event":"status","x":"\xff"}',
    ])
    assert answers == [
        ("pass", None),
        ("deny", None),
        ("rewrite", b'{"event":"tool_result","data":{"output":"[redacted]","id":1}}'),
        ("rewrite", b'{"event":"snapshot","data":{"cwd":"/workspace/w"}}'),
        ("refused", None),
        ("refused", None),
        ("refused", None),
    ]


def test_payload_may_be_text_or_bytes_and_a_batch_may_be_empty(projection):
    client = projection.client()
    client.open_pass(1, "viewer")
    assert client.project(1, ['{"event":"status"}']) == [("pass", None)]
    assert client.project(1, []) == []


def test_warm_events_get_a_verdict_and_no_payload(projection):
    client = projection.client()
    client.open_pass(1, "viewer")
    assert client.project(1, [b'{"event":"tool_result","data":{"output":"s"}}'], warm=True) == [
        ("rewrite", None)]


def test_what_may_be_observed_is_decided_by_names(projection):
    client = projection.client()
    for role, runtime_id, worker_id, expected in [
            ("viewer", "prod-1", "w", "allow"),
            ("viewer", "prod-1", "w-private", "deny"),
            ("viewer", "test-1", "w", "deny"),
            ("operator", "test-1", "w-private", "allow"),
            ("anonymous", "public", "w", "allow"),
            ("anonymous", "prod-1", "w", "deny"),
            ("nobody", "prod-1", "w", "deny"),
            ("*", "prod-1", "w", "deny"),
            ("", "prod-1", "w", "deny"),
            ("viewe?", "prod-1", "w", "deny")]:
        verdict, revision = client.open_pass(1, role, runtime_id, worker_id)
        assert verdict == expected, (role, runtime_id, worker_id)
        assert client.authorize(role, "observe", runtime_id, worker_id) == expected
        if verdict == "allow":
            client.send(CLOSE_PASS, 1)
        else:
            assert revision is None


def test_commands_are_authorized_by_operation(projection):
    client = projection.client()
    for role, operation, expected in [
            ("operator", "anything", "allow"), ("viewer", "input", "allow"),
            ("viewer", "stop_one", "allow"), ("viewer", "stop_all", "deny"),
            ("viewer", "cancel", "deny"), ("anonymous", "input", "deny"),
            ("nobody", "input", "deny")]:
        assert client.authorize(role, operation) == expected, (role, operation)
    assert client.authorize("viewer", "input", worker_id="w-private") == "deny"


def test_revision_is_that_of_the_rules_and_of_the_stream(bin_dir, tmp_path):
    def revision(policy, name, *view):
        directory = tmp_path / name
        directory.mkdir()
        with running(bin_dir, directory, policy) as it:
            return it.client().open_pass(1, *view)[1]

    view = ("viewer", "prod-1", "w")
    first = revision(POLICY, "first", *view)
    assert revision(POLICY, "again", *view) == first
    assert revision(POLICY.replace('"input"', '"inputs"'), "commands", *view) == first
    assert revision(POLICY + "  other: {}\n", "other-role", *view) == first
    assert revision(POLICY.replace("action: mask", "action: remove"), "action", *view) != first
    assert revision(POLICY.replace("thinking_", "thinking"), "kinds", *view) != first
    assert revision(POLICY, "worker", "viewer", "prod-1", "v") != first
    assert revision(POLICY, "role", "operator", "prod-1", "w") != first


def test_answers_come_in_the_order_of_the_requests(projection):
    client = projection.client()
    for pass_id in range(100):
        client.send(OPEN_PASS, pass_id, "viewer", "prod-1", f"w{pass_id}")
        client.send(PROJECT, pass_id, [[pass_id, False, b'{"event":"status"}']])
        client.send(AUTHORIZE, pass_id, "viewer", "prod-1", "w", "input")
    for pass_id in range(100):
        assert client.receive()[:3] == [33, pass_id, "allow"]
        assert client.receive() == [PROJECTED, pass_id, [[pass_id, "pass", None, None]]]
        assert client.receive() == [37, pass_id, "allow"]


def test_a_runtime_as_a_whole_may_be_observed_or_not(projection):
    client = projection.client()
    for role, runtime_id, operation, verdict in (
            ("viewer", "prod-1", "observe", "allow"), ("viewer", "other", "observe", "deny"),
            ("operator", "other", "observe", "allow"), ("nobody", "prod-1", "observe", "deny"),
            ("operator", "prod-1", "input", "deny")):
        client.send(AUTHORIZE, 7, role, runtime_id, None, operation)
        assert client.receive() == [37, 7, verdict], (role, runtime_id, operation)


def test_large_events_and_a_relay_that_reads_late(projection):
    client = projection.client()
    client.open_pass(1, "viewer")
    big = json.dumps({"event": "snapshot", "data": {"cwd": "/srv/agents/w", "x": "y" * 8_000_000}},
                     separators=(",", ":")).encode()
    expected = big.replace(b"/srv/agents/w", b"/workspace/w")
    count = 6
    # The answers wait in projection, which then reads no more: a second connection sends the rest.
    client.socket.setblocking(False)
    frames = b"".join(
        struct.pack("<I", len(body)) + body
        for body in (msgpack.packb([PROJECT, 1, [[i, False, big]]]) for i in range(count)))
    sent, received = 0, b""
    with contextlib.suppress(BlockingIOError):
        sent = client.socket.send(frames)
    other = projection.client()
    assert other.open_pass(1, "operator")[0] == "allow"
    answers = []
    while len(answers) < count:
        readable, writable, _ = select.select(
            [client.socket], [client.socket] if sent < len(frames) else [], [], 20)
        assert readable or writable
        if writable:
            with contextlib.suppress(BlockingIOError):
                sent += client.socket.send(frames[sent:sent + (1 << 20)])
        if readable:
            received += client.socket.recv(1 << 20)
        while len(received) >= 4 and len(received) >= 4 + struct.unpack("<I", received[:4])[0]:
            (length,) = struct.unpack("<I", received[:4])
            answers.append(msgpack.unpackb(received[4:4 + length]))
            received = received[4 + length:]
    assert [answer[2][0][:2] for answer in answers] == [[i, "rewrite"] for i in range(count)]
    assert all(answer[2][0][2] == expected for answer in answers)


MIB = 1 << 20
EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "units" / "policy.example.yaml"
# Payloads that are bad, large or strange, and what a viewer of the example policy gets of them.
STRANGE = {
    "cut off": (b'{"event":"status","data":{"a":', "refused"),
    "a byte order mark": (b'\xef\xbb\xbf{"event":"status"}', "refused"),
    "UTF-16": ('{"event":"status"}'.encode("utf-16"), "refused"),
    "a lone surrogate": (b'{"event":"status","a":"\\ud800"}', "refused"),
    "a lone surrogate in a key": (b'{"event":"status","\\udc00":1}', "refused"),
    "surrogates in the wrong order": (b'{"event":"status","a":"\\udc00\\ud800"}', "refused"),
    "an encoded surrogate": (b'{"event":"status","a":"\xed\xa0\x80"}', "refused"),
    "a NUL": (b'{"event":"status","a":"\0"}', "refused"),
    "two events": (b'{"event":"status"}{"event":"status"}', "refused"),
    "depth 129": (b'{"a":' * 129 + b"1" + b"}" * 129, "refused"),
    "depth 100,000": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "refused"),
    "depth 100,000 of lists": (b'{"event":"status","data":' + b"[" * 100_000, "refused"),
    "longer than any event": (b'{"a":"' + b"x" * 17 * MIB + b'"}', "refused"),
    "depth 128": (b'{"a":' * 128 + b"1" + b"}" * 128, "pass"),
    "NUL escapes": (b'{"event":"st\\u0000atus","\\u0000":"\\u0000","cwd\\u0000":"/srv/agents"}',
                    "pass"),
    "a string of 8 MiB": (b'{"event":"status","data":{"a":"' + b"x" * 8 * MIB + b'"}}', "pass"),
    "a key of 8 MiB": (b'{"event":"status","data":{"' + b"x" * 8 * MIB + b'":1}}', "pass"),
    "8 MiB of escapes": (b'{"event":"status","data":{"a":"' + b"\\u0041" * (8 * MIB // 6) + b'"}}',
                         "pass"),
    "a kind of 8 MiB": (b'{"event":"' + b"x" * 8 * MIB + b'"}', "pass"),
    "100,000 duplicates": (b"{" + b'"a":1,' * 100_000 + b'"event":"status"}', "pass"),
    "100,000 kinds": (b"{" + b'"event":"status",' * 100_000 + b'"data":{}}', "pass"),
    "100,000 kinds, one denied": (
        b"{" + b'"event":"status",' * 100_000 + b'"event":"thinking_x"}', "deny"),
    "100,000 duplicates that are masked": (
        b'{"event":"tool_result","data":{' + b'"output":1,' * 100_000 + b'"id":"\\u0000"}}',
        b'{"event":"tool_result","data":{' + b'"output":"[redacted]",' * 100_000 +
        b'"id":"\\u0000"}}'),
    "100,000 duplicates that are removed": (
        b'{"data":{' + b'"signature":"\\u0000",' * 100_000 + b'"id":1}}', b'{"data":{"id":1}}'),
    "a secret behind a NUL": (b'{"a":"\\u0000AKIAIOSFODNN7EXAMPLE\\u0000"}',
                              b'{"a":"\\u0000AKIA[redacted]\\u0000"}'),
    "an output of 8 MiB": (b'{"event":"tool_result","data":{"output":"' + b"\\n" * 4 * MIB + b'"}}',
                           b'{"event":"tool_result","data":{"output":"[redacted]"}}'),
    "an output longer than the event": (
        b'{"event":"command","data":{"l":[' + b'{"provider":1},' * 550_000 + b"1]}}",
        b'{"event":"command","data":{"l":[' + b'{"provider":"[redacted]"},' * 550_000 + b"1]}}"),
}


@pytest.fixture(scope="module")
def by_example(bin_dir, tmp_path_factory):
    with running(bin_dir, tmp_path_factory.mktemp("example"), EXAMPLE.read_text()) as it:
        yield it.client()


@pytest.mark.parametrize("name", STRANGE)
def test_no_payload_is_too_strange(by_example, name):
    payload, expected = STRANGE[name]
    pass_id = list(STRANGE).index(name) * 2 + 1
    for role, wanted in (("viewer", expected),
                         ("operator", expected if expected == "refused" else "pass")):
        assert by_example.open_pass(pass_id, role)[0] == "allow"
        answers = by_example.project(pass_id, [payload, b'{"event":"status"}'])
        as_wanted = (wanted, None) if isinstance(wanted, str) else ("rewrite", wanted)
        assert answers[0][0] == as_wanted[0] and answers[0][1] == as_wanted[1], name
        assert answers[1] == ("pass", None)
        pass_id += 1


def test_several_relays_have_passes_of_their_own(projection):
    clients = [projection.client() for _ in range(8)]
    for i, client in enumerate(clients):
        role = "operator" if i % 2 else "viewer"
        assert client.open_pass(1, role)[0] == "allow"
    payload = b'{"event":"tool_result","data":{"output":"s"}}'
    for i, client in enumerate(clients):
        assert client.project(1, [payload])[0][0] == ("pass" if i % 2 else "rewrite")


MALFORMED = {
    "not msgpack": b"\xc1",
    "a map": msgpack.packb({"a": 1}),
    "bytes behind": msgpack.packb([CLOSE_PASS, 1]) + b"\x00",
    "unknown type": msgpack.packb([99, 1]),
    "wrong direction": msgpack.packb([PROJECTED, 1, []]),
    "wrong arity": msgpack.packb([OPEN_PASS, 1, "viewer", "prod-1"]),
    "a second HELLO": msgpack.packb([HELLO, 1, "x"]),
    "error": msgpack.packb([ERROR, None, "x", "y", None]),
    "bomb": b"\x92\x22" + b"\x91" * 200 + b"\x00",
    "four GiB of elements": b"\xdd\xff\xff\xff\xff",
    "pass id is text": msgpack.packb([OPEN_PASS, "1", "viewer", "prod-1", "w"]),
    "worker id with a slash": msgpack.packb([OPEN_PASS, 1, "viewer", "prod-1", "a/b"]),
    "worker id with a glob": msgpack.packb([OPEN_PASS, 1, "viewer", "prod-1", "*"]),
    "worker id too long": msgpack.packb([OPEN_PASS, 1, "viewer", "prod-1", "w" * 129]),
    "role is not text": msgpack.packb([OPEN_PASS, 1, b"viewer", "prod-1", "w"]),
    "role too long": msgpack.packb([OPEN_PASS, 1, "r" * 256, "prod-1", "w"]),
    "pass that is open": msgpack.packb([OPEN_PASS, 50, "viewer", "prod-1", "w"]),
    "pass that is not open": msgpack.packb([PROJECT, 51, []]),
    "closing what is not open": msgpack.packb([CLOSE_PASS, 51]),
    "event of two fields": msgpack.packb([PROJECT, 50, [[1, False]]]),
    "event without payload": msgpack.packb([PROJECT, 50, [[1, False, None]]]),
    "warm is a number": msgpack.packb([PROJECT, 50, [[1, 0, b"{}"]]]),
    "events are no list": msgpack.packb([PROJECT, 50, b"{}"]),
    "too many events": msgpack.packb([PROJECT, 50, [[1, False, b"{}"]] * 4097]),
    "operation is empty": msgpack.packb([AUTHORIZE, 1, "viewer", "prod-1", "w", ""]),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_closes_that_relay_only(projection, name):
    other, bad = projection.client(), projection.client()
    assert other.open_pass(1, "viewer")[0] == "allow"
    assert bad.open_pass(50, "viewer")[0] == "allow"
    bad.send_body(MALFORMED[name])
    assert bad.expect_error_and_close()
    assert other.project(1, [b'{"event":"status"}']) == [("pass", None)]


def test_framing_mistakes_close_that_relay_only(projection):
    other = projection.client()
    other.open_pass(1, "viewer")
    for frame in (struct.pack("<I", 0xFFFFFFFF), struct.pack("<I", 0)):
        bad = projection.client()
        bad.socket.sendall(frame)
        assert bad.expect_error_and_close()
    half = projection.client()
    half.socket.sendall(struct.pack("<I", 100) + b"half")
    half.close()
    assert other.project(1, [b'{"event":"status"}']) == [("pass", None)]


def test_hello_comes_first_and_names_the_version(projection):
    early = projection.client(hello=False)
    early.send(OPEN_PASS, 1, "viewer", "prod-1", "w")
    assert "HELLO" in early.expect_error_and_close()
    newer = projection.client(hello=False)
    newer.send(HELLO, 2, "x")
    assert "version" in newer.expect_error_and_close()
    assert projection.client().welcome[0] == 1


def test_a_passed_descriptor_is_refused(projection):
    client, other = projection.client(), projection.client()
    body = msgpack.packb([OPEN_PASS, 1, "viewer", "prod-1", "w"])
    with open(os.devnull, "rb") as null:
        client.socket.sendmsg([struct.pack("<I", len(body)) + body],
                              [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                array.array("i", [null.fileno()]))])
    client.expect_error_and_close()
    assert other.open_pass(1, "viewer")[0] == "allow"


def test_sigterm_answers_what_is_under_way_and_ends_cleanly(bin_dir, tmp_path):
    with running(bin_dir, tmp_path) as projection:
        client = projection.client()
        client.open_pass(1, "viewer")
        assert projection.stop() == 0
        with pytest.raises((Closed, ConnectionResetError)):
            client.receive()
    assert "LeakSanitizer" not in projection.stderr()


def test_a_socket_can_be_inherited_by_name(bin_dir, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    path = str(tmp_path / "inherited.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    pid = os.fork()
    if pid == 0:
        os.dup2(listener.fileno(), 3)
        environment = dict(os.environ, LISTEN_FDS="1", LISTEN_PID=str(os.getpid()),
                           LISTEN_FDNAMES="projection")
        os.execve(str(bin_dir / "projection"),
                  ["projection", "--policy", str(policy)], environment)
    try:
        client = Client(path)
        assert client.open_pass(1, "viewer")[0] == "allow"
    finally:
        os.kill(pid, 15)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
