"""A daemon under test: started until it says that it is ready, asked to stop, and what it said."""

import os
import pathlib
import signal
import socket
import subprocess
import time

DEADLINE_S = 30


class Daemon:
    """What it prints goes behind the end of the file `log`. After stop(), start() begins again."""

    def __init__(self, program, log):
        self.program, self._log = pathlib.Path(program), pathlib.Path(log)
        self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self):
        raise NotImplementedError

    def run_until_ready(self, command, environment=None, **options):
        environment = {k: v for k, v in os.environ.items()
                       if k not in ("CREDENTIALS_DIRECTORY", "JOURNAL_STREAM")} | (environment or {})
        name = f"sightline-test-{os.getpid()}-{id(self)}"
        with open(self._log, "ab") as log, socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind("\0" + name)
            notify.settimeout(0.05)
            self.process = subprocess.Popen(
                [str(word) for word in command], stdout=log, stderr=log,
                env={**environment, "NOTIFY_SOCKET": "@" + name}, **options)
            end = time.monotonic() + DEADLINE_S
            while not self._is_ready(notify):
                if self.process.poll() is not None or time.monotonic() > end:
                    self.process.kill()
                    self.process.wait()
                    raise AssertionError("not ready:\n" + self.output())

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

    def is_alive(self):
        """Unless the test itself has stopped it."""
        return self.process is None or self.process.poll() is None

    def output(self):
        return self._log.read_text(errors="replace") if self._log.exists() else ""
