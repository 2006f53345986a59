"""backend-relay: what clients are told when a runtime fails, what they never hear, and recovery."""

import socket
import struct
import threading
import time

import pytest

import ws
from fake_runtime import FakeRuntime, wait_until
from relay import Stage, event

QUICK = {"upstream_timeout": "1500ms"}


@pytest.fixture
def stage(bin_dir):
    with Stage(bin_dir, QUICK) as stage:
        stage.fill("w", 5)
        yield stage
        assert stage.relay.is_alive(), stage.relay.output()
        assert_nothing_leaks(stage)


def assert_nothing_leaks(stage):
    """No byte towards a client, and no log line, tells how the runtime is reached."""
    heard = stage.relay.everything_heard()
    runtime = stage.runtime
    # Cursors and ids of clients are base64url: three characters alone may stand in any of them.
    secrets = [f"wo_{runtime.log:08x}", runtime.token, "r0.token", "/v1/", "ws://", "p.sock"]
    if runtime.port:
        secrets.append(f":{runtime.port}")
    for secret in secrets:
        assert secret not in heard, f"{secret!r} in {heard[max(0, heard.index(secret) - 200):][:400]}"


def until_live(stage):
    """The only client reads the live ring and has no upstream of its own any more."""
    wait_until(lambda: stage.relay.metric("live_feeds_adopted_total") == 1
               and stage.relay.metric("upstreams") == 1, "the live ring")


def refused(stage, worker="w", runtime="r0"):
    """What a session hears that never was connected: in-stream, and as an HTTP answer."""
    with stage.relay.observe(worker, runtime_id=runtime) as client:
        diagnostic = client.diagnostic()
        assert diagnostic["final"]
        code, reason = client.closed()
        assert reason == diagnostic["code"] and len(client.frames) == 1
    with pytest.raises(ws.Refused) as error:
        stage.relay.observe(worker, plain=True, runtime_id=runtime)
    assert error.value.code == diagnostic["code"]
    return diagnostic["code"], diagnostic["retry"], code, error.value.status


@pytest.mark.parametrize("status, headers, expected", [
    (401, {}, ("backend.runtime_auth_failed", "later", 1013, 503)),
    (403, {}, ("backend.runtime_auth_failed", "later", 1013, 503)),
    (404, {}, ("backend.runtime_unsupported", "never", 1013, 501)),
    (404, {"Sightline-Code": "runtime.worker_not_found"},
     ("backend.worker_not_found", "later", 4404, 404)),
    (405, {}, ("backend.runtime_unsupported", "never", 1013, 501)),
    (501, {}, ("backend.runtime_unsupported", "never", 1013, 501)),
    (500, {}, ("backend.runtime_unavailable", "later", 1013, 503)),
    (503, {"Sightline-Code": "runtime.unavailable"},
     ("backend.upstream_disconnect", "later", 1013, 503)),
    (200, {}, ("backend.runtime_unsupported", "never", 1013, 501)),
])
def test_answers_of_a_runtime(stage, status, headers, expected):
    stage.runtime.refuse = (status, headers)
    assert refused(stage) == expected


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed_and_the_token_not_sent_there(stage, status):
    with FakeRuntime() as elsewhere:
        stage.runtime.refuse = (status, {"Location": elsewhere.url.replace("ws", "http", 1) + "/v1/"})
        assert refused(stage) == ("backend.runtime_unsupported", "never", 1013, 501)
        assert elsewhere.requests == []


def test_runtime_that_is_down(stage):
    stage.runtime.stop()
    assert refused(stage) == ("backend.runtime_unavailable", "later", 1013, 503)


def test_runtime_that_does_not_answer(stage):
    stage.runtime.silent = True
    assert refused(stage) == ("backend.runtime_timeout", "later", 1013, 503)


def test_name_that_does_not_resolve(bin_dir):
    registry = [{"runtime_id": "lost", "url": "ws://nowhere.invalid:7", "insecure": True}]
    with Stage(bin_dir, QUICK, registry=registry) as stage:
        code = refused(stage, runtime="lost")[0]
        assert code in ("backend.runtime_unavailable", "backend.runtime_timeout")
        assert "nowhere" not in stage.relay.everything_heard()


def test_something_else_listens_there(bin_dir):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        registry = [{"runtime_id": "ssh", "url": f"ws://127.0.0.1:{port}"}]

        def greet():
            while True:
                try:
                    connection, _ = other.accept()
                except OSError:
                    return
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
                connection.close()
        threading.Thread(target=greet, daemon=True).start()
        with Stage(bin_dir, QUICK, registry=registry) as stage:
            code = refused(stage, runtime="ssh")[0]
            assert code in ("backend.malformed_frame", "backend.runtime_unavailable",
                            "backend.runtime_unsupported", "backend.upstream_disconnect")


def test_worker_and_runtime_that_are_not_there(stage):
    not_found = ("backend.worker_not_found", "later", 4404, 404)
    assert refused(stage, worker="nobody") == not_found
    assert refused(stage, runtime="r77") == not_found
    for worker in ("a%2Fb", "x" * 200, "a%00b", "%ff", "a%20b"):
        assert refused(stage, worker=worker) == not_found, worker


def frame(opcode, data, final=True):
    head = (0x80 if final else 0) | opcode
    assert len(data) < 126
    return struct.pack(">BB", head, len(data)) + data


MALFORMED = {
    "not msgpack": frame(0x2, b"\xc1"),
    "a text message": frame(0x1, b"[]"),
    "not an array": frame(0x2, b"\x81\xa4kind\xa5event"),
    "a bomb": frame(0x2, b"\x91" * 100),
    "five bytes that announce 8 GiB": frame(0x2, b"\xdd\xff\xff\xff\xff"),
    "bytes left over": frame(0x2, b"\x90\x90"),
    "a reserved opcode": frame(0x7, b"x"),
    "an event of nobody": frame(0x2, b"\x91\x81\xa4kind\xa5event"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_message_is_told_and_the_stream_goes_on_after_a_new_connection(stage, name):
    with stage.relay.observe("w") as client:
        client.until_caught_up()
        stage.runtime.send_raw(MALFORMED[name])
        diagnostic = client.diagnostic()
        assert diagnostic["code"] in ("backend.malformed_frame", "backend.upstream_disconnect")
        assert not diagnostic["final"]
        stage.runtime.append("w", event("text_delta", n=9))
        assert client.events(1)[0].payload["data"] == {"n": 9}


def test_connection_that_ends_within_a_frame(stage):
    with stage.relay.observe("w") as client:
        client.until_caught_up()
        stage.runtime.send_raw(b"\x82\x7e\x10\x00half")
        stage.runtime.cut()
        assert client.diagnostic()["code"] == "backend.upstream_disconnect"
        payload = event("text_delta", n=9)
        stage.runtime.append("w", payload)
        assert client.events(1)[0].payload_bytes == payload


def test_first_message_that_is_no_hello(stage):
    stage.runtime.before_send = lambda data: frame(0x2, b"\x90") + data \
        if b"hello" not in data else b""
    assert refused(stage)[0] == "backend.malformed_frame"


def test_message_over_the_limit_is_never_held(stage):
    with stage.relay.observe("w") as client:
        client.until_caught_up()
        stage.runtime.send_raw(b"\x82\x7f" + struct.pack(">Q", 1 << 40) + bytes(20 << 20))
        assert client.diagnostic()["code"] == "backend.malformed_frame"


def test_lost_connection_is_made_again_from_the_last_event(stage):
    payloads = stage.fill("w", 20, first=50)
    with stage.relay.observe("w") as client:
        heard = [e.payload_bytes for e in client.until_caught_up()]
        for round_ in range(5):
            stage.runtime.cut()
            payloads.append(event("text_delta", n=1000 + round_))
            stage.runtime.append("w", payloads[-1])
            heard += [e.payload_bytes for e in client.events(1)]
        assert heard == payloads
        codes = {f["diagnostic"]["code"] for f in client.frames if f["kind"] == "diagnostic"}
        assert codes == {"backend.upstream_disconnect"}
        assert not any("from=keyframe" in path for path in stage.runtime.upgrades()[2:])


def test_once_connected_session_waits_for_the_runtime_and_is_told_once(bin_dir):
    with Stage(bin_dir, {"upstream_timeout": "500ms"}) as stage:
        stage.fill("w", 5)
        with stage.relay.observe("w") as client:
            client.until_caught_up()
            until_live(stage)
            stage.runtime.stop()
            assert not client.diagnostic()["final"]
            wait_until(lambda: stage.relay.metric("upstream_failures_total") >= 3, "retries")
            stage.runtime.append("w", event("text_delta", n=9))
            stage.runtime.start()
            assert client.events(1)[0].payload["data"] == {"n": 9}
            assert [f["kind"] for f in client.frames].count("diagnostic") == 1
        assert_nothing_leaks(stage)


def test_given_up_session_ends_with_the_reason(bin_dir):
    with Stage(bin_dir, {**QUICK, "upstream_give_up": "500ms"}) as stage, \
            stage.relay.observe(stage.fill("w", 5) and "w") as client:
        client.until_caught_up()
        until_live(stage)
        stage.runtime.stop()
        assert not client.diagnostic()["final"]
        diagnostic = client.diagnostic()
        assert diagnostic["final"] and diagnostic["retry"] == "later"
        assert client.closed()[0] == 1013


def test_worker_forgotten_mid_session(stage):
    with stage.relay.observe("w") as client:
        client.until_caught_up()
        until_live(stage)
        stage.runtime.diagnostic("runtime.worker_not_found", final=True)
        assert client.diagnostic("backend.worker_not_found")["final"]
        assert client.closed()[0] == 4404


def test_runtime_whose_log_is_away_for_a_moment(stage):
    with stage.relay.observe("w") as client:
        client.until_caught_up()
        until_live(stage)
        stage.runtime.diagnostic("runtime.unavailable")
        assert client.diagnostic()["code"] == "backend.upstream_disconnect"
        stage.runtime.append("w", event("text_delta", n=9))
        client.events(1)
        assert len(stage.runtime.upgrades()) == 2


def test_duplicates_of_a_runtime_are_dropped(stage):
    doubled = []
    stage.runtime.before_send = lambda data: data + (doubled.append(1) or data
                                                     if b"payload" in data else b"")
    with stage.relay.observe("w") as client:
        assert len(client.until_caught_up()) == 5
        stage.runtime.append("w", event("text_delta", n=9))
        stage.runtime.append("w", event("text_delta", n=10))
        assert [e.payload["data"]["n"] for e in client.events(2)] == [9, 10]
    assert doubled and stage.relay.metric("upstream_duplicates_total") > 0


def test_one_runtime_that_fails_does_not_concern_the_clients_of_another(bin_dir):
    with FakeRuntime(token="other") as good:
        registry = [{"runtime_id": "good", "url": good.url, "token_file": "good.token"}]
        stage = Stage(bin_dir, QUICK, registry=registry)
        (stage.dir / "good.token").write_text("other\n")
        with stage:
            stage.fill("w", 3)
            good.append("w", event("snapshot"), keyframe=True)
            with stage.relay.observe("w", runtime_id="good") as happy, \
                    stage.relay.observe("w") as unhappy:
                happy.until_caught_up()
                unhappy.until_caught_up()
                stage.runtime.stop()
                unhappy.diagnostic()
                good.append("w", event("text_delta"))
                happy.events(1)
                assert [f["kind"] for f in happy.frames].count("diagnostic") == 0


def test_runtime_that_greets_and_then_breaks_is_told_once_and_given_up(bin_dir):
    with Stage(bin_dir, {**QUICK, "upstream_give_up": "2s"}) as stage, \
            stage.relay.observe(stage.fill("w", 5) and "w") as client:
        client.until_caught_up()
        until_live(stage)
        stage.runtime.before_send = lambda data: data + (frame(0x2, b"\xc1") if b"hello" in data
                                                         else b"")
        stage.runtime.cut()
        client.until(lambda f: f["kind"] == "diagnostic" and f["diagnostic"]["final"])
        said = [f["diagnostic"] for f in client.frames if f["kind"] == "diagnostic"]
        assert [d["final"] for d in said] == [False, True], said
        assert said[-1]["code"] == "backend.malformed_frame" and said[-1]["retry"] == "later"
        assert client.closed()[0] == 1013
        # It is asked ever more seldom: not twenty times in two seconds.
        assert len(stage.runtime.upgrades()) < 20


def test_runtime_that_sends_one_more_event_each_time_is_not_given_up(bin_dir):
    with Stage(bin_dir, {**QUICK, "upstream_give_up": "1s"}) as stage, \
            stage.relay.observe(stage.fill("w", 5) and "w") as client:
        client.until_caught_up()
        until_live(stage)
        began = time.monotonic()
        while time.monotonic() < began + 2:
            stage.runtime.cut()
            payload = event("text_delta", n=9)
            stage.runtime.append("w", payload)
            assert client.events(1)[0].payload_bytes == payload
            wait_until(lambda: stage.relay.metric("upstreams") == 1, "one upstream")
        assert not any(f["diagnostic"]["final"] for f in client.frames
                       if f["kind"] == "diagnostic")
