"""The files, sockets and secrets of one pipeline on one machine, in one private directory.

    DIR/log/            eventlogd's segments
    DIR/*.sock          publish, tail, projection
    DIR/*.yaml          configuration of the four, the registry, the tokens' hashes
    DIR/credentials/    runtime token, cursor key, event id key
    DIR/state.json      the tokens themselves, so that a second start in DIR keeps them
    DIR/NAME.stderr     what each process said

A directory made here is removed at the end; one that the caller names is kept. Overrides (a JSON
file of the same shape as the configurations) are for tests that need small limits.
"""

import fcntl
import json
import os
import pathlib
import secrets
import shutil
import socket
import subprocess
import tempfile

from supervisor import Service

RUNTIME_ID = "demo"
ROLES = ("operator", "viewer")
PREFIX = "sightline-demo-"
LISTEN_BACKLOG = 1024
UNIX_PATH_MAX = 107
DEMO_DIR = pathlib.Path(__file__).resolve().parent
DEFAULT_POLICY = DEMO_DIR.parent / "policy.example.yaml"


def private_directory():
    """A new directory of ours, mode 0700; what killed demos left behind is removed first."""
    base = pathlib.Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    if not os.access(base, os.W_OK | os.X_OK):
        base = pathlib.Path(tempfile.gettempdir())
    for old in base.glob(PREFIX + "*"):
        ours = old.is_dir() and not old.is_symlink() and old.stat().st_uid == os.getuid()
        if ours and (old / "lock").exists():  # without: another demo is making it just now
            try:
                os.close(lock_directory(old))
                shutil.rmtree(old, ignore_errors=True)
            except BlockingIOError:
                pass  # in use by another demo
    return pathlib.Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))


def lock_directory(path):
    """Holds the directory as long as the descriptor is open; BlockingIOError if another does."""
    fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise
    return fd


def merge(base, extra):
    """`extra` over `base`, mapping by mapping."""
    result = dict(base)
    for key, value in extra.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merge(result[key], value) if both else value
    return result


class Layout:
    """Everything that a start of the four processes needs, made in `directory`."""

    def __init__(self, directory, bin_dir, policy=None, overrides=None):
        self.directory = pathlib.Path(directory).absolute()
        self.bin_dir = pathlib.Path(bin_dir).absolute()
        self.policy = pathlib.Path(policy or DEFAULT_POLICY).absolute()
        self.overrides = overrides or {}
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = lock_directory(self.directory)
        self.log_dir = self.directory / "log"
        self.credentials = self.directory / "credentials"
        for path in (self.log_dir, self.credentials):
            path.mkdir(mode=0o700, exist_ok=True)
        self.publish_socket = str(self.directory / "publish.sock")
        self.tail_socket = str(self.directory / "tail.sock")
        self.projection_socket = str(self.directory / "projection.sock")
        self.notify_socket = str(self.directory / "notify.sock")
        self._secrets()
        self._sockets()
        self._configuration()

    @property
    def runtime_id(self):
        return self.overrides.get("runtime_id", RUNTIME_ID)

    def program(self, name):
        return str(self.bin_dir / name)

    def _secrets(self):
        state_path = self.directory / "state.json"
        self.was_used = state_path.exists()
        if self.was_used:
            state = json.loads(state_path.read_text())
        else:
            state = {"runtime_token": secrets.token_urlsafe(32), "tokens": {}, "entries": []}
            for role in ROLES:
                token, entry = self._new_token(role)
                state["tokens"][role] = token
                state["entries"].append(entry)
            for name in ("cursor.key", "event-id.key"):
                self._write(self.credentials / name, secrets.token_hex(32) + "\n")
            self._write(state_path, json.dumps(state))
        self.runtime_token = state["runtime_token"]
        self.tokens = state["tokens"]
        self._write(self.credentials / "runtime.token", self.runtime_token + "\n")
        self._write(self.directory / "tokens.yaml",
                    "tokens:\n" + "".join(f"  {entry}\n" for entry in state["entries"]))

    def _new_token(self, role):
        """(token, YAML entry) as `backend-relay --new-token SUBJECT ROLE` prints them."""
        token, entry = subprocess.run(
            [self.program("backend-relay"), "--new-token", f"demo-{role}", role],
            check=True, capture_output=True, text=True,
        ).stdout.splitlines()
        return token, entry

    def _write(self, path, text):
        temporary = path.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.rename(path)

    def _sockets(self):
        self.listening = {
            "publish": self._unix(self.publish_socket),
            "tail": self._unix(self.tail_socket),
            "projection": self._unix(self.projection_socket),
            "runtime": self._tcp(),
            "runtime_status": self._tcp(),
            "client": self._tcp(),
            "client_status": self._tcp(),
        }

    def _unix(self, path):
        if len(path.encode()) > UNIX_PATH_MAX:
            raise OSError(f"{path}: longer than a socket's path may be ({UNIX_PATH_MAX} bytes)")
        if os.path.exists(path):
            os.unlink(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        listening.bind(path)
        listening.listen(LISTEN_BACKLOG)
        return listening

    def _tcp(self):
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        listening.listen(LISTEN_BACKLOG)
        return listening

    def address(self, name):
        host, port = self.listening[name].getsockname()
        return f"{host}:{port}"

    def _configuration(self):
        files = {
            "eventlogd": {
                "directory": str(self.log_dir),
                "publish_socket": self.publish_socket,
                "tail_socket": self.tail_socket,
            },
            "wsgate": {
                "runtime_id": self.runtime_id,
                "tail_socket": self.tail_socket,
                "listen": self.address("runtime"),
                "status_listen": self.address("runtime_status"),
                "token_file": "runtime.token",
            },
            "backend-relay": {
                "listen": self.address("client"),
                "status_listen": self.address("client_status"),
                "projection_socket": self.projection_socket,
                "registry": str(self.directory / "registry.yaml"),
                "tokens": str(self.directory / "tokens.yaml"),
                "cursor_keys": ["cursor.key"],
                "event_id_key": "event-id.key",
            },
            "registry": {
                "runtimes": [{
                    "runtime_id": self.runtime_id,
                    "display_name": "This machine",
                    "url": "ws://" + self.address("runtime"),
                    "token_file": str(self.credentials / "runtime.token"),
                }],
            },
        }
        extra = self.overrides.get("runtimes", [])
        for name, content in files.items():
            content = merge(content, self.overrides.get(name, {}))
            if name == "registry":
                content["runtimes"] = content["runtimes"] + extra
            # YAML reads JSON's mappings; a line each keeps the positions in errors useful.
            self._write(self.directory / f"{name}.yaml", json.dumps(content, indent=2) + "\n")

    def services(self):
        """In the order in which they start; they stop in the opposite one."""

        def service(name, arguments, sockets):
            return Service(
                name=name,
                argv=[self.program(name)] + arguments,
                sockets=[(fd_name, self.listening[key]) for fd_name, key in sockets],
                log_path=str(self.directory / f"{name}.stderr"),
                credentials=str(self.credentials),
                watchdog_s=self.overrides.get("watchdog_s", 10.0),
                ready_s=self.overrides.get("ready_s", 20.0),
            )

        def config(name):
            return ["--config", str(self.directory / f"{name}.yaml")]

        return [
            service("eventlogd", config("eventlogd"), [("publish", "publish"), ("tail", "tail")]),
            service("projection", ["--policy", str(self.policy)], [("projection", "projection")]),
            service("wsgate", config("wsgate"),
                    [("runtime", "runtime"), ("status", "runtime_status")]),
            service("backend-relay", config("backend-relay"),
                    [("client", "client"), ("status", "client_status")]),
        ]

    def description(self, services):
        """What `--json` prints. A pid is that of the last process that was ready."""
        return {
            "publish_socket": self.publish_socket,
            "tail_socket": self.tail_socket,
            "log_dir": str(self.log_dir),
            "runtime_url": "http://" + self.address("runtime"),
            "runtime_token": self.runtime_token,
            "runtime_id": self.runtime_id,
            "client_url": "http://" + self.address("client"),
            "tokens": self.tokens,
            "pids": {name: services[name].ready_pid
                     for name in ("eventlogd", "wsgate", "backend-relay", "projection")},
        }

    def close(self, remove):
        for listening in self.listening.values():
            listening.close()
        for path in (self.publish_socket, self.tail_socket, self.projection_socket):
            if os.path.exists(path):
                os.unlink(path)
        os.close(self._lock)
        if remove:
            shutil.rmtree(self.directory, ignore_errors=True)
