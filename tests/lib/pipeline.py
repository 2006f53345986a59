"""The whole pipeline as real processes, for tests: started, killed, restarted, stopped.

    with Pipeline(bin_dir) as pipeline:
        pipeline.publish("w-1", [b'{"event":"status","data":{}}'])
        with pipeline.observe("w-1") as client:
            client.events(1)
        old = pipeline.kill("eventlogd")
        pipeline.wait_restarted("eventlogd", old)

It runs units/demo's supervisor with the programs in `bin_dir`. Every wait has a deadline; nothing
sleeps for a fixed time. Everything that the processes print is under `pipeline.dir`.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import urllib.request

import ws
from follower import Follower

TOP = pathlib.Path(__file__).resolve().parents[2]
START_DEADLINE_S = 60
STOP_DEADLINE_S = 60
RESTART_DEADLINE_S = 20
PUBLISH_DEADLINE_S = 60
PROCESSES = ("eventlogd", "wsgate", "backend-relay", "projection")
# What the supervisor says of a process that nobody has killed, or a sanitizer of its mistake.
CRASHED = re.compile(r"supervisor: .* was killed by SIG(?:ABRT|BUS|FPE|ILL|SEGV|SYS|TRAP)"
                     r"|ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|: runtime error: ")


class Pipeline:
    """One pipeline in a private directory. `overrides` is merged over the generated configuration:
    {"eventlogd": {"segment_bytes": "64KiB"}, "wsgate": {…}, "backend-relay": {…},
     "runtimes": [{…more registry entries…}], "runtime_id": "…", "watchdog_s": 2.0,
     "ready_s": 20.0}."""

    def __init__(self, bin_dir, overrides=None, policy=None, directory=None):
        self.bin_dir = pathlib.Path(bin_dir)
        self._overrides, self._policy = overrides, policy
        self._keeps_dir = directory is not None
        # Short, because a Unix socket's path may have 107 bytes.
        self.dir = pathlib.Path(directory or tempfile.mkdtemp(prefix="sl-"))
        self._lines = []  # every description printed so far
        self._changed = threading.Condition()
        self._process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        if not self._keeps_dir:
            shutil.rmtree(self.dir, ignore_errors=True)

    def start(self):
        argv = ["/usr/bin/python3", "-B", str(TOP / "units/demo/main.py"), "--json", "--no-feed",
                "--dir", str(self.dir), "--bin-dir", str(self.bin_dir)]
        if self._overrides is not None:
            path = self.dir / "overrides.json"
            path.write_text(json.dumps(self._overrides))
            argv += ["--overrides", str(path)]
        if self._policy is not None:
            argv += ["--policy", str(self._policy)]
        self._lines = []
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                         text=True)
        self._stderr = []
        for stream, take in ((self._process.stdout, self._on_line),
                             (self._process.stderr, self._on_stderr)):
            threading.Thread(target=self._read, args=(self._process, stream, take),
                             daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._process.poll() is not None,
                                   START_DEADLINE_S)
            if not self._lines:
                self._process.kill()
                raise AssertionError("the pipeline did not start:\n" + "".join(self._stderr)
                                     + self.logs())
        return self

    def _read(self, process, stream, take):
        for line in stream:
            take(line)
        process.wait()
        with self._changed:
            self._changed.notify_all()

    def _on_line(self, line):
        with self._changed:
            self._lines.append(json.loads(line))
            self._changed.notify_all()

    def _on_stderr(self, line):
        with self._changed:
            self._stderr.append(line)
            self._changed.notify_all()

    def await_stderr(self, pattern):
        """Until the supervisor itself has said something like this."""
        with self._changed:
            came = self._changed.wait_for(
                lambda: re.search(pattern, "".join(self._stderr)), RESTART_DEADLINE_S)
        assert came, "".join(self._stderr)

    @property
    def supervisor_pid(self):
        return self._process.pid

    def stop(self):
        """SIGTERM to the supervisor; a process that has to be killed is a failure of the test, and
        so is one that crashed before."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError("the supervisor did not stop:\n" + self.logs()) from None
        assert code == 0, f"the supervisor exited with {code}:\n{''.join(self._stderr)}"
        crashes = CRASHED.findall(self.logs())
        assert not crashes, f"{crashes}:\n{self.logs()}"

    def kill_supervisor(self):
        """SIGKILL to the supervisor itself; start() begins again in the same directory."""
        process, self._process = self._process, None
        process.kill()
        process.wait()

    # What it says of itself.

    @property
    def info(self):
        with self._changed:
            return self._lines[-1]

    @property
    def pids(self):
        return self.info["pids"]

    @property
    def runtime_id(self):
        return self.info["runtime_id"]

    def config(self, name):
        """The generated configuration of one process, parsed."""
        return json.loads((self.dir / f"{name}.yaml").read_text())

    def status_url(self, name):
        """Where wsgate or backend-relay serve /healthz and /metrics."""
        return "http://" + self.config(name)["status_listen"]

    def log(self, name):
        path = self.dir / f"{name}.stderr"
        return path.read_text(errors="replace") if path.exists() else ""

    def logs(self):
        return "".join(f"--- {name}\n{self.log(name)}" for name in PROCESSES)

    def explain(self):
        """Prints where everybody stands, for a test that waits in vain."""
        for verb in ("status", "workers"):
            result = self.eventlogctl(verb, check=False)
            print((result.stdout + result.stderr).decode())
        for name in ("wsgate", "backend-relay"):
            with urllib.request.urlopen(self.status_url(name) + "/metrics", timeout=20) as answer:
                print(answer.read().decode())
        print(self.logs())

    # Deaths.

    def kill(self, name, signum=signal.SIGKILL):
        """Returns the pid that was signalled, for wait_restarted()."""
        pid = self.pids[name]
        os.kill(pid, signum)
        return pid

    def wait_restarted(self, name, old_pid, deadline_s=RESTART_DEADLINE_S):
        """Until another process of that name is ready."""
        with self._changed:
            restarted = self._changed.wait_for(
                lambda: self._lines[-1]["pids"][name] != old_pid
                or self._process.poll() is not None, deadline_s)
        assert restarted and self._process.poll() is None, \
            f"{name} did not come back:\n{self.logs()}"

    def restart(self, *names, signum=signal.SIGKILL):
        """Signals these processes at once (all without names) and waits until all are back."""
        old = {name: self.kill(name, signum) for name in names or PROCESSES}
        for name, pid in old.items():
            self.wait_restarted(name, pid)

    # Publishing.

    def eventlogctl(self, *arguments, check=True, stdin=None, deadline_s=PUBLISH_DEADLINE_S):
        """Runs it to its end; stdin and stdout are bytes."""
        environment = dict(os.environ,
                           SIGHTLINE_PUBLISH_SOCKET=self.info["publish_socket"],
                           SIGHTLINE_TAIL_SOCKET=self.info["tail_socket"])
        result = subprocess.run([str(self.bin_dir / "eventlogctl"), *map(str, arguments)],
                                input=stdin, stdin=None if stdin is not None
                                else subprocess.DEVNULL, capture_output=True,
                                env=environment, timeout=deadline_s, check=False)
        if check:
            assert result.returncode == 0, \
                f"eventlogctl {arguments}: {result.returncode}\n{result.stderr.decode()}"
        return result

    def publish(self, worker_id, lines):
        """`eventlogctl publish` of these lines (bytes without their ends), to its end."""
        return self.eventlogctl("publish", "--worker", worker_id,
                                stdin=b"".join(line + b"\n" for line in lines))

    def publish_file(self, worker_id, path):
        return self.eventlogctl("publish", "--worker", worker_id, path)

    def publisher(self, worker_id):
        """A running `eventlogctl publish` that takes lines while the test goes on."""
        return Publisher(self, worker_id)

    # Observing.

    def client_url(self, worker_id, cursor=None, runtime_id=None):
        return (f"{self.info['client_url']}/api/runtimes/{runtime_id or self.runtime_id}"
                f"/workers/{worker_id}/events/ws" + (f"?cursor={cursor}" if cursor else ""))

    def observe(self, worker_id, role="operator", cursor=None, plain=False, runtime_id=None,
                **options):
        """A client of the relay. `plain` asks for no subprotocol; role None sends no token."""
        options.setdefault("token", self.info["tokens"].get(role) if role else None)
        return ws.Client(self.client_url(worker_id, cursor, runtime_id),
                         subprotocols=[] if plain else ["sightline.v1"], **options)

    def follow(self, worker_id, role="operator", cursor=None, **options):
        """A client that comes back with its last cursor whatever ends its session."""
        return Follower(lambda at: self.observe(worker_id, role, at, **options), cursor)

    def observe_runtime(self, path="/v1/events/ws", plain=False, subprotocol="sightline.v1",
                        **options):
        """A client of wsgate itself; `path` with its query."""
        options.setdefault("token", self.info["runtime_token"])
        return ws.Client(self.info["runtime_url"] + path,
                         subprotocols=[] if plain else [subprotocol], **options)


class Publisher:
    """Lines go in as they come; close() waits until all are acknowledged."""

    def __init__(self, pipeline, worker_id):
        self._process = subprocess.Popen(
            [str(pipeline.bin_dir / "eventlogctl"), "publish", "--worker", worker_id,
             "--socket", pipeline.info["publish_socket"]],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._stderr = []
        self._reader = threading.Thread(
            target=lambda: self._stderr.extend(self._process.stderr), daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        if failure[0] is None:
            self.close()
        else:
            self._process.kill()
            self._process.wait()

    def send(self, *lines):
        for line in lines:
            self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def explain(self):
        """Prints what it has said so far, for a test that waits in vain."""
        print(f"publisher: exit {self._process.poll()}\n{b''.join(self._stderr).decode()}")

    def close(self):
        self._process.stdin.close()
        try:
            code = self._process.wait(PUBLISH_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        self._reader.join()
        assert code == 0, f"eventlogctl publish: {code}\n{b''.join(self._stderr).decode()}"


def recorded_streams():
    """Recorded worker streams {worker_id: [line, …]}; empty where the recordings are absent."""
    shared = os.environ.get("SIGHTLINE_SHARED")
    for base in [pathlib.Path(shared)] if shared else [TOP.parent / "shared"]:
        files = sorted((base / "data" / "workers").glob("*.jsonl"))
        if files:
            return {file.stem: read_lines(file) for file in files}
    return {}


def sample_stream():
    """The run that is part of the project."""
    return read_lines(TOP / "units/demo/sample.jsonl")


def read_lines(path):
    return [line for line in pathlib.Path(path).read_bytes().split(b"\n") if line]
