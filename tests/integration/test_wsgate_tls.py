"""wsgate with a certificate: the same addresses, the same answers, over TLS."""

import shutil
import socket
import ssl
import subprocess

import pytest

import ws
from fake_eventlogd import FakeEventlogd, make_record, wait_until
from frames import RECORDS
from wsgate import TOKEN, Wsgate, trusting

LARGE = b'{"pad":"' + b"x" * (3 << 20) + b'"}'


@pytest.fixture(name="certificate", scope="module")
def _certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", directory / "key.pem", "-out",
         directory / "cert.pem"], check=True, capture_output=True, timeout=60)
    return directory


@pytest.fixture(name="log")
def _log(tmp_path):
    with FakeEventlogd(tmp_path / "tail.sock") as log:
        log.append("w-1", b'{"event":"snapshot","n":1}', keyframe=True)
        yield log


@pytest.fixture(name="gate")
def _gate(bin_dir, log, certificate):
    config = {"tls": {"certificate": str(certificate / "cert.pem"),
                      "key": str(certificate / "key.pem")}}
    with Wsgate(bin_dir, log.path, config) as gate:
        gate.context = trusting(certificate / "cert.pem")
        yield gate


def test_requests_and_sessions_work_over_tls(log, gate):
    status, code, body = gate.get("/v1/runtime", context=gate.context)
    assert (status, code, body["runtime_id"]) == (200, None, "rt-1")
    assert gate.get("/v1/runtime", token="wrong", context=gate.context)[:2] == \
        (401, "runtime.unauthorized")
    log.append("w-1", LARGE)
    log.append("w-1", b'{"n":3}')
    for form in ("sightline.v1", None):
        with gate.observe("w-1", form=form, tls=gate.context) as client:
            events = client.events(3)
            assert events[1].payload_bytes == LARGE and events[2].payload["n"] == 3
            client._call(client._connection.send("data"))
            assert client.closed() == (1008, "runtime.observation_only")


def test_refusals_before_the_upgrade_are_the_same(gate):
    for worker_id, status, code in (("nobody", 404, "runtime.worker_not_found"),
                                    ("a%2Fb", 400, "runtime.invalid_worker_id")):
        with pytest.raises(ws.Refused) as refused:
            gate.observe(worker_id, tls=gate.context)
        assert (refused.value.status, refused.value.code) == (status, code)


def test_plain_text_and_half_a_handshake_harm_nobody(gate):
    with gate.connect() as raw:
        raw.sendall(b"GET /v1/runtime HTTP/1.1\r\nHost: h\r\n"
                    b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\n")
        answer = b""
        try:
            while data := raw.recv(4096):
                answer += data
        except ConnectionResetError:
            pass
        assert b"HTTP/" not in answer and b"runtime_id" not in answer
    with gate.connect() as raw:
        raw.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        assert gate.get("/v1/runtime", context=gate.context)[0] == 200
    wait_until(lambda: gate.metric("connections") == 0, "the end of both")


def test_peer_that_does_not_read_holds_eventlogd_back_over_tls(log, gate):
    total, payload = 1000, b'{"pad":"' + b"x" * 60000 + b'"}'
    sent = []

    def script(peer):
        for sequence in range(2, 2 + total):
            peer.send(RECORDS, make_record(sequence, "w-1", payload))
            sent.append(sequence)
        peer.receive()
    log.scripts.append(script)
    with gate.observe("w-1", reads=False, tls=gate.context) as client:
        wait_until(lambda: len(sent) > 20, "the beginning")
        client.resume()
        assert len(client.events(total, 60)) == total


def test_cut_connections_leave_nothing_behind(log, gate):
    for _ in range(20):
        raw = gate.connect()
        secured = gate.context.wrap_socket(raw, server_hostname="localhost")
        secured.sendall(b"GET /v1/run")
        raw.close()
        secured.close()
    with gate.observe("w-1", tls=gate.context) as client:
        client.events(1)
        client._connection.transport.abort()
    wait_until(lambda: gate.metric("connections") == 0, "the end of all")
    assert gate.metric("sessions_open") == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls_versions_are_not_spoken(gate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", gate.port), 20) as raw, \
            pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(raw, server_hostname="localhost")
