"""One wsgate in front of a tail socket: started, asked, stopped.

    with Wsgate(bin_dir, log.path) as gate:
        with gate.observe("w-1") as client: …
        status, code, body = gate.get("/v1/runtime")

Its listening sockets are made here and handed over, as a service manager does.
"""

import json
import os
import pathlib
import socket
import ssl
import tempfile
import urllib.error
import urllib.request

import msgpack

import ws
from daemon import DEADLINE_S, Daemon

TOKEN = "the-runtime-token"


class Wsgate(Daemon):
    """`config` is merged over the generated configuration; `unix`: a Unix socket for backends."""

    def __init__(self, bin_dir, tail_socket, config=None, unix=False, token=TOKEN):
        self._temporary = tempfile.TemporaryDirectory(prefix="wg-")
        self.dir = pathlib.Path(self._temporary.name)
        super().__init__(pathlib.Path(bin_dir) / "wsgate", self.dir / "stderr")
        self.token = token
        self.unix_path = self.dir / "runtime.sock" if unix else None
        if token is not None:
            (self.dir / "token").write_text(token + "\n")
        self.config = {"runtime_id": "rt-1", "tail_socket": str(tail_socket),
                       **({"token_file": "token"} if token is not None else {}), **(config or {})}

    def __exit__(self, *_):
        super().__exit__()
        self._temporary.cleanup()

    def _listen(self):
        if self.unix_path is not None:
            runtime = socket.socket(socket.AF_UNIX)
            self.unix_path.unlink(missing_ok=True)
            runtime.bind(str(self.unix_path))
        else:
            runtime = socket.create_server(("127.0.0.1", 0))
            self.port = runtime.getsockname()[1]
        status = socket.create_server(("127.0.0.1", 0))
        self.status_port = status.getsockname()[1]
        for listening in (runtime, status):
            listening.listen(64)
        return runtime, status

    def start(self):
        (self.dir / "wsgate.yaml").write_text(json.dumps(self.config, indent=1) + "\n")
        runtime, status = self._listen()

        def hand_over():
            fds = [os.dup(runtime.fileno()), os.dup(status.fileno())]
            for target, fd in enumerate(fds, 3):
                os.dup2(fd, target)

        # What the address sanitizer keeps back of freed memory would count as ours.
        options = "quarantine_size_mb=4:" + os.environ.get("ASAN_OPTIONS", "")
        with runtime, status:
            self.run_until_ready(
                ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$0" --config "$1"', self.program,
                 self.dir / "wsgate.yaml"],
                {"ASAN_OPTIONS": options, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "runtime:status"},
                preexec_fn=hand_over, pass_fds=(3, 4))
        return self

    # What backends do.

    def path(self, worker_id=None, query=""):
        scope = "" if worker_id is None else f"/workers/{worker_id}"
        return f"/v1{scope}/events/ws{query}"

    def observe(self, worker_id=None, query="", form="sightline.v1", **options):
        """A session; `form` None asks for no subprotocol."""
        options.setdefault("token", self.token)
        scheme = "wss" if "tls" in self.config else "ws"
        host = "localhost" if self.unix_path else f"127.0.0.1:{self.port}"
        return ws.Client(f"{scheme}://{host}" + self.path(worker_id, query),
                         subprotocols=[form] if form else (), unix_path=self.unix_path, **options)

    def connect(self):
        """A plain connection, for bytes that no library would send."""
        if self.unix_path:
            raw = socket.socket(socket.AF_UNIX)
            raw.settimeout(DEADLINE_S)
            raw.connect(str(self.unix_path))
            return raw
        return socket.create_connection(("127.0.0.1", self.port), DEADLINE_S)

    def get(self, path, token=TOKEN, headers=None, context=None):
        """(status, Sightline-Code, parsed body) of a GET."""
        headers = dict(headers or {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        scheme = "http" if context is None else "https"
        url = f"{scheme}://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S, context=context) as answer:
                return answer.status, answer.headers.get("Sightline-Code"), json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            return error.code, error.headers.get("Sightline-Code"), json.loads(text or "null")

    def status(self, path):
        """The text behind an address of the status listener."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.status_port}{path}",
                                    timeout=DEADLINE_S) as answer:
            return answer.read().decode()

    def metric(self, name):
        return int(next(line.split()[1] for line in self.status("/metrics").splitlines()
                        if line.startswith(f"sightline_wsgate_{name} ")))

    def rss_bytes(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")


def batch_items(message):
    """The items of one binary message."""
    return msgpack.unpackb(message, raw=False, strict_map_key=False)


def trusting(certificate):
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    return context
