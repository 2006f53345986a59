"""backend-relay between a fake runtime and a fake projection.

    with Stage(bin_dir) as stage:
        payloads = stage.fill("w-1", 10)
        with stage.relay.observe("w-1") as client: …

Everything that it printed is in relay.output(); relay.stop() asserts that it ended well.
"""

import json
import pathlib
import secrets
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request

import ports
import ws
from daemon import DEADLINE_S, Daemon
from fake_projection import FakeProjection
from fake_runtime import FakeRuntime, wait_until

ROLES = ("operator", "viewer")


class Relay(Daemon):
    """`runtimes`: FakeRuntime objects, called r0, r1, …; `overrides` go into the configuration;
    `wrapper`: a command that runs the program that follows it."""

    def __init__(self, bin_dir, projection_path, runtimes, overrides=None, directory=None,
                 registry=None, wrapper=()):
        self.wrapper = list(wrapper)
        self.dir = pathlib.Path(directory or tempfile.mkdtemp(prefix="sl-"))
        super().__init__(pathlib.Path(bin_dir) / "backend-relay", self.dir / "relay.log")
        self._held = [ports.reserve() for _ in range(2)]
        self.port, self.status_port = map(ports.number, self._held)
        self.tokens, self.heard = {}, []
        self._write_files(projection_path, runtimes, overrides or {}, registry)

    def _write_files(self, projection_path, runtimes, overrides, registry):
        for name in ("cursor.key", "event-id.key"):
            if not (self.dir / name).exists():
                (self.dir / name).write_text(secrets.token_hex(32) + "\n")
        entries = []
        for i, runtime in enumerate(runtimes):
            (self.dir / f"r{i}.token").write_text(runtime.token or "unused")
            entries.append({"runtime_id": f"r{i}", "display_name": f"Runtime \"{i}\"",
                            "url": runtime.url, "token_file": f"r{i}.token"})
        self._write("registry.yaml", {"runtimes": entries + (registry or [])})
        rows = []
        for role in ROLES:
            token, entry = self.new_token(f"{role}@example.org", role)
            self.tokens[role] = token
            rows.append(entry)
        self.write_tokens(rows)
        self.entries = rows
        self._write("backend-relay.yaml", {
            "listen": f"127.0.0.1:{self.port}", "status_listen": f"127.0.0.1:{self.status_port}",
            "projection_socket": str(projection_path), "registry": "registry.yaml",
            "tokens": "tokens.yaml", "cursor_keys": ["cursor.key"],
            "event_id_key": "event-id.key", "origins": ["https://console.example"],
            "cookie": "sightline", "upstream_timeout": "2s", "upstream_give_up": "60s",
            "projection_timeout": "2s", **overrides})

    def _write(self, name, content):
        (self.dir / name).write_text(json.dumps(content, indent=1) + "\n")

    def write_tokens(self, rows):
        (self.dir / "tokens.yaml").write_text("tokens:\n" + "".join(f"  {row}\n" for row in rows))

    def new_token(self, subject, role):
        output = subprocess.run([self.program, "--new-token", subject, role], check=True,
                                capture_output=True, text=True).stdout.splitlines()
        assert len(output) == 2, output
        return output

    def start(self):
        self.run_until_ready([*self.wrapper, self.program, "--config",
                              self.dir / "backend-relay.yaml"])
        return self

    def reload(self):
        before = self.output().count("tokens read")
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.output().count("tokens read") > before, "the reload")

    # What clients do. All that they hear is kept in `heard`.

    def url(self, worker_id, runtime_id="r0", cursor=None):
        query = "" if cursor is None else f"?cursor={cursor}"
        return f"http://127.0.0.1:{self.port}/api/runtimes/{runtime_id}/workers/{worker_id}" \
               f"/events/ws{query}"

    def observe(self, worker_id, role="operator", runtime_id="r0", cursor=None, plain=False,
                **options):
        options.setdefault("token", self.tokens.get(role))
        try:
            client = ws.Client(self.url(worker_id, runtime_id, cursor),
                               subprotocols=() if plain else ("sightline.v1",), **options)
        except ws.Refused as refused:
            self.heard.append(str(dict(refused.headers)))
            raise
        self.heard.append(client)
        return client

    def get(self, path, role="operator", token=None, headers=None, method="GET", body=None):
        """(status, Sightline-Code, body) of a GET, or of another method."""
        headers = dict(headers or {})
        token = token or self.tokens.get(role)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers,
                                         method=method, data=body)
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                status, head, body = answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, head, body = error.code, error.headers, error.read().decode()
        self.heard.append(str(head) + body)
        return status, head.get("Sightline-Code"), body

    def metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.status_port}/metrics",
                                    timeout=DEADLINE_S) as answer:
            text = answer.read().decode()
        self.heard.append(text)
        return int(next(line.split()[1] for line in text.splitlines()
                        if line.startswith(f"sightline_relay_{name} ")))

    def everything_heard(self):
        """All bytes that went towards clients, and all that was logged."""
        texts = [self.output()]
        for item in self.heard:
            if isinstance(item, str):
                texts.append(item)
            else:
                texts += [m if isinstance(m, str) else repr(m) for m in item.raw]
                texts.append(str(item.close_reason))
        return "\n".join(texts)


class Stage:
    """A relay with its fakes, in a directory of its own: stage.runtime, .projection, .relay."""

    def __init__(self, bin_dir, overrides=None, runtime=None, registry=None, wrapper=()):
        self._directory = tempfile.TemporaryDirectory(prefix="sl-")
        self.dir = pathlib.Path(self._directory.name)
        self.runtime = runtime or FakeRuntime()
        self.projection = FakeProjection(self.dir / "p.sock")
        self._arguments = (bin_dir, self.projection.path, [self.runtime], overrides, self.dir,
                           registry, wrapper)
        self.relay = None

    def __enter__(self):
        self.runtime.start()
        self.projection.start()
        self.relay = Relay(*self._arguments).start()
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is not None:
                print(self.relay.output())
            self.relay.stop()
        finally:
            if self.relay.process is not None:
                self.relay.process.kill()
            self.projection.__exit__()
            self.runtime.stop()
            self._directory.cleanup()

    def fill(self, worker_id, count, first=0):
        """A snapshot and numbered events; returns the payloads."""
        payloads = [event("snapshot", n=first)] + \
            [event("text_delta", n=first + i) for i in range(1, count)]
        self.runtime.append(worker_id, payloads[0], keyframe=True)
        if count > 1:
            self.runtime.append_many(worker_id, payloads[1:])
        return payloads


def event(kind, **data):
    # White space and a number that printing again would change: payloads are bytes.
    return ('{"event": "%s","data":%s, "f":1.10}' % (kind, json.dumps(data, ensure_ascii=False))).encode()
