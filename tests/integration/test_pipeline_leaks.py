"""Whatever fails, no byte towards a client tells anything about the runtime behind the relay.

Every connection of these tests goes through a proxy that keeps all bytes that the relay sends:
frames, heads and bodies of HTTP answers, close reasons. After each test they are searched, and so
are the metrics and the relay's own log.
"""

import base64
import json
import re
import signal
import urllib.request

import pytest
import websockets

import ports
import rogue_runtime as rogue
from codes import check_last_word, check_refused, items_of
from follower import Follower
from pipeline import PROCESSES, Pipeline
from raw_ws import RawClient, frame
from recording_proxy import RecordingProxy
from rogue_runtime import RogueRuntime
from ws import Client, Refused

PAYLOAD = "a-payload-that-stands-in-no-log"
HIDDEN = "told-by-a-runtime-and-not-for-clients"
EVENTS = 60
MAX_CLIENTS = 50
CURSOR = rogue.cursor(7)


def telling(*parts):
    """What a talkative runtime would say of itself."""
    return " ".join((HIDDEN, CURSOR, "/var/lib/sightline/log", *parts))


def closes(connection):
    connection.close()


ROGUES = {
    "400": rogue.answers(400, telling().encode(), Sightline_Code="runtime.bad_request"),
    "401": rogue.answers(401, telling().encode(), Sightline_Code="runtime.unauthorized"),
    "403": rogue.answers(403, telling().encode(), WWW_Authenticate=telling()),
    "404": rogue.answers(404, telling().encode()),
    "404-coded": rogue.answers(404, telling().encode(), Sightline_Code="runtime.worker_not_found"),
    "code": rogue.answers(404, b"", Sightline_Code=telling()),
    "500": rogue.answers(500, telling().encode(), X_Path=telling()),
    "503": rogue.answers(503, telling().encode(), Sightline_Code="runtime.unavailable"),
    "redirect": rogue.answers(302, b"", Location=f"http://127.0.0.1:1/{HIDDEN}"),
    "garbage": rogue.says(telling().encode() * 100, then=closes),
    "status-line": rogue.says(f"HTTP/1.1 200 {telling()}\r\n\r\n".encode(), then=closes),
    "nothing": rogue.says(b"", then=closes),
    "silent": rogue.refuses_nothing,
    "text": rogue.streams(frame(telling().encode(), mask=None)),
    "batch": rogue.streams(frame(telling().encode(), 2, mask=None)),
    "close": rogue.streams(rogue.close(1011, telling().encode()[:120])),
    "final": rogue.streams(rogue.batch(rogue.hello(), rogue.diagnostic(
        "runtime.cursor_unknown", final=True, message=telling())), rogue.close(4409)),
    "expired": rogue.streams(rogue.batch(rogue.diagnostic(
        "runtime.cursor_expired", final=True, oldest=CURSOR, message=telling())),
        rogue.close(4410, telling().encode()[:120])),
    "strange": rogue.streams(rogue.batch(rogue.hello(), rogue.diagnostic(
        "runtime.strange", final=True, message=telling(), oldest=CURSOR)), rogue.close(4999)),
    "range": rogue.streams(rogue.batch(
        rogue.hello(), rogue.event(1), rogue.diagnostic("runtime.corrupt", to=CURSOR, **{
            "from": rogue.cursor(2), "message": telling()}),
        rogue.diagnostic("runtime.pruned", to=rogue.cursor(9), **{"from": rogue.cursor(8)}),
        rogue.event(10), rogue.diagnostic("runtime.unavailable", message=telling()),
        rogue.caught_up(10), {"kind": HIDDEN, "cursor": CURSOR})),
    "members": rogue.streams(rogue.batch(rogue.hello(), rogue.event(
        1, endpoint=telling(), runtime_id=HIDDEN, log=CURSOR), rogue.caught_up(1))),
    "another worker": rogue.streams(rogue.batch(rogue.hello(), rogue.event(1, worker_id=HIDDEN))),
}


class Scene:
    def __init__(self, pipeline, proxy, rogues):
        self.pipeline, self.proxy, self.rogues = pipeline, proxy, rogues
        pipeline.publish("w", [line(i) for i in range(EVENTS)])
        pipeline.publish("v", [line(i) for i in range(EVENTS)])
        with pipeline.observe_runtime("/v1/workers/w/events/ws?from=oldest") as client:
            self.record = client.events(1)[0]

    def url(self, worker_id="w", cursor=None, runtime_id=None):
        return self.pipeline.client_url(worker_id, cursor, runtime_id).replace(
            self.pipeline.info["client_url"], self.proxy.url)

    def observe(self, *where, plain=False, role="operator", **options):
        options.setdefault("token", self.pipeline.info["tokens"].get(role))
        return Client(self.url(*where), subprotocols=[] if plain else ["sightline.v1"], **options)

    def wait_served(self):
        """What has failed is ready again; when the relay has found it again is another matter."""
        with Follower(lambda cursor: self.observe("w", cursor)) as follower:
            follower.until(1)

    def outcome(self, *where, **how):
        """Observes until the session ends or one event came; failures are what is looked for."""
        try:
            with self.observe(*where, **how) as client:
                while True:
                    item = client.frame()
                    if item is None or item["kind"] in ("event", "caught_up"):
                        return
        except (Refused, websockets.exceptions.WebSocketException, OSError):
            return

    def ask(self, head, body=b"", is_all=False):
        """One request of these lines; everything that comes back."""
        request = head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body
        with RawClient(self.proxy.url, request=request) as client:
            if is_all:
                client.end()
            return client.rest()

    def get(self, path, *headers, token="operator"):
        authorization = [f"Authorization: Bearer {self.pipeline.info['tokens'][token]}"] \
            if token else []
        return self.ask("\n".join([f"GET {path} HTTP/1.1", "Host: relay", "Connection: close",
                                   *authorization, *headers]))

    def secrets(self):
        """What they are -> how they look, as regular expressions."""
        info = self.pipeline.info
        tokens = [info["runtime_token"], *info["tokens"].values()]
        return {
            "runtime address": [re.escape(address) for address in (
                info["runtime_url"].removeprefix("http://"),
                *(r.address for r in self.rogues.values()))],
            "token": tokens + [base64.urlsafe_b64encode(t.encode()).decode().rstrip("=")
                               for t in tokens],
            # A sealed cursor or an id may well have "wo_" in it.
            "runtime cursor": ["wo_[0-9a-f]{8}", self.record.cursor[3:11]],
            "path": [info["publish_socket"], info["tail_socket"], info["log_dir"],
                     "/var/lib/sightline"],
            "runtime's words": [HIDDEN],
        }

    def check_nothing_leaked(self):
        logs = {name: self.pipeline.log(name) for name in PROCESSES}
        outputs = {"clients": self.proxy.sent().decode("latin-1"), "metrics": self.metrics(),
                   "the relay's log": logs["backend-relay"]}
        found = [f"{what} {secret!r} in {where}: …{excerpt(text, secret)}…"
                 for what, secrets in self.secrets().items() for secret in secrets
                 for where, text in outputs.items() if re.search(secret, text)]
        # Towards clients not even the names of places: any address, any path.
        found += [f"{word!r} towards clients: …{excerpt(outputs['clients'], word)}…"
                  for word in (r"127\.0\.0\.1", "localhost", str(self.pipeline.dir), r"\.sock",
                               "/tmp/") if re.search(word, outputs["clients"])]
        found += [f"{secret!r} in the log of {name}: …{excerpt(text, secret)}…"
                  for name, text in logs.items()
                  for secret in [PAYLOAD, *self.secrets()["token"]] if re.search(secret, text)]
        assert not found, "\n".join(found)

    def metrics(self):
        with urllib.request.urlopen(self.pipeline.status_url("backend-relay") + "/metrics",
                                    timeout=20) as answer:
            return answer.read().decode()


def excerpt(text, secret):
    at = re.search(secret, text).start()
    return text[max(0, at - 100) : at + 100]


def line(i):
    return json.dumps({"event": "tick" if i else "snapshot",
                       "data": {"n": i, "text": PAYLOAD}}).encode()


@pytest.fixture(scope="module")
def scene(bin_dir, tmp_path_factory):
    token = tmp_path_factory.mktemp("tokens") / "token"
    token.write_text(HIDDEN + "-token\n")
    token.chmod(0o600)
    rogues = {name: RogueRuntime(behaviour) for name, behaviour in ROGUES.items()}
    down = ports.reserve()
    urls = {name.replace(" ", "-"): r.url for name, r in rogues.items()} | {
        "down": f"ws://127.0.0.1:{ports.number(down)}", "no-name": f"ws://{HIDDEN}.invalid:80",
        "no-socket": f"unix:/tmp/{HIDDEN}.sock", "no-tls": "wss://" + rogues["nothing"].address}
    entries = [{"runtime_id": name, "url": url, "insecure": True, "token_file": str(token)}
               for name, url in urls.items()]
    overrides = {"runtimes": entries, "watchdog_s": 2.0,
                 "backend-relay": {"upstream_timeout": "500ms", "upstream_give_up": "1s",
                                   "projection_timeout": "500ms", "max_clients": MAX_CLIENTS}}
    with Pipeline(bin_dir, overrides) as pipeline, RecordingProxy(
            pipeline.info["client_url"].removeprefix("http://")) as proxy, down:
        yield Scene(pipeline, proxy, rogues)
    for r in rogues.values():
        r.__exit__()


@pytest.fixture(autouse=True)
def nothing_leaks(scene):
    yield
    scene.check_nothing_leaked()


def test_the_search_finds_what_is_there(scene):
    """Otherwise all of this proves nothing."""
    with scene.observe() as client:
        client.events(1)
    assert PAYLOAD.encode() in scene.proxy.sent()
    assert b"HTTP/1.1 101" in scene.proxy.sent()
    scene.get("/api/runtimes")
    assert b'"runtime_id"' in scene.proxy.sent()


def test_requests_of_every_kind(scene):
    token = scene.pipeline.info["tokens"]["operator"]
    runtime = scene.pipeline.runtime_id
    for path in ("/", "/api", "/api/", "/api/runtimes", "/api/runtimes/", "/healthz", "/metrics",
                 "/v1/runtime", "/v1/events/ws", "/api/runtimes/../../etc/passwd",
                 "/api/runtimes/%2e%2e/workers", "//", "/%00", "/api/runtimes/none/workers",
                 f"/api/runtimes/{runtime}", f"/api/runtimes/{runtime}/workers",
                 f"/api/runtimes/{runtime}/workers/w", f"/api/runtimes/{runtime}/workers/none",
                 f"/api/runtimes/{runtime}/workers/w/events/ws",
                 f"/api/runtimes/{runtime}/workers/w/input", f"/api/runtimes?token={token}",
                 f"/api/runtimes/{runtime}/workers/w/transcript", "/" + "x" * 9000,
                 f"/api/runtimes/{runtime}/workers/{'x' * 200}"):
        for role in ("operator", "viewer", None):
            assert scene.get(path, token=role), path
    for head in ("POST /api/runtimes HTTP/1.1\nHost: x\nContent-Length: 0",
                 "OPTIONS * HTTP/1.1\nHost: x", "CONNECT x:1 HTTP/1.1\nHost: x",
                 "GET /api/runtimes HTTP/1.1\nHost: x\nUpgrade: h2c\nConnection: Upgrade",
                 f"GET http://{scene.pipeline.info['runtime_url']}/ HTTP/1.1\nHost: x",
                 "GET / HTTP/0.9", "GET /", "\x16\x03\x01\x02\x00\x01", "x" * 10000,
                 f"GET /api/runtimes HTTP/1.1\nHost: x\nAuthorization: Basic {token}",
                 f"GET /api/runtimes HTTP/1.1\nHost: x\nAuthorization: Bearer {token}x",
                 f"GET /api/runtimes HTTP/1.1\nHost: x\nAuthorization: {token}"):
        scene.ask(head, b"x" * 100, is_all=True)


def test_credentials_of_every_kind(scene):
    token = scene.pipeline.info["tokens"]["operator"]
    for plain in (False, True):
        scene.outcome(plain=plain, token=None)
        scene.outcome(plain=plain, token="wrong")
        scene.outcome(plain=plain, token=token + "x")
        scene.outcome(plain=plain, token=None, bearer_subprotocol=token)
        scene.outcome(plain=plain, token=None, bearer_subprotocol="wrong")
        scene.outcome(plain=plain, origin="https://elsewhere.example")
        scene.outcome(plain=plain, token=scene.pipeline.info["runtime_token"])


def test_cursors_of_every_kind(scene):
    with scene.observe() as client:
        good = client.events(1)[0]
    for cursor in ("x", scene.record.cursor, "bo_" + scene.record.cursor, "bo_" + "A" * 102,
                   good.cursor[:-1], good.event_id, CURSOR):
        for plain in (False, True):
            with scene.observe("w", cursor, plain=plain) as client:
                client.closed()
    for worker_id, role in (("v", "operator"), ("w", "viewer")):
        with scene.observe(worker_id, good.cursor, role=role) as client:
            client.closed()


def test_names_that_do_not_exist(scene):
    for where in (("none",), ("w", None, "none"), ("a%2Fb",), ("x" * 200,), ("%00",),
                  (HIDDEN.upper(),)):
        for plain in (False, True):
            scene.outcome(*where, plain=plain)


@pytest.mark.parametrize("name", [*ROGUES, "down", "no-name", "no-socket", "no-tls"])
def test_a_runtime_that_fails(scene, name):
    runtime_id = name.replace(" ", "-")
    for plain in (False, True):
        try:
            with scene.observe("w", None, runtime_id, plain=plain) as client:
                enough = ("event",) if plain and name == "members" else \
                    ("caught_up", "diagnostic")
                told = client.until(lambda f, kinds=enough: f["kind"] in kinds)[-1]
                if told["kind"] == "diagnostic" and told["diagnostic"]["final"]:
                    client.closed()
        except Refused:
            pass
    scene.get(f"/api/runtimes/{runtime_id}/workers")
    scene.get(f"/api/runtimes/{runtime_id}/workers/w")


def test_data_from_a_client(scene):
    for plain in (False, True):
        with scene.observe(plain=plain) as client:
            client.send(f"x {scene.record.cursor}")
            assert client.closed()[0] == 1008


def test_more_clients_than_may_be(scene):
    clients = []
    try:
        for i in range(MAX_CLIENTS + 10):
            try:
                clients.append(scene.observe(plain=i % 2 == 0))
            except Refused:
                pass
    finally:
        for client in clients:
            client.close()
    assert b"too_many_connections" in scene.proxy.sent()


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_that_dies_under_its_clients(scene, name, signum):
    lines = [line(i) for i in range(1, EVENTS)]
    roles = [("operator", False), ("operator", True), ("viewer", False), ("viewer", True)]
    followers = [Follower(lambda at, r=role, p=plain: scene.observe("w", at, role=r, plain=p))
                 for role, plain in roles]
    for follower in followers:
        follower.until(1)
    before = [len(f.events) for f in followers]
    old = scene.pipeline.kill(name, signum)
    for plain in (False, True):
        scene.outcome(plain=plain)
    scene.get(f"/api/runtimes/{scene.pipeline.runtime_id}/workers")
    scene.pipeline.wait_restarted(name, old)
    scene.pipeline.publish("w", lines)
    for follower, had in zip(followers, before):
        follower.until(had + len(lines))
        follower.drop()


@pytest.mark.parametrize("name", ["eventlogd", "wsgate", "projection"])
def test_a_process_that_hangs_under_its_clients(scene, name):
    with scene.observe() as client, scene.observe(plain=True, role="viewer") as plain:
        client.until_caught_up()
        old = scene.pipeline.kill(name, signal.SIGSTOP)
        for how in ({"plain": True}, {"plain": False}, {"role": "viewer"}):
            scene.outcome("v", **how)
        scene.pipeline.wait_restarted(name, old)
        assert client.all_events() and plain.frames is not None
    scene.wait_served()


def test_a_runtime_that_no_longer_takes_the_relays_token(scene):
    """wsgate comes back with another token: the relay is refused from then on."""
    path = scene.pipeline.dir / "credentials/runtime.token"
    token = path.read_text()
    with scene.observe() as client, scene.observe(plain=True) as plain:
        client.until_caught_up()
        try:
            path.write_text(HIDDEN + "-another\n")
            scene.pipeline.restart("wsgate")
            with scene.observe("v") as fresh:
                check_refused(fresh, "backend.runtime_auth_failed")
            scene.outcome("v", plain=True)
            for session in (client, plain):
                close_code, _ = session.closed()
                check_last_word(items_of(session), close_code, "backend.runtime_auth_failed")
        finally:
            path.write_text(token)
            scene.pipeline.restart("wsgate")
    scene.wait_served()
