"""One eventlogd, without the rest of the pipeline: started, killed, started again."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

from frames import Publisher, Reader

DEADLINE_S = 20
SANITIZER_KIB = 1 << 30  # of address space: nothing else reserves so much


class Eventlogd:
    """`config` is merged over the generated configuration (YAML reads JSON)."""

    def __init__(self, bin_dir, config=None, directory=None):
        self.bin_dir = pathlib.Path(bin_dir)
        self._temporary = None
        if directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="el-")
            directory = self._temporary.name
        self.dir = pathlib.Path(directory)
        os.chmod(self.dir, 0o755)
        self.log_dir = self.dir / "log"
        self.log_dir.mkdir(exist_ok=True)
        self.publish_socket = str(self.dir / "publish.sock")
        self.tail_socket = str(self.dir / "tail.sock")
        self.config_path = self.dir / "eventlogd.yaml"
        self.stderr_path = self.dir / "stderr"
        self.process = None
        self._beside = []
        self.configure(config or {})

    def configure(self, config):
        self.config = {"directory": str(self.log_dir), "publish_socket": self.publish_socket,
                       "tail_socket": self.tail_socket, **config}
        self.config_path.write_text(json.dumps(self.config, indent=1))

    def __enter__(self):
        return self if self.process else self.start()

    def __exit__(self, *_):
        for process in self._beside:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.stop()
        if self._temporary:
            self._temporary.cleanup()

    def spawn(self, prefix=(), **options):
        """Starts it without waiting until it is ready; `prefix` is a program that runs it."""
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = str(self.dir / "notify")
        if os.path.exists(path):
            os.unlink(path)
        self._notify.bind(path)
        os.chmod(path, 0o666)
        self._notify.settimeout(0.1)
        environment = {**os.environ, "NOTIFY_SOCKET": path}
        environment.pop("JOURNAL_STREAM", None)
        with open(self.stderr_path, "ab") as stderr:
            self.process = subprocess.Popen(
                [*prefix, self.bin_dir / "eventlogd", "--config", self.config_path], stderr=stderr,
                env=environment, **options)
        return self

    def start(self, **options):
        self.spawn(**options)
        self.await_ready()
        for path in (self.publish_socket, self.tail_socket):
            os.chmod(path, 0o666)
        return self

    def await_ready(self):
        deadline = time.monotonic() + DEADLINE_S
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError("eventlogd did not get ready:\n" + self.stderr())

    def _is_ready(self):
        try:
            return b"READY=1" in self._notify.recv(4096)
        except TimeoutError:
            return False

    def stderr(self):
        return self.stderr_path.read_text(errors="replace")

    def stop(self, expected=0):
        """In order."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("eventlogd did not stop:\n" + self.stderr()) from None
        self._notify.close()
        self.process = None
        assert code == expected, f"eventlogd ended with {code}:\n{self.stderr()}"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._notify.close()
        self.process = None

    def restart(self):
        self.stop()
        return self.start()

    def publisher(self, producer="tests"):
        return Publisher(self.publish_socket, producer)

    def reader(self):
        return Reader(self.tail_socket)

    def private_bytes(self):
        """What it holds, without mapped segments, whose pages are the kernel's to give and take.
        Always 0 in a build with a sanitizer, whose own memory would count."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            fields = dict(line.split(":", 1) for line in status)
        if int(fields["VmSize"].split()[0]) > SANITIZER_KIB:
            return 0
        return int(fields["RssAnon"].split()[0]) * 1024

    def ctl(self, verb, *arguments, **options):
        """Runs eventlogctl to its end; sockets go through the environment."""
        environment = {**os.environ, "SIGHTLINE_PUBLISH_SOCKET": self.publish_socket,
                       "SIGHTLINE_TAIL_SOCKET": self.tail_socket}
        options = {"timeout": DEADLINE_S, "capture_output": True, "env": environment, **options}
        return subprocess.run([self.bin_dir / "eventlogctl", verb, *map(str, arguments)],
                              check=False, **options)

    def ctl_start(self, verb, *arguments, **options):
        """The same, running beside the test."""
        environment = {**os.environ, "SIGHTLINE_PUBLISH_SOCKET": self.publish_socket,
                       "SIGHTLINE_TAIL_SOCKET": self.tail_socket}
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                   "stderr": subprocess.PIPE, "env": environment, **options}
        process = subprocess.Popen([self.bin_dir / "eventlogctl", verb, *map(str, arguments)],
                                   **options)
        self._beside.append(process)
        return process
