"""backend-relay: who may come in, what they may do, slow ones, stopping, lists, configuration."""

import base64
import json
import os
import pathlib
import re
import socket
import subprocess
import time
import urllib.request

import pytest

import ws
from fake_runtime import wait_until
from raw_ws import RawClient
from relay import DEADLINE_S, Stage, event

TOP = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def stage(bin_dir):
    with Stage(bin_dir) as stage:
        stage.fill("w", 5)
        yield stage
        assert stage.relay.is_alive()


def final_word(client):
    diagnostic = client.diagnostic()
    assert diagnostic["final"]
    return diagnostic["code"], client.closed()[0]


def test_client_that_sends_data_is_sent_away_and_no_other_is(stage):
    with stage.relay.observe("w") as quiet:
        quiet.until_caught_up()
        for message in ("hello", b"\x00", "", "x" * 70_000):
            for plain in (False, True):
                with stage.relay.observe("w", plain=plain) as client:
                    client.events(5)
                    client.send(message)
                    code, close = final_word(client)
                    assert (code, close) == ("backend.observation_only", 1008)
        stage.runtime.append("w", event("text_delta"))
        quiet.events(1)


def test_wrong_credential_is_unauthorized_and_none_is_anonymous(stage):
    for token in ("wrong", "x" * 2000, stage.relay.tokens["operator"][:-1]):
        with stage.relay.observe("w", token=token) as client:
            assert final_word(client) == ("backend.unauthorized", 4401)
        with pytest.raises(ws.Refused) as error:
            stage.relay.observe("w", token=token, plain=True)
        assert (error.value.status, error.value.code) == (401, "backend.unauthorized")
        assert stage.relay.get("/api/runtimes", token=token)[:2] == (401, "backend.unauthorized")
    for header in ("Basic dTpw", "Bearer", "Bearer a b"):
        with pytest.raises(ws.Refused) as error:
            stage.relay.observe("w", token=None, plain=True, headers={"Authorization": header})
        assert error.value.status in (400, 401)
    with stage.relay.observe("w", token=None) as client:
        assert final_word(client) == ("backend.worker_not_found", 4404)
    stage.projection.may_observe = lambda role, worker_id: role == "anonymous"
    with stage.relay.observe("w", token=None) as client:
        assert len(client.until_caught_up()) == 5


def test_token_in_a_subprotocol_is_taken_and_not_echoed(stage):
    token = stage.relay.tokens["operator"]
    with stage.relay.observe("w", token=None, bearer_subprotocol=token) as client:
        assert client.subprotocol == "sightline.v1"
        assert len(client.until_caught_up()) == 5
    with stage.relay.observe("w", token=None, bearer_subprotocol=token + "x") as client:
        assert final_word(client) == ("backend.unauthorized", 4401)
    encoded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    heard = stage.relay.everything_heard()
    assert token not in heard and encoded not in heard


def test_token_in_a_cookie_needs_a_configured_origin(stage):
    cookie = {"Cookie": f"a=b; sightline={stage.relay.tokens['operator']}"}
    with stage.relay.observe("w", token=None, headers=cookie,
                             origin="https://console.example") as client:
        assert len(client.until_caught_up()) == 5
    with stage.relay.observe("w", token=None, headers=cookie) as client:
        assert final_word(client) == ("backend.worker_not_found", 4404)  # anonymous


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "http://console.example",
                                    "https://console.example:444", "null",
                                    "https://console.example.evil.example"])
def test_origin_that_is_not_configured_is_forbidden(stage, origin):
    with pytest.raises(ws.Refused) as error:
        stage.relay.observe("w", origin=origin)
    assert error.value.status == 403


def test_token_never_counts_in_the_query(stage):
    url = stage.relay.url("w") + f"?token={stage.relay.tokens['operator']}"
    with ws.Client(url, subprotocols=["sightline.v1"]) as client:
        assert final_word(client) == ("backend.worker_not_found", 4404)


def test_reload_ends_the_sessions_of_tokens_that_are_gone(stage):
    with stage.relay.observe("w") as operator, stage.relay.observe("w", "viewer") as viewer:
        operator.until_caught_up()
        viewer.until_caught_up()
        token, entry = stage.relay.new_token("carol", "operator")
        stage.relay.write_tokens([stage.relay.entries[0], entry])
        stage.relay.reload()
        assert final_word(viewer) == ("backend.session_expired", 4401)
        stage.runtime.append("w", event("text_delta"))
        operator.events(1)
        with stage.relay.observe("w", token=token) as carol:
            carol.until_caught_up()
    # The second is what a writer leaves that has only begun.
    for refusals, text in enumerate(("tokens: [{subject: x}]\n", ""), 1):
        (stage.dir / "tokens.yaml").write_text(text)
        stage.relay.process.send_signal(1)
        wait_until(lambda n=refusals: stage.relay.output().count("going on with the tokens") == n,
                   "the refusal")
    with stage.relay.observe("w") as client:
        client.until_caught_up()


def test_slow_client_costs_itself_only_and_gets_everything(bin_dir):
    limits = {"view_ring_bytes": "256KiB", "client_queue_bytes": "64KiB"}
    with Stage(bin_dir, limits) as stage:
        payloads = stage.fill("w", 3)
        with stage.relay.observe("w") as quick, stage.relay.observe("w") as slow:
            quick.until_caught_up()
            slow.until_caught_up()
            slow.pause()
            for i in range(300):
                payloads.append(event("text_delta", n=i, text="x" * 50_000))
                stage.runtime.append("w", payloads[-1])
                assert quick.events(1)[0].payload_bytes == payloads[-1]
            slow.resume()
            slow.events(300)
            assert [e.payload_bytes for e in slow.all_events()] == payloads
            lagging = [f["diagnostic"] for f in slow.frames if f["kind"] == "diagnostic"]
            assert {d["code"] for d in lagging} == {"backend.lagging"}
            assert all(d["behind"] > 0 and not d["final"] for d in lagging)
            assert [f["kind"] for f in slow.frames].count("caught_up") == 1
            assert not [f for f in quick.frames if f["kind"] == "diagnostic"]


def test_slow_client_that_began_in_the_ring_has_not_caught_up_before_its_end(bin_dir):
    """Lapped before it has read what the ring held at first, it reads the log to its end."""
    limits = {"view_ring_bytes": "16MiB", "client_queue_bytes": "64KiB"}
    with Stage(bin_dir, limits) as stage:
        def append(texts):
            added = [event("text_delta", n=i, text=text) for i, text in enumerate(texts)]
            stage.runtime.append_many("w", added)
            return added

        def rings_and_joins():
            return [stage.relay.metric(f"{name}_total")
                    for name in ("live_feeds_adopted", "clients_joined")]

        stage.fill("w", 3)
        with stage.relay.observe("w") as quick:
            quick.until_caught_up()
            wait_until(lambda: any(rings_and_joins()), "the ring")
            append(["its first"])
            cursor = quick.events(1)[0].cursor
            payloads = append(["x" * 50_000] * 240)  # more than sockets hold
            quick.events(240)
            before = rings_and_joins()
            with stage.relay.observe("w", cursor=cursor, reads=False) as slow:
                wait_until(lambda: rings_and_joins() > before, "the slow one reads the ring")
                payloads += append(["x" * 50_000] * 600)  # more than the ring holds
                quick.events(600)
                slow.resume()
                assert [e.payload_bytes for e in slow.until_caught_up(60)] == payloads
            assert {f["diagnostic"]["code"] for f in slow.frames if f["kind"] == "diagnostic"} == \
                {"backend.lagging"}


def test_slow_client_in_the_past_holds_back_its_own_upstream_only(bin_dir):
    limits = {"client_queue_bytes": "64KiB", "projection_queue_bytes": "64KiB"}
    with Stage(bin_dir, limits) as stage:
        payloads = stage.fill("w", 3)
        for i in range(600):
            payloads.append(event("text_delta", n=i, text="x" * 50_000))
        stage.runtime.append_many("w", payloads[3:])
        with stage.relay.observe("w", reads=False) as slow, stage.relay.observe("w") as quick:
            assert len(quick.until_caught_up(60)) == len(payloads)
            asked = stage.relay.metric("upstream_events_total")
            assert asked < 2 * len(payloads)  # the slow one's events are still at the runtime
            slow.resume()
            assert [e.payload_bytes for e in slow.until_caught_up(60)] == payloads


def test_upstream_that_is_lost_while_it_is_held_back(bin_dir):
    limits = {"client_queue_bytes": "64KiB", "projection_queue_bytes": "64KiB",
              "upstream_timeout": "500ms"}
    with Stage(bin_dir, limits) as stage:
        payloads = stage.fill("w", 3)
        payloads += [event("text_delta", n=i, text="x" * 50_000) for i in range(400)]
        stage.runtime.append_many("w", payloads[3:])
        with stage.relay.observe("w", reads=False) as slow:
            wait_until(lambda: stage.relay.metric("upstream_events_total") > 3, "the first ones")
            stage.runtime.cut()
            wait_until(lambda: stage.runtime.connections, "the live one again")
            with stage.relay.observe("w") as other:
                assert len(other.until_caught_up(60)) == len(payloads)
            slow.resume()
            slow.until_caught_up(60)
            assert [e.payload_bytes for e in slow.all_events()] == payloads


def test_client_that_reads_nothing_at_all_is_given_up(bin_dir):
    with Stage(bin_dir, {"stall_timeout": "500ms"}) as stage:
        stage.fill("w", 3)
        stage.runtime.append_many("w", [event("text_delta", text="x" * 50_000)] * 400)
        with stage.relay.observe("w", reads=False):
            wait_until(lambda: stage.relay.metric("clients_stalled_total") == 1, "the end of it")
            wait_until(lambda: stage.relay.metric("clients") == 0, "its memory")


def test_session_has_a_lifetime_where_one_is_configured(bin_dir):
    with Stage(bin_dir, {"session_lifetime": "1s"}) as stage:
        stage.fill("w", 3)
        with stage.relay.observe("w") as client:
            assert client.frame()["hello"]["max_lifetime_s"] == 1
            client.until_caught_up()
            diagnostic = client.diagnostic("backend.going_away")
            assert diagnostic["final"] and diagnostic["retry"] == "now"
            assert client.closed()[0] == 1001


def test_stopping_tells_everybody_to_come_back_spread_out(stage):
    clients = [stage.relay.observe("w", plain=i % 2 == 0) for i in range(10)]
    for client in clients:
        client.events(5)
    stage.relay.stop()
    after = []
    for client in clients:
        diagnostic = client.diagnostic("backend.going_away")
        assert diagnostic["final"] and client.closed()[0] == 1001
        after.append(diagnostic["retry_after_ms"])
    assert len(set(after)) > 1 and all(0 <= ms <= 5000 for ms in after)


def test_too_many_sessions(bin_dir):
    with Stage(bin_dir, {"max_clients": 3}) as stage:
        stage.fill("w", 2)
        clients = [stage.relay.observe("w") for _ in range(3)]
        for client in clients:
            client.until_caught_up()
        with stage.relay.observe("w") as one_more:
            assert final_word(one_more) == ("backend.too_many_connections", 1013)
        with pytest.raises(ws.Refused) as error:
            stage.relay.observe("w", plain=True)
        assert (error.value.status, error.value.code) == (503, "backend.too_many_connections")
        clients[0].close()
        wait_until(lambda: stage.relay.metric("clients") < 3, "room")
        with stage.relay.observe("w") as client:
            client.until_caught_up()


def test_those_who_stay_behind_their_last_word_make_room(bin_dir):
    """64 connections beyond max_clients are there for refusals; 200 that never go fill them all."""
    with Stage(bin_dir, {"max_clients": 2, "failed_attempts": 1000}) as stage:
        stage.fill("w", 2)
        refused = []
        for _ in range(200):
            refused.append(RawClient(stage.relay.url("w"), token="wrong-%d" % len(refused),
                                     subprotocol="sightline.v1"))
            assert refused[-1].receive()[0] == 1
        with stage.relay.observe("w") as client:
            client.until_caught_up()
        assert stage.relay.metric("idle_connections_dropped_total") >= 200 - 66
        for client in refused:
            client.__exit__()


def test_nobody_takes_the_places_of_others(bin_dir):
    limits = {"max_clients": 9, "max_clients_per_subject": 3, "not_found_time": "10s"}
    with Stage(bin_dir, limits) as stage:
        stage.fill("w", 2)
        for _ in range(4):  # not one after the other: places come back
            viewers = [stage.relay.observe("w", "viewer") for _ in range(3)]
            for client in viewers:
                client.until_caught_up()
            with stage.relay.observe("w", "viewer") as one_more:
                assert final_word(one_more) == ("backend.too_many_connections", 1013)
            for client in viewers[1:]:
                client.close()
            viewers[0].abort()
            wait_until(lambda: stage.relay.metric("clients") == 0, "room")
        # Without a credential they wait to hear that there is nothing.
        strangers = [stage.relay.observe("w", "nobody") for _ in range(3)]
        with stage.relay.observe("w", "nobody") as one_more:
            assert final_word(one_more) == ("backend.too_many_connections", 1013)
        viewers = [stage.relay.observe("w", "viewer") for _ in range(3)]
        for client in [*viewers, stage.relay.observe("w")]:
            client.until_caught_up()
        for client in strangers:
            client.abort()


# What there is.

def test_lists_show_what_this_role_may_observe_and_nothing_else(stage):
    for worker in ("private-1", "a", "b:2"):
        stage.fill(worker, 1)
    status, _, body = stage.relay.get("/api/runtimes")
    assert status == 200
    assert json.loads(body) == {"runtimes": [{"runtime_id": "r0", "display_name": 'Runtime "0"'}]}
    assert json.loads(stage.relay.get("/api/runtimes", "nobody")[2]) == {"runtimes": []}

    def workers(role):
        status, code, body = stage.relay.get("/api/runtimes/r0/workers", role)
        return [w["worker_id"] for w in json.loads(body)["workers"]] if status == 200 else code
    assert workers("operator") == ["a", "b:2", "private-1", "w"]
    assert workers("viewer") == ["a", "b:2", "w"]
    assert workers("nobody") == "backend.worker_not_found"
    assert json.loads(stage.relay.get("/api/runtimes/r0/workers/b%3A2")[2]) == \
        {"runtime_id": "r0", "worker_id": "b:2"}
    hidden = stage.relay.get("/api/runtimes/r0/workers/private-1", "viewer")
    assert hidden == stage.relay.get("/api/runtimes/r0/workers/nobody", "viewer")
    assert hidden[:2] == (404, "backend.worker_not_found")
    assert stage.relay.get("/api/runtimes/r7/workers")[:2] == (404, "backend.worker_not_found")


def test_pages_name_nobody_that_is_hidden(stage):
    for worker in ["private-%d" % i for i in range(7)] + ["q-%d" % i for i in range(5)]:
        stage.fill(worker, 1)
    for page in (1, 3, 100):
        stage.runtime.page = page
        seen, after = [], ""
        while True:
            body = json.loads(stage.relay.get(f"/api/runtimes/r0/workers?limit=2{after}",
                                              "viewer")[2])
            assert "private" not in str(body)
            assert len(body["workers"]) <= 2
            seen += [w["worker_id"] for w in body["workers"]]
            if "next_after" not in body:
                break
            assert body["next_after"] == seen[-1]
            after = "&after=" + seen[-1]
        assert seen == ["q-0", "q-1", "q-2", "q-3", "q-4", "w"]


@pytest.mark.parametrize("hidden", [(), ("a-private",), ("n-private",), ("z-private",)])
def test_nobody_hidden_makes_another_page(stage, hidden):
    """`m` and `w` are all that there is for this role, whoever comes before or after them."""
    for worker in ("m", *hidden):
        stage.fill(worker, 1)
    stage.runtime.page = 1
    pages = [json.loads(stage.relay.get(f"/api/runtimes/r0/workers?{query}", "viewer")[2])
             for query in ("limit=1", "limit=2", "limit=1&after=m", "limit=1&after=w")]
    assert [[w["worker_id"] for w in page["workers"]] for page in pages] == \
        [["m"], ["m", "w"], ["w"], []]
    assert ["next_after" in page for page in pages] == [True, False, False, False]


def test_lists_take_as_long_as_what_is_not_there(bin_dir):
    """Else the time would tell how many names were left out."""
    with Stage(bin_dir, {"not_found_time": "700ms"}) as stage:
        stage.fill("w", 1)
        for path in ("/api/runtimes", "/api/runtimes/r0/workers"):
            begin = time.monotonic()
            assert stage.relay.get(path, "viewer")[0] == 200
            assert time.monotonic() - begin >= 0.7


def test_lists_of_a_runtime_that_fails(stage):
    stage.runtime.refuse = (200, {}, '{"workers":[{"worker_id":"a"}],"next_after":"a"}')
    assert stage.relay.get("/api/runtimes/r0/workers")[:2] == (503, "backend.malformed_frame")
    stage.runtime.refuse = (500, {})
    assert stage.relay.get("/api/runtimes/r0/workers")[:2] == (503, "backend.runtime_unavailable")
    stage.runtime.refuse = (200, {}, '{"workers":[{"worker_id":"a/b"}]}')
    assert stage.relay.get("/api/runtimes/r0/workers")[:2] == (503, "backend.malformed_frame")
    stage.runtime.refuse = (200, {}, "[" * 1000)
    assert stage.relay.get("/api/runtimes/r0/workers")[:2] == (503, "backend.malformed_frame")
    stage.runtime.refuse = (302, {"Location": "http://127.0.0.1:9/"})
    assert stage.relay.get("/api/runtimes/r0/workers")[:2] == \
        (501, "backend.runtime_unsupported")
    stage.runtime.stop()
    assert stage.relay.get("/api/runtimes/r0/workers/w")[:2] == \
        (503, "backend.runtime_unavailable")
    assert stage.relay.get("/api/runtimes")[0] == 200


def test_other_routes(stage):
    for path in ("/", "/api", "/api/runtimes/", "/api/runtimes/r0", "/healthz", "/metrics"):
        assert stage.relay.get(path)[0] == 404, path
    with urllib.request.urlopen(f"http://127.0.0.1:{stage.relay.status_port}/healthz",
                                timeout=DEADLINE_S) as answer:
        assert json.loads(answer.read()) == {"status": "ok"}
    paths = [f"/api/runtimes/r0/workers/{worker}/{operation}" for worker in ("w", "none")
             for operation in ("commands", "input", "stop", "cancel", "transcript")]
    for method, body, more in (("GET", None, []), ("POST", None, ["/api/runtimes/r0/workers"]),
                               ("POST", b"{}" * 1000, []), ("PUT", b"{}", []), ("DELETE", None, [])):
        for path in paths + more:
            assert stage.relay.get(path, method=method, body=body)[:2] == \
                (501, "backend.runtime_unsupported"), (method, path)
    assert stage.relay.get(paths[0], token="wrong", method="POST")[:2] == \
        (401, "backend.unauthorized")
    for path in ("/", "/api/runtimes", "/api/runtimes/r0/workers/w",
                 "/api/runtimes/r0/workers/w/events/ws"):
        for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
            status, code, body = stage.relay.get(path, method=method)
            assert (status, code) == (405, None), (method, path)
            assert method == "HEAD" or json.loads(body)["error"]["code"] == "method_not_allowed"
    assert stage.relay.get("/api/runtimes/r0/workers/w/events/ws")[0] == 426
    for limit in ("0", "1001", "x", "-1"):
        assert stage.relay.get(f"/api/runtimes/r0/workers?limit={limit}")[0] == 400
    assert stage.relay.get("/api/runtimes/r0/workers?after=a%2Fb")[0] == 400


def test_client_that_sends_nothing_more_is_answered_all_the_same(stage):
    with RawClient(f"http://127.0.0.1:{stage.relay.port}/", request=(
            "GET /api/runtimes HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer "
            f"{stage.relay.tokens['operator']}\r\n\r\n").encode()) as raw:
        raw.end()
        answer = raw.rest()
    assert answer.startswith(b"HTTP/1.1 200 ") and b'"runtime_id":"r0"' in answer


# Starting.

def run(stage, text=None, arguments=None, **options):
    config = stage.dir / "wrong.yaml"
    if text is not None:
        config.write_text(text)
    return subprocess.run([stage.relay.program, *(arguments or ["--config", str(config)])],
                          capture_output=True, text=True, timeout=DEADLINE_S, **options)


def test_mistakes_in_files_have_their_place_and_exit_code_2(stage):
    good = json.loads((stage.dir / "backend-relay.yaml").read_text())

    def with_file(name, text, **changes):
        (stage.dir / f"wrong-{name}").write_text(text)
        done = run(stage, json.dumps({**good, name.split(".")[0]: f"wrong-{name}", **changes}))
        return done.returncode, done.stderr

    cases = [
        with_file("registry.yaml", "runtimes:\n  - runtime_id: a/b\n    url: ws://h\n"),
        with_file("registry.yaml", "runtimes:\n  - url: ws://h\n"),
        with_file("registry.yaml", "runtimes:\n  - runtime_id: a\n    url: http://h\n"),
        with_file("registry.yaml", "runtimes:\n  - runtime_id: a\n    url: ws://h.example\n"
                                   "    token_file: r0.token\n"),
        with_file("registry.yaml", "runtimes:\n  - runtime_id: a\n    url: ws://h\n    ulr: x\n"),
        with_file("registry.yaml", "runtimes:\n  - {runtime_id: a, url: 'ws://h'}\n"
                                   "  - {runtime_id: a, url: 'ws://h'}\n"),
        with_file("tokens.yaml", "tokens:\n  - {subject: a, role: b, hash: c}\n"),
        with_file("tokens.yaml", "tokens: [\n"),
    ]
    for code, stderr in cases:
        assert code == 2, stderr
        place = stderr.split(": ")[1].split(":")
        assert place[0].startswith(str(stage.dir)) and place[1].isdigit() and place[2].isdigit(), \
            stderr
    assert "the-runtime-token" not in "".join(stderr for _, stderr in cases)


def test_usage(stage):
    assert run(stage, arguments=[]).returncode == 2
    assert run(stage, arguments=["--new-token", "a"]).returncode == 2
    assert run(stage, arguments=["--new-token", "a b", "operator"]).returncode == 2
    assert run(stage, arguments=["--new-token", "a", "opera/tor"]).returncode == 2
    assert run(stage, arguments=["--config", "/nonexistent.yaml"]).returncode == 2
    assert run(stage, arguments=["--version"]).stdout.startswith("backend-relay ")
    done = run(stage, arguments=["--help"])
    assert done.returncode == 0 and "--new-token SUBJECT ROLE" in done.stdout


def test_files_and_man_page_name_the_same_keys():
    man = (TOP / "docs/man/backend-relay.yaml.5").read_text()
    named = re.findall(r"^\.It Cm (\w+)", man, re.MULTILINE)
    named += re.findall(r"^\.Cm (\w+)", man, re.MULTILINE)
    for source in ("config", "upstream/registry", "identity/token_table"):
        text = (TOP / f"backend-relay/{source}.c").read_text()
        keys = re.findall(r'(?:\.name = "|TEXT\(|NUMBER\()(\w+)', text)
        keys = [key for key in keys if key != "key"]
        assert keys and set(keys) <= set(named), set(keys) - set(named)


def test_port_in_use_is_said_and_exit_code_1(stage):
    good = json.loads((stage.dir / "backend-relay.yaml").read_text())
    done = run(stage, json.dumps(good))
    assert done.returncode == 1 and "in use" in done.stderr
    done = run(stage, json.dumps({**good, "listen": "nonsense"}))
    assert done.returncode == 1 and "nonsense" in done.stderr


@pytest.mark.parametrize("name", ["client", None])
def test_inherited_listening_socket(stage, name):
    good = json.loads((stage.dir / "backend-relay.yaml").read_text())
    del good["listen"]
    (stage.dir / "inherited.yaml").write_text(json.dumps(good))
    stage.relay.stop()
    with socket.create_server(("127.0.0.1", stage.relay.port)) as listening:
        def become_inherited():
            os.dup2(listening.fileno(), 3)
            os.environ["LISTEN_PID"] = str(os.getpid())
        script = 'LISTEN_PID=$$ exec "$@"'
        environment = {**os.environ, "LISTEN_FDS": "1"}
        if name is not None:
            environment["LISTEN_FDNAMES"] = name
        process = subprocess.Popen(
            ["sh", "-c", script, "sh", stage.relay.program, "--config",
             stage.dir / "inherited.yaml"],
            env=environment, preexec_fn=become_inherited, close_fds=False,
            stderr=subprocess.DEVNULL)
        try:
            with stage.relay.observe("w") as client:
                assert len(client.until_caught_up()) == 5
        finally:
            process.terminate()
            assert process.wait(DEADLINE_S) == 0
    stage.relay.start()


def test_status_listener(stage):
    assert stage.relay.metric("clients") == 0
    with stage.relay.observe("w") as client:
        client.until_caught_up()
        assert stage.relay.metric("clients") == 1
        assert stage.relay.metric("events_delivered_total") == 5
