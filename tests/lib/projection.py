"""A client of projection.sock in msgpack, and the program under test with a policy of its own."""

import pathlib
import select
import signal
import socket
import struct
import subprocess
import time

import msgpack

HELLO, WELCOME, ERROR = 1, 2, 15
OPEN_PASS, PASS, PROJECT, PROJECTED, AUTHORIZE, VERDICT, CLOSE_PASS = range(32, 39)
DEADLINE_S = 20


class Closed(Exception):
    """The other side closed the connection."""


class Client:
    """One connection. Every wait has a deadline."""

    def __init__(self, path, hello=True):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(str(path))
        self.buffer = b""
        if hello:
            self.send(HELLO, 1, "test")
            self.welcome = self.receive(WELCOME)

    def send(self, *message):
        self.send_body(msgpack.packb(list(message), use_bin_type=True))

    def send_body(self, body):
        self.socket.sendall(struct.pack("<I", len(body)) + body)

    def _take(self, count):
        while len(self.buffer) < count:
            piece = self.socket.recv(1 << 20)
            if not piece:
                raise Closed
            self.buffer += piece
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def receive(self, expected=None):
        """The fields of the next message, without its type when that was expected."""
        (length,) = struct.unpack("<I", self._take(4))
        message = msgpack.unpackb(self._take(length), raw=False)
        if expected is None:
            return message
        assert message[0] == expected, message
        return message[1:]

    def open_pass(self, pass_id, role, runtime_id="prod-1", worker_id="w"):
        self.send(OPEN_PASS, pass_id, role, runtime_id, worker_id)
        answer = self.receive(PASS)
        assert answer[0] == pass_id
        return answer[1], answer[2]

    def project(self, pass_id, payloads, warm=False):
        """[(verdict, payload or None)] for the payloads, in order."""
        self.send(PROJECT, pass_id,
                  [[ticket, warm, payload] for ticket, payload in enumerate(payloads, 100)])
        answer_id, answers = self.receive(PROJECTED)
        assert answer_id == pass_id
        assert [answer[0] for answer in answers] == list(range(100, 100 + len(payloads)))
        assert all(len(answer) == 4 and answer[3] is None for answer in answers)
        return [(answer[1], answer[2]) for answer in answers]

    def judge(self, pass_id, events):
        """[(verdict, payload or None, open_since or None)] for (ticket, warm, payload), in order."""
        self.send(PROJECT, pass_id, [list(event) for event in events])
        answer_id, answers = self.receive(PROJECTED)
        assert answer_id == pass_id
        assert [answer[0] for answer in answers] == [event[0] for event in events]
        return [tuple(answer[1:]) for answer in answers]

    def close_pass(self, pass_id):
        self.send(CLOSE_PASS, pass_id)

    def authorize(self, role, operation, runtime_id="prod-1", worker_id="w"):
        self.send(AUTHORIZE, 7, role, runtime_id, worker_id, operation)
        request_id, verdict = self.receive(VERDICT)
        assert request_id == 7
        return verdict

    def expect_error_and_close(self):
        """The text of the ERROR that ends this connection."""
        code, text = None, None
        try:
            while True:
                message = self.receive()
                if message[0] == ERROR:
                    code, text = message[2], message[3]
        except (Closed, ConnectionResetError):
            pass
        assert code == "protocol_error", code
        return text

    def close(self):
        self.socket.close()


class Projection:
    """The program with a policy, listening at a path of its own."""

    def __init__(self, bin_dir, directory, policy, *options, run_by=()):
        directory = pathlib.Path(directory)
        self.policy = directory / "policy.yaml"
        self.policy.write_text(policy)
        self.path = directory / "projection.sock"
        self.stderr_path = directory / "stderr"
        with open(self.stderr_path, "wb") as stderr:
            self.process = subprocess.Popen(
                [*run_by, str(bin_dir / "projection"), "--policy", str(self.policy),
                 "--socket", str(self.path), *options],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)

    def client(self, **options):
        """A connection, as soon as somebody listens."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                return Client(self.path, **options)
            except (FileNotFoundError, ConnectionRefusedError):
                assert self.process.poll() is None, self.stderr()
                assert time.monotonic() < deadline
                select.select([], [], [], 0.01)

    def stderr(self):
        return self.stderr_path.read_text(errors="replace")

    def wait(self):
        return self.process.wait(DEADLINE_S)

    def stop(self):
        """The exit code after SIGTERM; also of one that has ended already."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.wait()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
