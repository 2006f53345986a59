"""Bad input around a running pipeline: a typed answer, and nobody else is harmed."""

import json
import os
import struct
import urllib.error
import urllib.request

import pytest

import frames
from codes import check_refused, refusal
from pipeline import Pipeline, read_lines
from raw_ws import RawClient

EVENT_BYTES_MAX = 16 << 20
DEPTH_MAX = 128
WORKER = "w"


@pytest.fixture(scope="module")
def running(bin_dir):
    overrides = {"eventlogd": {"max_event_bytes": EVENT_BYTES_MAX}}
    with Pipeline(bin_dir, overrides) as pipeline:
        pipeline.publish(WORKER, [b'{"event":"snapshot","data":{}}'])
        yield pipeline


@pytest.fixture(autouse=True)
def pipeline(running):
    """A viewer of another worker loses nothing and hears of nothing; no process dies."""
    pids = dict(running.pids)
    with running.observe(WORKER) as client:
        client.until_caught_up()
        yield running
        line = b'{"event":"after","data":"%s"}' % os.urandom(4).hex().encode()
        running.publish(WORKER, [line])
        assert client.events(1)[0].payload_bytes == line
        assert all(f["kind"] != "diagnostic" for f in client.frames)
    assert running.pids == pids, running.logs()


def http(base, path, token):
    """(status, headers, parsed body) of a GET."""
    request = urllib.request.Request(base + path, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.loads(error.read())


# Names.

NO_IDS = ["a%2Fb", "x" * 129, "x" * 200, "a%20b", "%C3%BC", "%00", "a%00", "%0a", "*", "a%zz", "%"]


@pytest.mark.parametrize("worker_id", ["none", "W", WORKER + ".", "x" * 128, *NO_IDS])
def test_a_worker_that_does_not_exist_or_cannot(pipeline, worker_id):
    with pipeline.observe(worker_id) as client:
        check_refused(client, "backend.worker_not_found")
    assert refusal(lambda: pipeline.observe(worker_id, plain=True)) == \
        (404, "backend.worker_not_found")
    expected = (400, "runtime.invalid_worker_id") if worker_id in NO_IDS else \
        (404, "runtime.worker_not_found")
    for plain in (False, True):
        path = f"/v1/workers/{worker_id}/events/ws"
        assert refusal(lambda p=path, how=plain: pipeline.observe_runtime(p, plain=how)) == expected
    status, headers, body = http(pipeline.info["runtime_url"], f"/v1/workers/{worker_id}",
                                 pipeline.info["runtime_token"])
    assert (status, headers["Sightline-Code"], body["error"]["code"]) == (*expected, expected[1])


@pytest.mark.parametrize("runtime_id", ["none", "x" * 128, *NO_IDS])
def test_a_runtime_that_does_not_exist_or_cannot(pipeline, runtime_id):
    with pipeline.observe(WORKER, runtime_id=runtime_id) as client:
        check_refused(client, "backend.worker_not_found")
    assert refusal(lambda: pipeline.observe(WORKER, runtime_id=runtime_id, plain=True)) == \
        (404, "backend.worker_not_found")
    for path in (f"/api/runtimes/{runtime_id}/workers", f"/api/runtimes/{runtime_id}/workers/w"):
        status, headers, body = http(pipeline.info["client_url"], path,
                                     pipeline.info["tokens"]["operator"])
        assert (status, headers["Sightline-Code"]) == (404, body["error"]["code"])


def test_what_a_role_may_not_observe_is_answered_like_what_does_not_exist(pipeline):
    pipeline.publish("w-private", [b"{}"])
    said = []
    for worker_id in ("w-private", "none"):
        with pipeline.observe(worker_id, role="viewer") as client:
            check_refused(client, "backend.worker_not_found")
            said.append(client.raw)
    assert said[0] == said[1]
    for worker_id in ("w-private", "none"):
        assert refusal(lambda w=worker_id: pipeline.observe(w, role="viewer", plain=True)) == \
            (404, "backend.worker_not_found")
    with pipeline.observe("w-private") as client:
        assert len(client.until_caught_up()) == 1


def test_credentials_at_both_doors(pipeline):
    good = pipeline.info["tokens"]["operator"]
    for token in ("wrong", good + "x", good[:-1], pipeline.info["runtime_token"]):
        url = pipeline.client_url(WORKER)
        with pipeline.observe(WORKER, token=token) as client:
            check_refused(client, "backend.unauthorized")
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(urllib.request.Request(
                url.removesuffix("/events/ws"), headers={"Authorization": f"Bearer {token}"}))
        assert error.value.code == 401
    path = f"/v1/workers/{WORKER}/events/ws"
    for token in (None, "wrong", good, pipeline.info["runtime_token"] + "x"):
        assert refusal(lambda t=token: pipeline.observe_runtime(path, token=t)) == \
            (401, "runtime.unauthorized")


# Publishing.

def nested(depth):
    """An object with that many arrays and objects open at once."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


ODD = [
    b'{ "event" : "spaced" , "data" : { } }', b"{}", b'{"":""}', b'\t{"a":1}\r',
    b'{"a":1.10,"b":1e400,"c":-0,"d":-0.0E+5,"e":123456789012345678901234567890}',
    b'{"event":"x","event":"y","type":"z"}', b'{"\\u0065vent":"\\u0074ick"}',
    b'{"a":"\\u0000\\ud83d\\ude00\\/\\b"}', '{"a":"\u2028\ufffe\U0010ffff"}'.encode(),
    b'{"event":7,"type":"seven"}', b'{"event":"' + b"k" * 300 + b'"}', nested(DEPTH_MAX),
    b'{"kind":"diagnostic","diagnostic":{"code":"backend.going_away","final":true}}',
    b'{"a":"' + b"\\\\" * 5000 + b'"}', b'{"a":{"data":{"event":"tool_result"}}}',
]


def test_odd_but_valid_events_arrive_byte_for_byte(pipeline):
    pipeline.publish("odd", ODD)
    expected = [line.strip() for line in ODD]
    for plain in (False, True):
        with pipeline.observe("odd", plain=plain) as client:
            assert [e.payload_bytes.strip() for e in client.events(len(ODD))] == expected


def test_the_largest_event_arrives_and_the_next_larger_is_refused(pipeline, tmp_path):
    def sized(count):
        return b'{"event":"large","a":"' + b"x" * (count - 24) + b'"}'

    largest = sized(EVENT_BYTES_MAX)
    assert len(largest) == EVENT_BYTES_MAX
    path = tmp_path / "large.jsonl"
    path.write_bytes(largest + b"\n" + sized(EVENT_BYTES_MAX + 1) + b"\n" + b'{"n":3}\n')
    result = pipeline.eventlogctl("publish", "--worker", "large", path, check=False)
    assert result.returncode == 1
    assert f"{path}:2:".encode() in result.stderr and b"event_too_large" in result.stderr
    pipeline.eventlogctl("publish", "--worker", "large", "--skip-invalid", path)
    with pipeline.observe("large", role="operator") as client:
        got = client.until_caught_up()
    assert [len(e.payload_bytes) for e in got] == [EVENT_BYTES_MAX, 7]
    assert got[0].payload_bytes == largest


REFUSED_LINES = {
    "invalid_json": [b"{", b'{"a":1,}', b"{'a':1}", b'{"a":NaN}', b'{"a":01}', b"{} {}",
                     b"\xef\xbb\xbf{}", b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}',
                     b'{"a":"\\ud800"}', b'{"a":"\x00"}', b'{"a":"\xc0\xaf"}',
                     nested(DEPTH_MAX + 1), b"nonsense"],
    "not_an_object": [b"[]", b'"x"', b"1", b"null", b"true"],
}


@pytest.mark.parametrize("code", REFUSED_LINES)
def test_refused_lines_leave_nothing_behind(pipeline, tmp_path, code):
    worker_id = f"refused.{code}"
    path = tmp_path / "lines.jsonl"
    good = [b'{"n":%d}' % i for i in range(len(REFUSED_LINES[code]) + 1)]
    lines = [line for pair in zip(good, REFUSED_LINES[code]) for line in pair] + good[-1:]
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert read_lines(path) == lines
    result = pipeline.eventlogctl("publish", "--worker", worker_id, "--skip-invalid", path,
                                  check=False)
    told = result.stderr.decode(errors="replace")
    for number in range(2, len(lines) + 1, 2):
        assert f"{path}:{number}:" in told
    assert told.count(code) >= len(REFUSED_LINES[code])
    with pipeline.observe(worker_id) as client:
        assert [e.payload_bytes for e in client.until_caught_up()] == good


def test_batches_that_are_refused_are_refused_whole(pipeline):
    with frames.Publisher(pipeline.info["publish_socket"], "adversary") as publisher:
        assert publisher.nacked("batch", [b"{}"] * 4097)[0] == "batch_too_large"
        assert publisher.nacked("batch", [b"{}", b"{}", b"["]) == ("invalid_json", 2)
        for worker_id in ("a/b", "x" * 200, "", "..\n"):
            assert publisher.nacked(worker_id, [b"{}"])[0] == "worker_id_invalid"
        publisher.acked("batch", [b'{"n":1}'])
    with pipeline.observe("batch") as client:
        assert [e.payload_bytes for e in client.until_caught_up()] == [b'{"n":1}']


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to be another user")
def test_a_worker_of_another_user_is_denied(running, pipeline):
    """root is exempt, so that two other users are needed."""
    def publish_as(uid, line):
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
                with frames.Publisher(pipeline.info["publish_socket"]) as publisher:
                    reply = publisher.publish("owned", [line])
                os._exit(0 if reply[0] == frames.ACK else
                         1 if reply[2] == "worker_id_denied" else 2)
            finally:
                os._exit(3)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    os.chmod(pipeline.dir, 0o711)
    os.chmod(pipeline.info["publish_socket"], 0o666)
    assert publish_as(4711, b'{"n":1}') == 0
    assert publish_as(4712, b'{"n":2}') == 1
    assert publish_as(4711, b'{"n":3}') == 0
    with pipeline.observe("owned") as client:
        assert [e.payload["n"] for e in client.until_caught_up()] == [1, 3]


# Noise on every socket at once, while a stream goes on (the fixture's).

def test_garbage_on_every_socket(pipeline):
    for path in ("publish_socket", "tail_socket"):
        for garbage in (struct.pack("<I", 0xFFFFFFFF), b"\x00" * 8, os.urandom(3000),
                        struct.pack("<I", 100) + b"\x91" * 100, b"GET / HTTP/1.1\r\n\r\n"):
            for hello in (False, True):
                with frames.Connection(pipeline.info[path], hello=hello) as connection:
                    connection.send_bytes(garbage)
                    connection.socket.shutdown(1)
                    try:
                        while True:
                            connection.receive()
                    except frames.Closed:
                        pass
    with frames.Connection(pipeline.config("backend-relay")["projection_socket"],
                           hello=False) as connection:
        connection.send_bytes(struct.pack("<I", 0x7FFFFFFF))
        connection.expect_error("protocol_error")
        connection.expect_closed()


@pytest.mark.parametrize("address", ["client_url", "runtime_url"])
def test_garbage_at_every_door(pipeline, address):
    for garbage in (b"\x16\x03\x01\x02\x00\x01\x00" + os.urandom(500), os.urandom(20000),
                    b"GET " + b"x" * 20000 + b" HTTP/1.1\r\n\r\n", b"\r\n" * 10000,
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n" * 1000,
                    b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n"):
        try:
            with RawClient(pipeline.info[address], request=garbage) as client:
                client.end()
                client.rest()
        except (BrokenPipeError, ConnectionResetError):
            pass
