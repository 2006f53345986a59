"""The programs that eventlogd is measured beside, each started privately and ended with the run.

A peer whose program or load driver is absent is left out, with a word on stderr.
"""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from eventlogd import Eventlogd

DEADLINE_S = 600
START_DEADLINE_S = 20
MISSING = "install it with units/install-packages bench, and build again"


def tools():
    return pathlib.Path(os.environ["SIGHTLINE_BIN_DIR"]).parent / "tests"


@contextlib.contextmanager
def scratch():
    """A directory on a real disk, also where /tmp is memory."""
    base = os.environ.get("SIGHTLINE_BENCH_DIR", "/var/tmp")
    with tempfile.TemporaryDirectory(prefix="sightline-bench-", dir=base) as path:
        yield pathlib.Path(path)


def load(tool, *arguments):
    """Runs one load driver to its end; its JSON line."""
    result = subprocess.run([tools() / tool, *map(str, arguments)], stdout=subprocess.PIPE,
                            check=True, timeout=DEADLINE_S, text=True)
    return json.loads(result.stdout.splitlines()[-1])


@contextlib.contextmanager
def eventlogd(directory, durability="interval", **config):
    """A fresh log in `directory`."""
    directory.mkdir()
    config = {"durability": durability, "retention": {"bytes": 64 << 30}, **config}
    with Eventlogd(os.environ["SIGHTLINE_BIN_DIR"], config, directory) as daemon:
        yield daemon


def _wait_until_listening(address, process):
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket(family) as probe:
            if probe.connect_ex(address) == 0:
                return
        time.sleep(0.01)
    raise RuntimeError(f"{process.args[0]} did not start")


@contextlib.contextmanager
def _server(command, address, log):
    with open(log, "wb") as out:
        process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=out)
    try:
        _wait_until_listening(address, process)
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@contextlib.contextmanager
def redis(directory, fsync):
    """The socket of a redis-server with an append-only file."""
    directory.mkdir()
    path = str(directory / "redis.sock")
    command = ["redis-server", "--port", "0", "--unixsocket", path, "--dir", directory,
               "--appendonly", "yes", "--appendfsync", fsync, "--save", "",
               "--auto-aof-rewrite-percentage", "0"]
    with _server(command, path, directory / "log"):
        yield path


@contextlib.contextmanager
def jetstream(directory):
    """The URL of a nats-server with a file store."""
    directory.mkdir()
    port = _free_port()
    command = ["nats-server", "-a", "127.0.0.1", "-p", port, "-js", "-sd", directory]
    with _server(command, ("127.0.0.1", port), directory / "log"):
        yield f"nats://127.0.0.1:{port}"


def available():
    """The names of those that can be measured, with a word for each that can't."""
    needed = {"redis": ("redis-server", "redis_load"),
              "jetstream": ("nats-server", "jetstream_load"),
              "sqlite": (None, "sqlite_load")}
    found = set()
    for name, (server, driver) in needed.items():
        missing = [what for what, there in ((server, server is None or shutil.which(server)),
                                            (driver, (tools() / driver).exists())) if not there]
        if missing:
            print(f"{name} is left out: no {' and no '.join(missing)}; {MISSING}", file=sys.stderr)
        else:
            found.add(name)
    return found
