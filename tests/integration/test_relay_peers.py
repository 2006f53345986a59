"""backend-relay: peers that guess, proxies that speak for others, and what is hidden."""

import http.client
import statistics
import subprocess
import time

import pytest

import ws
from fake_runtime import wait_until
from journal import audit_of_stderr
from relay import Relay, Stage

ROUNDS = 8
FEW = {"failed_attempts": 3, "failed_attempt_interval": "1h"}
PROXY = {"trusted_proxies": ["127.0.0.0/8"]}


def get(stage, token=None, forwarded=None, path="/api/runtimes"):
    headers = {} if forwarded is None else {"Forwarded": forwarded}
    return stage.relay.get(path, role=None, token=token, headers=headers)[:2]


TOO_OFTEN = (503, "backend.too_many_connections")
WRONG = (401, "backend.unauthorized")


def test_a_peer_that_guesses_is_no_longer_listened_to(bin_dir):
    with Stage(bin_dir, FEW) as stage:
        stage.fill("w", 2)
        good = stage.relay.tokens["operator"]
        with stage.relay.observe("w") as client:
            client.until_caught_up()
            assert get(stage, good) == (200, None)
            assert [get(stage, "wrong") for _ in range(5)] == [WRONG] * 3 + [TOO_OFTEN] * 2
            # Not told whether it would have been right; without one it comes in as before.
            assert get(stage, good) == TOO_OFTEN
            assert get(stage) == (200, None)
            with stage.relay.observe("w", token="wrong") as other:
                assert other.diagnostic()["code"] == "backend.too_many_connections"
                assert other.closed()[0] == 1013
            with pytest.raises(ws.Refused) as error:
                stage.relay.observe("w", plain=True)
            assert (error.value.status, error.value.code) == TOO_OFTEN
            stage.runtime.append("w", b'{"event":"more"}')
            client.events(1)  # whoever is in stays in
        assert stage.relay.metric("unauthorized_total") == 3
        assert stage.relay.metric("too_often_total") == 5


def test_a_bucket_fills_again(bin_dir):
    with Stage(bin_dir, {"failed_attempts": 2, "failed_attempt_interval": "300ms"}) as stage:
        good = stage.relay.tokens["operator"]
        assert [get(stage, "wrong") for _ in range(2)] == [WRONG] * 2
        wait_until(lambda: get(stage, good) == (200, None), "the next attempt")
        assert get(stage, "wrong") == WRONG


def test_a_proxy_speaks_for_its_clients_and_nobody_else_does(bin_dir):
    with Stage(bin_dir, {**FEW, **PROXY}) as stage:
        bad, other = "for=203.0.113.9", 'for="[2001:db8:1:2::3]:4711";proto=https'
        assert [get(stage, "wrong", bad) for _ in range(4)] == [WRONG] * 3 + [TOO_OFTEN]
        assert get(stage, "wrong", other) == WRONG
        # What a client puts in front itself, or a proxy behind it that we trust, changes nothing.
        for header in (f"for=198.51.100.1, {bad}", f"for=unknown,{bad}", f"{bad}, for=127.0.0.2",
                       f"{bad};by=x, for=\"127.0.0.2:80\""):
            assert get(stage, "wrong", header) == TOO_OFTEN, header
        # The same site of IPv6.
        assert [get(stage, "wrong", "for=\"[2001:db8:1:2::4]\"") for _ in range(3)] == \
            [WRONG, WRONG, TOO_OFTEN]
        # What can't be read is the proxy's own.
        for header in ("for=203.0.113.9,", "nonsense", "for=unknown"):
            assert get(stage, "wrong", header) == WRONG, header
        assert get(stage, "wrong") == TOO_OFTEN
        peers = {r["PEER"] for r in audit_of_stderr(stage.relay.output())}
        assert peers == {"203.0.113.9", "2001:db8:1:2::3", "2001:db8:1:2::4", "127.0.0.1"}


def test_without_a_trusted_proxy_nobody_is_believed(bin_dir):
    with Stage(bin_dir, {**FEW, "trusted_proxies": ["10.0.0.0/8", "::1", "unix"]}) as stage:
        answers = [get(stage, "wrong", f"for=203.0.113.{i}") for i in range(4)]
        assert answers == [WRONG] * 3 + [TOO_OFTEN]
        assert {r["PEER"] for r in audit_of_stderr(stage.relay.output())} == {"127.0.0.1"}


@pytest.mark.parametrize("name", ["Forwarded", "Authorization", "Cookie"])
def test_a_field_that_decides_stands_once(bin_dir, name):
    with Stage(bin_dir, PROXY) as stage:
        connection = http.client.HTTPConnection("127.0.0.1", stage.relay.port, timeout=20)
        connection.putrequest("GET", "/api/runtimes")
        for i in (1, 2):
            connection.putheader(name, f"for=192.0.2.{i}")
        connection.endheaders()
        assert connection.getresponse().status == 400
        connection.close()


def test_a_cookie_that_stands_twice_is_a_wrong_one(bin_dir):
    with Stage(bin_dir) as stage:
        good = f"sightline={stage.relay.tokens['operator']}"
        for cookie, status in ((good, 200), (f"{good}; {good}", 401), ("sightline=", 401),
                               ("other=x", 200)):
            headers = {"Cookie": cookie, "Origin": "https://console.example"}
            assert stage.relay.get("/api/runtimes", role=None, headers=headers)[0] == status


def seconds_until_refused(stage, worker_id, plain, role="viewer"):
    begin = time.monotonic()
    try:
        with stage.relay.observe(worker_id, role, plain=plain) as client:
            client.diagnostic()
            taken = time.monotonic() - begin
            client.closed()
            heard = (client.raw, client.close_code, client.close_reason)
    except ws.Refused as refused:
        taken = time.monotonic() - begin
        headers = {k: v for k, v in refused.headers.items() if k != "Date"}
        heard = (refused.status, headers)
    return taken, heard


def ask(stage, way, worker_id):
    """(seconds, answer) of asking for that worker in this way."""
    if way in ("in-stream", "plain"):
        return seconds_until_refused(stage, worker_id, way == "plain")
    path = f"r0/workers/{worker_id}"
    if way == "runtime":  # there is none, and none for this role
        path = ("r0" if worker_id == "nobody" else "r9") + "/workers/nobody"
    begin = time.monotonic()
    answer = stage.relay.get(f"/api/runtimes/{path}", "viewer")
    return time.monotonic() - begin, answer


@pytest.mark.parametrize("way", ["in-stream", "plain", "list", "runtime"])
def test_what_is_hidden_takes_as_long_as_what_is_not_there(bin_dir, way):
    """The runtime has to be asked for one of them, and takes its time."""
    with Stage(bin_dir, {"not_found_time": "120ms"}) as stage:
        stage.fill("private-1", 2)
        heard = []
        for _ in range(ROUNDS):  # what tells them apart does so in each; a busy machine does not
            hidden, missing = [], []
            for _ in range(12):
                for worker_id, taken in (("private-1", hidden), ("nobody", missing)):
                    seconds, answer = ask(stage, way, worker_id)
                    taken.append(seconds)
                    heard.append(answer)
            assert all(answer == heard[0] for answer in heard)
            assert min(hidden) >= 0.12 and min(missing) >= 0.12
            apart = abs(statistics.median(hidden) - statistics.median(missing))
            # The jitter covers both alike: neither lies all on one side of the other.
            if apart < 0.03 and min(hidden) < max(missing) and min(missing) < max(hidden):
                return
        raise AssertionError(f"{way}: {sorted(hidden)} {sorted(missing)}")
        assert stage.runtime.upgrades("private-1") == []


def test_a_client_that_leaves_or_is_sent_away_while_its_refusal_waits(bin_dir):
    with Stage(bin_dir, {"not_found_time": "10s"}) as stage:
        with stage.relay.observe("private-1", "viewer") as client:
            client.send("x")
            assert client.diagnostic()["code"] == "backend.observation_only"
        with stage.relay.observe("private-1", "viewer"):
            pass
        wait_until(lambda: stage.relay.metric("clients") == 0, "the end of both")
        with stage.relay.observe("nobody", "viewer") as client:
            stage.relay.write_tokens(stage.relay.entries[:1])
            stage.relay.reload()
            assert client.diagnostic()["code"] == "backend.session_expired"
        with stage.relay.observe("private-1") as client:
            stage.relay.stop()
            assert client.diagnostic()["code"] == "backend.going_away"


@pytest.mark.parametrize("name", ["*", "w*", "%3f", "private-%3F", "%2a", "w%2f..", "[w]"])
def test_names_with_globs_in_them_are_names_of_nothing(bin_dir, name):
    with Stage(bin_dir, {"not_found_time": "0s"}) as stage:
        stage.fill("w", 2)
        for path in (f"/api/runtimes/r0/workers/{name}", f"/api/runtimes/{name}/workers/w",
                     f"/api/runtimes/{name}/workers"):
            assert get(stage, stage.relay.tokens["operator"], path=path)[0] == 404, path
        with stage.relay.observe(name) as client:
            assert client.diagnostic()["code"] == "backend.worker_not_found"
        assert stage.projection.opened == [] and stage.projection.authorized == []


def test_configuration_of_proxies_with_mistakes(bin_dir, tmp_path):
    for value in ("localhost", "10.0.0.0/33", "10.0.0.1/8", "::/129", "1.2.3", "", "10.0.0.0/",
                  "10.0.0.0/0x8", "10.0.0.0/-1", ["10.0.0.1", "*"]):
        relay = Relay(bin_dir, tmp_path / "p.sock", [], {"trusted_proxies": value}, tmp_path)
        result = subprocess.run([relay.program, "--config", relay.dir / "backend-relay.yaml"],
                                capture_output=True, text=True, timeout=20, check=False)
        assert result.returncode == 2 and "trusted_proxies" in result.stderr, (value, result)
        assert "backend-relay.yaml:" in result.stderr


def raw_answer(stage, path, headers=()):
    """All that came back, but for the date."""
    connection = http.client.HTTPConnection("127.0.0.1", stage.relay.port, timeout=20)
    connection.request("GET", path, headers=dict(headers))
    answer = connection.getresponse()
    fields = [(name, value) for name, value in answer.getheaders() if name.lower() != "date"]
    got = (answer.status, answer.reason, fields, answer.read())
    connection.close()
    return got


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
           "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}


@pytest.mark.parametrize("path, more", [
    ("/api/runtimes", {}), ("/api/runtimes/r0/workers", {}), ("/api/runtimes/r0/workers/w", {}),
    ("/api/runtimes/r0/workers/w/events/ws", UPGRADE),
    ("/api/runtimes/r0/workers/nobody/events/ws", UPGRADE)])
def test_a_401_is_the_same_to_the_byte_whatever_was_wrong(bin_dir, path, more):
    with Stage(bin_dir, {"failed_attempts": 10000}) as stage:
        stage.fill("w", 2)
        good = stage.relay.tokens["operator"]
        origin = {"Origin": "https://console.example"}
        wrong = [bearer("wrong"), bearer(good[:-1]), bearer(good + "A"), bearer(good.swapcase()),
                 bearer("a.b.c"), bearer("eyJhbGciOiJub25lIn0.e30."), bearer("x" * 4096),
                 {"Authorization": "Bearer "}, {"Authorization": "Bearer"},
                 {"Authorization": f"Basic {good}"}, {"Authorization": good},
                 {"Cookie": "sightline=wrong", **origin}, {"Cookie": "sightline=", **origin},
                 {"Sec-WebSocket-Protocol": "bearer.!"}, {"Sec-WebSocket-Protocol": "bearer."},
                 {"Sec-WebSocket-Protocol": "bearer.d3Jvbmc, bearer.d3Jvbmc"}]
        answers = [raw_answer(stage, path, {**headers, **more}) for headers in wrong]
        assert answers[0][0] == 401
        for headers, answer in zip(wrong, answers):
            assert answer == answers[0], headers
        if not more:
            assert raw_answer(stage, path, bearer(good))[0] == 200


@pytest.mark.parametrize("cursor", ["", "bo_AAAA", "wo_1", "bo_" + "A" * 102, "%00"])
def test_a_bad_cursor_tells_nothing_of_what_is_hidden(bin_dir, cursor):
    with Stage(bin_dir, {"not_found_time": "0s"}) as stage:
        stage.fill("private-1", 2)
        stage.fill("w", 2)
        heard = set()
        for worker_id, runtime_id in (("private-1", "r0"), ("nobody", "r0"), ("w", "r0"),
                                      ("w", "r9"), ("*", "r0"), ("w", "*")):
            with stage.relay.observe(worker_id, "viewer", runtime_id, cursor) as client:
                client.closed()
                heard.add((tuple(client.raw), client.close_code, client.close_reason))
        assert len(heard) == 1 and "backend.cursor_" in str(heard), heard
        assert stage.runtime.upgrades() == []


def test_a_404_is_the_same_to_the_byte_whether_hidden_or_missing(bin_dir):
    with Stage(bin_dir, {"not_found_time": "0s"}) as stage:
        stage.fill("private-1", 2)
        viewer = bearer(stage.relay.tokens["viewer"])
        for suffix, more in (("", {}), ("/events/ws", UPGRADE), ("/events/ws?cursor=", UPGRADE),
                             ("/events/ws?cursor=bo_AAAA", UPGRADE),
                             ("/events/ws?cursor=wo_1", UPGRADE)):
            answers = [raw_answer(stage, f"/api/runtimes/{where}{suffix}", {**viewer, **more})
                       for where in ("r0/workers/private-1", "r0/workers/nobody", "r9/workers/w",
                                     "r9/workers/private-1", "r0/workers/*", "*/workers/w")]
            assert answers[0][0] == (101 if "cursor" in suffix else 404)
            assert all(answer == answers[0] for answer in answers), answers
        assert stage.runtime.upgrades("private-1") == []


@pytest.mark.parametrize("size", [4097, 64 << 10, 1 << 20])
def test_a_long_token_is_refused_wherever_it_stands_and_nobody_else_notices(bin_dir, size):
    with Stage(bin_dir, {"failed_attempts": 10000}) as stage:
        stage.fill("w", 2)
        long = "A" * size
        with stage.relay.observe("w") as client:
            client.until_caught_up()
            for headers in (bearer(long), {"Cookie": f"sightline={long}",
                                           "Origin": "https://console.example"},
                            {"Sec-WebSocket-Protocol": f"bearer.{long}"}):
                try:
                    assert raw_answer(stage, "/api/runtimes", headers)[0] in (401, 431)
                except OSError:
                    assert size >= 64 << 10  # cut off while it was still sending
            stage.runtime.append("w", b'{"event":"more"}')
            client.events(1)
