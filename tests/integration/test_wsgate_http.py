"""wsgate over HTTP: who may ask, what is refused before the upgrade, bookkeeping as JSON."""

import json
import pathlib
import re
import signal
import socket
import subprocess
import urllib.error

import pytest

import ws
from fake_eventlogd import FakeEventlogd, cursor, wait_until
from raw_ws import TEXT, RawClient
from wsgate import TOKEN, Wsgate

UPGRADE = ("Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")


@pytest.fixture(name="log", scope="module")
def _log(tmp_path_factory):
    with FakeEventlogd(tmp_path_factory.mktemp("t") / "tail.sock") as log:
        log.append("w-1", b'{"event":"snapshot"}', keyframe=True)
        log.append("w-1", b'{"n":2}')
        log.append("w-2", b'{"n":3}')
        yield log


@pytest.fixture(name="gate", scope="module")
def _gate(bin_dir, log):
    with Wsgate(bin_dir, log.path) as gate:
        yield gate


def answer(gate, request, half_closed=False):
    """All bytes that come back for these."""
    with gate.connect() as raw:
        raw.sendall(request.encode())
        if half_closed:
            raw.shutdown(socket.SHUT_WR)
        received = b""
        while data := raw.recv(65536):
            received += data
        return received.decode()


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", TOKEN[:-1]])
def test_wrong_token_is_401_everywhere(gate, token):
    for path in ("/v1/runtime", "/v1/workers", "/v1/workers/w-1", "/nowhere"):
        status, code, body = gate.get(path, token=token)
        assert (status, code) == (401, "runtime.unauthorized")
        assert body["error"]["code"] == "runtime.unauthorized"
    with pytest.raises(ws.Refused) as refused:
        gate.observe("w-1", token=token)
    assert (refused.value.status, refused.value.code) == (401, "runtime.unauthorized")
    assert "refused an unauthorized request" in gate.output()
    assert not token or token not in gate.output()


@pytest.mark.parametrize("authorization", [f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN} {TOKEN}",
                                           f"Bearer\t{TOKEN}", f"Bearer {TOKEN},x"])
def test_other_spellings_of_authorization_are_401(gate, authorization):
    status, code, _ = gate.get("/v1/runtime", token=None,
                               headers={"Authorization": authorization})
    assert (status, code) == (401, "runtime.unauthorized")


def test_token_in_the_query_counts_for_nothing(gate):
    assert gate.get(f"/v1/runtime?token={TOKEN}&access_token={TOKEN}", token=None)[0] == 401


def test_runtime_is_described(gate, log):
    status, code, body = gate.get("/v1/runtime")
    assert (status, code) == (200, None)
    assert body["runtime_id"] == "rt-1"
    assert body["log"]["newest"] == cursor(1, log.newest)
    assert body["log"]["oldest"] == cursor(1, 0)
    assert body["workers"] == 1 and body["log"]["read_only"] is False


def test_workers_come_in_pages(gate):
    _, _, first = gate.get("/v1/workers?limit=1")
    assert [w["worker_id"] for w in first["workers"]] == ["w-1"]
    assert first["workers"][0]["newest_keyframe_seq"] == 1
    _, _, second = gate.get(f"/v1/workers?limit=1&after={first['next_after']}")
    assert [w["worker_id"] for w in second["workers"]] == ["w-2"]
    assert "next_after" not in second


def test_one_worker_is_found_by_its_whole_id(gate):
    status, _, body = gate.get("/v1/workers/w-2")
    assert status == 200 and body["worker_id"] == "w-2" and body["records"] == 1
    for worker_id in ("w-", "w", "w-20", "w-0", "a", "z"):
        assert gate.get(f"/v1/workers/{worker_id}")[:2] == (404, "runtime.worker_not_found")


@pytest.mark.parametrize("worker_id", ["a%2Fb", "%", "%00", "w" * 129, "w%20x", "%C3%A9", "w+1"])
def test_impossible_worker_ids_are_400(gate, worker_id):
    assert gate.get(f"/v1/workers/{worker_id}")[:2] == (400, "runtime.invalid_worker_id")
    with pytest.raises(ws.Refused) as refused:
        gate.observe(worker_id)
    assert (refused.value.status, refused.value.code) == (400, "runtime.invalid_worker_id")


@pytest.mark.parametrize("query", ["?limit=0", "?limit=1001", "?limit=x", "?limit=", "?after=a/b",
                                   "?limit=1&limit=2", "?after=%zz"])
def test_bad_parameters_are_400(gate, query):
    assert gate.get("/v1/workers" + query)[:2] == (400, "runtime.invalid_request")


def test_unknown_worker_is_404_before_the_upgrade(gate):
    with pytest.raises(ws.Refused) as refused:
        gate.observe("nobody")
    assert (refused.value.status, refused.value.code) == (404, "runtime.worker_not_found")


def test_unknown_addresses_are_404_without_a_code(gate):
    for path in ("/", "/v1", "/v1/workers/w-1/events", "/v1/runtime/", "/v2"):
        status, code, _ = gate.get(path)
        assert (status, code) == (404, None), path


def test_from_must_be_a_place(gate):
    for worker_id, query in (("w-1", "?from=elsewhere"), (None, "?from=keyframe"),
                             ("w-1", "?from="), ("w-1", "?from=oldest&from=oldest")):
        with pytest.raises(ws.Refused) as refused:
            gate.observe(worker_id, query)
        assert (refused.value.status, refused.value.code) == (400, "runtime.invalid_request")


def test_websocket_address_without_an_upgrade_is_426(gate):
    assert gate.get("/v1/events/ws")[:2] == (426, None)


def test_h2c_is_not_spoken(gate):
    text = answer(gate, f"GET /v1/runtime HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n"
                        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                        "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
    assert text.startswith("HTTP/1.1 200 ")
    text = answer(gate, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert text.startswith("HTTP/1.1 400 ")


@pytest.mark.parametrize("request_text,status", [
    ("POST /v1/runtime HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 405),
    ("POST /v1/runtime HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc", 405),
    ("HEAD /v1/runtime HTTP/1.1\r\nHost: h\r\n\r\n", 405),
    ("GET /v1/runtime HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", 413),
    ("GET /v1/runtime HTTP/1.1\r\nHost: h\r\nX: " + "a" * 9000 + "\r\n\r\n", 431),
    ("GET /v1/runtime HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", 400),
    ("GET http://h/v1/runtime HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("\x16\x03\x01\x02\x00", 400),
])
def test_hostile_requests_get_a_status_and_harm_nobody(gate, request_text, status):
    head, body = answer(gate, request_text).split("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ") and "Sightline-Code" not in head
    assert ("error" in json.loads(body)) if not request_text.startswith("HEAD") else not body
    assert gate.get("/v1/runtime")[0] == 200


def test_subprotocol_is_chosen_in_the_peers_order_and_tokens_are_never_echoed(gate):
    def chosen(*asked):
        lines = "".join(f"Sec-WebSocket-Protocol: {p}\r\n" for p in asked)
        with gate.connect() as raw:
            raw.sendall(f"GET /v1/events/ws HTTP/1.1\r\n{UPGRADE}{lines}"
                        f"Authorization: Bearer {TOKEN}\r\n\r\n".encode())
            text = b""
            while b"\r\n\r\n" not in text:
                text += raw.recv(65536)
        head = text.split(b"\r\n\r\n")[0].decode()
        assert head.startswith("HTTP/1.1 101 ")
        return [line.split(": ")[1] for line in head.split("\r\n")
                if line.lower().startswith("sec-websocket-protocol")]
    assert chosen("sightline.v1, sightline.v1.msgpack") == ["sightline.v1"]
    assert chosen("other, sightline.v1.msgpack", "sightline.v1") == ["sightline.v1.msgpack"]
    assert chosen("bearer.c2VjcmV0, sightline.v1") == ["sightline.v1"]
    assert chosen("bearer." + "x" * 500 + ", sightline.v1") == ["sightline.v1"]
    assert chosen("bearer.c2VjcmV0") == []
    assert chosen() == []


def test_status_listener_serves_health_and_metrics_only(gate):
    assert json.loads(gate.status("/healthz")) == {"status": "ok"}
    assert gate.metric("unauthorized_total") > 0
    assert "sightline_wsgate_sessions_open" in gate.status("/metrics")
    assert gate.get("/metrics")[0] == 404
    assert gate.get("/healthz")[0] == 404


def test_health_says_that_it_is_stopping(bin_dir, log):
    with Wsgate(bin_dir, log.path) as gate, RawClient(
            f"http://127.0.0.1:{gate.port}/v1/events/ws", token=TOKEN) as session:
        gate.process.send_signal(signal.SIGTERM)
        assert session.receive()[0] == TEXT  # going_away; its close frame is not answered
        with pytest.raises(urllib.error.HTTPError) as refused:
            gate.status("/healthz")
        assert refused.value.code == 503
        assert json.loads(refused.value.read()) == {"status": "stopping"}


def test_being_asked_to_stop_again_and_again_changes_nothing(bin_dir, log):
    with Wsgate(bin_dir, log.path) as gate:
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) * 6:
            with gate.observe("w-1"):
                gate.process.send_signal(signal.SIGTERM)
                while gate.process.poll() is None:
                    gate.process.send_signal(signum)
            assert gate.process.returncode == 0, (signum, gate.output())
            gate.start()


def test_without_eventlogd_the_answer_is_503(bin_dir, tmp_path):
    with Wsgate(bin_dir, tmp_path / "nobody.sock") as gate:
        for path in ("/v1/runtime", "/v1/workers", "/v1/workers/w-1"):
            assert gate.get(path)[:2] == (503, "runtime.unavailable")
        with pytest.raises(ws.Refused) as refused:
            gate.observe("w-1")
        assert (refused.value.status, refused.value.code) == (503, "runtime.unavailable")
        assert json.loads(gate.status("/healthz")) == {"status": "ok"}


def test_peer_that_leaves_while_eventlogd_is_asked_leaves_nothing_behind(bin_dir, tmp_path):
    with FakeEventlogd(tmp_path / "tail.sock") as log, Wsgate(bin_dir, log.path) as gate:
        log.silent = True
        for path in ("/v1/runtime", "/v1/events/ws"):
            with gate.connect() as raw:
                raw.sendall(f"GET {path} HTTP/1.1\r\n{UPGRADE}Authorization: Bearer {TOKEN}"
                            "\r\n\r\n".encode())
                wait_until(lambda: gate.metric("connections") == 1, "the connection")
            wait_until(lambda: gate.metric("connections") == 0, "its end")
        log.silent = False
        assert gate.get("/v1/runtime")[0] == 200


def test_peer_that_sends_nothing_more_is_answered_all_the_same(gate):
    for _ in range(20):
        text = answer(gate, "GET /v1/runtime HTTP/1.1\r\nHost: h\r\n"
                            f"Authorization: Bearer {TOKEN}\r\n\r\n", half_closed=True)
        assert text.startswith("HTTP/1.1 200 ") and '"runtime_id":"rt-1"' in text


def test_unix_listener_needs_no_token(bin_dir, log):
    with Wsgate(bin_dir, log.path, unix=True, token=None) as gate:
        with gate.observe("w-1", token=None) as client:
            assert len(client.until_caught_up()) == 2


def test_tcp_listener_without_a_token_must_be_configured(bin_dir, log):
    with pytest.raises(AssertionError, match="token_file"):
        Wsgate(bin_dir, log.path, token=None).start()
    with Wsgate(bin_dir, log.path, {"require_token": False}, token=None) as gate:
        assert gate.get("/v1/runtime", token=None)[0] == 200
        # A page in a browser could reach it otherwise.
        assert gate.get("/v1/runtime", token=None, headers={"Origin": "https://x"})[0] == 401


@pytest.mark.parametrize("text,place", [
    ("runtime_id: [1]\ntail_socket: /t\n", ":1:13: "),
    ("runtime_id: a/b\ntail_socket: /t\n", ":1:13: "),
    ("runtime_id: a\n", "\"tail_socket\" is missing"),
    ("runtime_id: a\ntail_socket: /t\ncolour: red\n", ":3:1: "),
    ("runtime_id: a\ntail_socket: /t\nlimits:\n  connections: 0\n", ":4:16: "),
    ("runtime_id: a\ntail_socket: /t\ntls:\n  certificate: /c\n", "\"key\" is missing"),
])
def test_mistakes_in_the_configuration_are_told_with_their_place(bin_dir, tmp_path, text, place):
    (tmp_path / "w.yaml").write_text(text)
    done = subprocess.run([bin_dir / "wsgate", "--config", tmp_path / "w.yaml"], timeout=20,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 2 and place in done.stderr, done.stderr


def test_port_in_use_and_missing_files_end_the_start(bin_dir, tmp_path, log, gate):
    base = f"runtime_id: a\ntail_socket: {log.path}\nrequire_token: false\n"
    for text, why in (
            (f"listen: 127.0.0.1:{gate.port}\n", "Address already in use"),
            ("listen: nonsense\n", "not HOST:PORT"),
            ("listen: 127.0.0.1:0\ntoken_file: none\n", "can't read the token"),
            ("", "neither inherited nor configured"),
            ("listen: 127.0.0.1:0\ntls: {certificate: /none, key: /none}\n", "certificate")):
        (tmp_path / "w.yaml").write_text(base + text)
        done = subprocess.run([bin_dir / "wsgate", "--config", tmp_path / "w.yaml"], timeout=20,
                              capture_output=True, text=True, check=False)
        assert done.returncode == 1 and why in done.stderr, (text, done.stderr)


def test_man_page_names_the_keys_that_there_are():
    pages = pathlib.Path(__file__).resolve().parents[2] / "docs/man"
    config = (pages.parents[1] / "wsgate/config.c").read_text()
    keys = re.findall(r"(?:TEXT|LIMIT)\((\w+),", config) + re.findall(r'\.name = "(\w+)"', config)
    page = (pages / "wsgate.yaml.5").read_text()
    for key in keys:
        assert f"Cm {key}\n" in page or f"Cm {key} ,\n" in page, key
    assert len(set(keys)) == 15
