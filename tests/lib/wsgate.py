"""One wsgate in front of a tail socket: started, asked, stopped.

    with Wsgate(bin_dir, log.path) as gate:
        with gate.observe("w-1") as client: …
        status, code, body = gate.get("/v1/runtime")

Its listening sockets are made here and handed over, as a service manager does.
"""

import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import msgpack

import ws

DEADLINE_S = 20
TOKEN = "the-runtime-token"


class Wsgate:
    """`config` is merged over the generated configuration; `unix`: a Unix socket for backends."""

    def __init__(self, bin_dir, tail_socket, config=None, unix=False, token=TOKEN):
        self.program = pathlib.Path(bin_dir) / "wsgate"
        self._temporary = tempfile.TemporaryDirectory(prefix="wg-")
        self.dir = pathlib.Path(self._temporary.name)
        self.token, self.process = token, None
        self.unix_path = self.dir / "runtime.sock" if unix else None
        self._log = self.dir / "stderr"
        if token is not None:
            (self.dir / "token").write_text(token + "\n")
        self.config = {"runtime_id": "rt-1", "tail_socket": str(tail_socket),
                       **({"token_file": "token"} if token is not None else {}), **(config or {})}

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
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
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"\0sightline-test-{os.getpid()}-{self.dir.name}"
        notify.bind(name)
        notify.settimeout(0.05)
        runtime, status = self._listen()

        def hand_over():
            fds = [os.dup(runtime.fileno()), os.dup(status.fileno())]
            for target, fd in enumerate(fds, 3):
                os.dup2(fd, target)

        environment = {k: v for k, v in os.environ.items()
                       if k not in ("CREDENTIALS_DIRECTORY", "JOURNAL_STREAM")}
        # What the address sanitizer keeps back of freed memory would count as ours.
        environment["ASAN_OPTIONS"] = "quarantine_size_mb=4:" + os.environ.get("ASAN_OPTIONS", "")
        environment.update(NOTIFY_SOCKET="@" + name[1:], LISTEN_FDS="2",
                           LISTEN_FDNAMES="runtime:status")
        with open(self._log, "ab") as log, notify, runtime, status:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$0" --config "$1"', str(self.program),
                 str(self.dir / "wsgate.yaml")],
                stderr=log, env=environment, preexec_fn=hand_over, pass_fds=(3, 4))
            end = time.monotonic() + DEADLINE_S
            while not self._is_ready(notify):
                if self.process.poll() is not None or time.monotonic() > end:
                    self.process.kill()
                    raise AssertionError("not ready:\n" + self.output())
        return self

    @staticmethod
    def _is_ready(notify):
        try:
            return b"READY=1" in notify.recv(4096)
        except TimeoutError:
            return False

    def stop(self, signum=signal.SIGTERM):
        if self.process is None:
            return
        process, self.process = self.process, None
        process.send_signal(signum)
        code = process.wait(DEADLINE_S)
        if signum == signal.SIGTERM:
            assert code == 0, f"it ended with {code}:\n{self.output()}"

    def output(self):
        return self._log.read_text(errors="replace")

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
