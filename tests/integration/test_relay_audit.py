"""backend-relay: what the journal tells of who saw what, and what it must not tell."""

import json
import socket

import pytest

import ws
from daemon import DEADLINE_S
from fake_runtime import wait_until
from journal import Journal, audit_of_stderr
from relay import Stage, event

MARK = "a-payload-that-no-log-may-hold"


def fill(stage):
    """Six events: a viewer gets four of them, one redacted; one denied, one withheld."""
    stage.fill("w", 3)
    for payload in (event("thinking_delta", text=MARK), event("tool_result", output=MARK)):
        stage.runtime.append("w", payload)
    stage.projection.judge = judge(stage.projection.judge)
    stage.runtime.append("w", event("odd", text=MARK))


def judge(default):
    return lambda role, payload: ("refused", None) if b'"odd"' in payload \
        else default(role, payload)


def lines(records, what, **fields):
    return [r for r in records if r["AUDIT"] == what
            and all(r.get(name) == value for name, value in fields.items())]


def audit(stage):
    return audit_of_stderr(stage.relay.output())


def ended(stage, **fields):
    wait_until(lambda: lines(audit(stage), "end", **fields), "the end of the session")
    return lines(audit(stage), "end", **fields)[0]


def test_every_session_has_a_beginning_and_an_end_with_its_counts(bin_dir):
    with Stage(bin_dir) as stage:
        fill(stage)
        for role in ("viewer", "operator"):
            with stage.relay.observe("w", role) as client:
                client.until_caught_up()
            end = ended(stage, ROLE=role)
            [begin] = lines(audit(stage), "begin", ROLE=role)
            assert begin["SESSION"] == end["SESSION"] and len(end["SESSION"]) == 16
            for record in (begin, end):
                assert (record["SUBJECT"], record["PEER"]) == (f"{role}@example.org", "127.0.0.1")
                assert (record["RUNTIME_ID"], record["WORKER_ID"]) == ("r0", "w")
            assert end["CODE"] == "-" and int(end["DURATION_MS"]) >= 0
            counts = [int(end[n]) for n in ("DELIVERED", "REDACTED", "DENIED", "WITHHELD")]
            assert counts == ([4, 1, 1, 1] if role == "viewer" else [5, 0, 0, 1])


def test_a_session_that_we_end_has_its_code(bin_dir):
    with Stage(bin_dir) as stage:
        stage.fill("w", 2)
        with stage.relay.observe("w") as client:
            client.until_caught_up()
            client.send("x")
            client.closed()
        assert ended(stage)["CODE"] == "backend.observation_only"
        with stage.relay.observe("w", "viewer") as client:
            client.until_caught_up()
            stage.relay.stop()
        assert lines(audit(stage), "end", ROLE="viewer")[0]["CODE"] == "backend.going_away"


@pytest.mark.parametrize("plain", [False, True])
def test_every_refusal_is_a_line(bin_dir, plain):
    with Stage(bin_dir) as stage:
        stage.fill("private-1", 2)
        cases = [
            ({"worker_id": "private-1", "role": "viewer"}, "backend.worker_not_found",
             "viewer@example.org", "private-1"),
            ({"worker_id": "nobody"}, "backend.worker_not_found", "operator@example.org",
             "nobody"),
            ({"worker_id": "w", "runtime_id": "r9"}, "backend.worker_not_found",
             "operator@example.org", "w"),
            ({"worker_id": "w", "token": "wrong-" + MARK}, "backend.unauthorized", "-", "w"),
            ({"worker_id": "private-1", "cursor": "bo_" + "A" * 60}, "backend.cursor_unknown",
             "operator@example.org", "private-1"),
        ]
        for options, code, subject, worker_id in cases:
            before = len(lines(audit(stage), "refused"))
            try:
                with stage.relay.observe(plain=plain, **options) as client:
                    assert client.diagnostic()["code"] == code
            except ws.Refused as refused:
                assert refused.code == code
            wait_until(lambda: len(lines(audit(stage), "refused")) > before, "the line")
            record = lines(audit(stage), "refused")[before]
            assert (record["CODE"], record["SUBJECT"]) == (code, subject)
            assert (record["WORKER_ID"], record["PEER"]) == (worker_id, "127.0.0.1")
        with pytest.raises(ws.Refused):
            stage.relay.observe("w", plain=plain, origin="https://elsewhere.example")
        assert len(lines(audit(stage), "refused")) == len(cases) + 1
        assert stage.relay.get("/api/runtimes/r0/workers/private-1", "viewer")[0] == 404
        assert stage.relay.get("/api/runtimes", token="wrong")[0] == 401
        assert len(lines(audit(stage), "refused")) == len(cases) + 3
        assert not lines(audit(stage), "begin")


def test_a_refused_command_names_whom_it_was_for(bin_dir):
    with Stage(bin_dir) as stage:
        for method, path, runtime_id, worker_id in (
                ("POST", "r0/workers/w/input", "r0", "w"),
                ("GET", "r0/workers/w/transcript", "r0", "w"),
                ("POST", "r9/workers/w/input", "-", "w"), ("POST", "r0/workers", "r0", "-"),
                ("POST", "r0/workers/%0aCODE=x/input", "r0", "-")):
            before = len(lines(audit(stage), "refused"))
            assert stage.relay.get("/api/runtimes/" + path, method=method)[1] == \
                "backend.runtime_unsupported"
            record = lines(audit(stage), "refused")[before]
            assert (record["RUNTIME_ID"], record["WORKER_ID"]) == (runtime_id, worker_id), path


def test_a_request_that_no_route_takes_is_a_line(bin_dir):
    """With the code that its answer has in the body."""
    with Stage(bin_dir) as stage:
        for method, path, role, expected in (
                ("GET", "/api/" + MARK, "viewer", (404, "not_found", "-", "-")),
                ("POST", "/api/runtimes", "operator", (405, "method_not_allowed", "-", "-")),
                ("DELETE", "/api/runtimes/r0/workers/w", None,
                 (405, "method_not_allowed", "-", "-")),
                ("GET", "/api/runtimes/r0/workers?limit=x", "viewer",
                 (400, "bad_request", "r0", "-")),
                ("GET", "/api/runtimes/r0/workers/w/events/ws", "viewer",
                 (426, "upgrade_required", "r0", "w")),
                ("GET", "/api/runtimes/r9/workers/w/events/ws", None,
                 (426, "upgrade_required", "-", "w"))):
            before = len(lines(audit(stage), "refused"))
            status, _, body = stage.relay.get(path, role, method=method)
            assert (status, json.loads(body)["error"]["code"]) == expected[:2], path
            [record] = lines(audit(stage), "refused")[before:]
            assert (record["CODE"], record["RUNTIME_ID"], record["WORKER_ID"]) == expected[1:]
            assert record["SUBJECT"] == (f"{role}@example.org" if role else "-")
            assert record["PEER"] == "127.0.0.1"
        assert MARK not in stage.relay.output()


@pytest.mark.parametrize("head, status, code", [
    (b"Authorization: Bearer %s\r\n" % (b"A" * (1 << 20)), 431, "header_too_large"),
    (b"Cookie: sightline=%s\r\n" % (b"A" * (1 << 14)), 431, "header_too_large"),
    (b"X: y\r\n" * 1000, 431, "header_too_large"),
    (b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", 400, "bad_request"),
    (b"Content-Length: 5\r\n", 413, "content_too_large"),
    (b"no header at all\r\n", 400, "bad_request"),
], ids=["token", "cookie", "headers", "two tokens", "body", "no header"])
def test_a_request_whose_head_is_refused_is_a_line(bin_dir, head, status, code):
    with Stage(bin_dir) as stage:
        request = b"GET /api/runtimes HTTP/1.1\r\nHost: h\r\n" + head + b"\r\n"
        answer = exchange_bytes(stage.relay.port, request)
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:80]
        assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["code"] == code
        [record] = lines(audit(stage), "refused")
        assert (record["CODE"], record["PEER"], record["SUBJECT"]) == (code, "127.0.0.1", "-")
        assert "AAAA" not in stage.relay.output()


def exchange_bytes(port, request):
    """The whole answer, which may come before the request was taken to its end."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as connection:
        try:
            connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


def test_no_payload_token_or_cursor_is_in_the_log(bin_dir):
    with Stage(bin_dir) as stage:
        fill(stage)
        with stage.relay.observe("w") as client:
            cursor = client.until_caught_up()[-1].cursor
        with stage.relay.observe("w", cursor=cursor) as client:
            client.diagnostic("backend.event_withheld")
        with stage.relay.observe("w", cursor=cursor[:-4] + "AAAA") as client:
            client.closed()
        with stage.relay.observe("w", token="wrong-token") as client:
            client.closed()
        with stage.relay.observe("%0aAUDIT=begin", "operator") as client:
            client.closed()
        stage.relay.stop()
        output = stage.relay.output()
        for secret in (MARK, cursor, cursor[3:20], "wo_", "bo_", "wrong-token",
                       *stage.relay.tokens.values()):
            assert secret not in output
        assert len(lines(audit(stage), "begin")) == 2  # nobody made one up


def test_the_journal_gets_fields_from_within_the_sandbox(bin_dir, tmp_path):
    with Journal(tmp_path) as journal:
        stage = Stage(bin_dir, wrapper=journal.wrapper)
        with stage:
            stage.fill("w", 3)
            with stage.relay.observe("w") as client:
                client.until_caught_up()
            with pytest.raises(ws.Refused):
                stage.relay.observe("nobody", plain=True)
            stage.relay.stop()
        records = [r for r in journal.records() if "AUDIT" in r]
        assert [r["AUDIT"] for r in records] == ["begin", "end", "refused"]
        begin, end, refused = records
        assert begin["SUBJECT"] == "operator@example.org" and begin["SESSION"] == end["SESSION"]
        assert (end["DELIVERED"], end["SYSLOG_IDENTIFIER"]) == ("3", "backend-relay")
        assert (refused["CODE"], refused["WORKER_ID"]) == ("backend.worker_not_found", "nobody")
        assert "AUDIT" not in stage.relay.output()


def test_a_subject_that_comes_and_goes_does_not_fill_the_journal_and_nothing_is_lost(bin_dir):
    at_once, more = 200, 60  # written one by one, and beyond: docs/man/backend-relay.8
    with Stage(bin_dir) as stage:
        stage.fill("w", 1)
        stage.runtime.append("w", event("tool_result", output=MARK))
        for _ in range(at_once + more):
            with stage.relay.observe("w", "viewer") as client:
                client.events(2)
        with stage.relay.observe("w") as other:  # whom that does not concern
            other.until_caught_up()
        stage.relay.stop()
        records = audit(stage)
        assert len(lines(records, "begin", ROLE="operator")) == 1
        begun, ended = (lines(records, what, ROLE="viewer") for what in ("begin", "end"))
        assert at_once <= len(begun) == len(ended) < at_once + more
        sums = lines(records, "sum")
        assert {(s["SUBJECT"], s["ROLE"], s["RUNTIME_ID"], s["WORKER_ID"]) for s in sums} == \
            {("viewer@example.org", "viewer", "r0", "w")}
        assert len(begun) + sum(int(s["BEGUN"]) for s in sums) == at_once + more
        assert len(ended) + sum(int(s["ENDED"]) for s in sums) == at_once + more
        assert sum(int(r["DELIVERED"]) for r in ended + sums) == 2 * (at_once + more)
        assert sum(int(r["REDACTED"]) for r in ended + sums) == at_once + more
