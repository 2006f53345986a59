"""A machine with a systemd of its own, in namespaces on this one (root only).

    with Machine(build_dir) as machine:
        machine.run("systemctl", "start", "eventlogd.service")

Everything in it ends with it: PID 1 is killed at the end, and with the supervising process.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
BOOT_DEADLINE_S = 60
COMMAND_DEADLINE_S = 60
JOURNAL_TAIL_LINES = 40


def missing():
    """Why no machine can be made here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    for path in ("/lib/systemd/systemd", "/usr/bin/nsenter", "/usr/bin/unshare"):
        if not os.path.exists(path):
            return f"needs {path}"
    if own_cgroup() is None:
        return "needs a mounted cgroup2"
    return None


def own_cgroup():
    """The directory of this process's cgroup in the unified hierarchy, or None."""
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, mount_point, kind, *_ = line.split()
        if kind == "cgroup2":
            groups = pathlib.Path("/proc/self/cgroup").read_text().splitlines()
            path = next(g for g in groups if g.startswith("0::")).removeprefix("0::")
            return pathlib.Path(mount_point + path)
    return None


def install(build_dir, into):
    """`cmake --install` below a directory of its own."""
    subprocess.run(["cmake", "--install", str(build_dir)], check=True, capture_output=True,
                   env=dict(os.environ, DESTDIR=str(into)))


class Machine:
    def __init__(self, build_dir):
        self._work = pathlib.Path(tempfile.mkdtemp(prefix="sl-machine-"))
        self._installed = self._work / "installed"
        self._mounts = self._work / "machine"
        self._mounts.mkdir()
        install(build_dir, self._installed)
        self._cgroup = own_cgroup() / f"sightline-test-{os.getpid()}"
        self._init = None

    @property
    def installed(self):
        """What lies here is in the machine's root when it starts."""
        return self._installed

    def __enter__(self):
        self._cgroup.mkdir()

        def enter_cgroup():
            (self._cgroup / "cgroup.procs").write_text("0")

        self._unshare = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "--pid", "--fork",
             "--kill-child=KILL", "--cgroup", "--uts", "--ipc", "--net",
             str(HERE / "boot"), str(self._mounts), str(self._installed)],
            preexec_fn=enter_cgroup, stdin=subprocess.DEVNULL)
        try:
            self._await_boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _await_boot(self):
        end = time.monotonic() + BOOT_DEADLINE_S
        state = "not started"
        while state not in ("running", "degraded"):
            assert time.monotonic() < end, f"systemd did not come up: {state}"
            assert self._unshare.poll() is None, "the machine ended while it started"
            children = pathlib.Path(
                f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text()
            if children.strip():
                self._init = int(children.split()[0])
                state = self.run("systemctl", "is-system-running", "--wait", check=False,
                                 deadline_s=BOOT_DEADLINE_S).stdout.strip() or "no answer"
            time.sleep(0.05)  # systemctl does not wait for a systemd that is not there yet

    def __exit__(self, *_):
        self._unshare.kill()  # and with it, by --kill-child, PID 1 and all that it started
        self._unshare.wait()
        end = time.monotonic() + 10
        while self._cgroup.exists() and time.monotonic() < end:
            for directory, _, _ in os.walk(self._cgroup, topdown=False):
                try:
                    os.rmdir(directory)
                except OSError:
                    time.sleep(0.01)  # its last process is still ending
        shutil.rmtree(self._work, ignore_errors=True)

    def argv(self, *command):
        return ["nsenter", "-t", str(self._init), "-a", "--", *map(str, command)]

    def run(self, *command, check=True, stdin=None, deadline_s=COMMAND_DEADLINE_S):
        """Runs inside, as root. Text in and out."""
        result = subprocess.run(self.argv(*command), capture_output=True, text=True, input=stdin,
                                stdin=None if stdin is not None else subprocess.DEVNULL,
                                timeout=deadline_s, check=False)
        if check:
            assert result.returncode == 0, \
                f"{command}: {result.returncode}\n{result.stdout}{result.stderr}{self.last_words()}"
        return result

    def spawn(self, *command):
        """Starts inside, as root, with pipes for stdin and stdout, line by line."""
        return subprocess.Popen(self.argv(*command), stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, bufsize=0)

    def main_pid(self, unit):
        return int(self.run("systemctl", "show", "--value", "-p", "MainPID", unit).stdout)

    def is_active(self, unit):
        return self.run("systemctl", "is-active", unit, check=False).stdout.strip() == "active"

    def journal(self):
        return self.run("journalctl", "--no-pager", "--output=short", check=False).stdout

    def last_words(self):
        return "\n".join(self.journal().splitlines()[-JOURNAL_TAIL_LINES:])
