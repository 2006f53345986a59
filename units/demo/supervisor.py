"""Runs the processes as a service manager would, without being one.

It owns the listening sockets and hands them over (LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID), waits
for READY=1 on a notify socket, kills a process that does not become ready in time or misses its
watchdog, and starts one that died again within a second, at the same address. Children get SIGKILL
when the supervisor dies, however it dies, so nothing is left running. One thread, one asyncio loop.
"""

import array
import asyncio
import contextlib
import ctypes
import dataclasses
import fcntl
import os
import signal
import socket
import struct
import sys
import time

LISTEN_FDS_START = 3
PR_SET_PDEATHSIG = 1
FIRST_RESTART_DELAY_S = 0.05
MAX_RESTART_DELAY_S = 0.8
STARTS_BEFORE_READY_MAX = 3
STOP_DEADLINE_S = 20  # longer than any service takes to drain
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What a child gets of our environment; everything else is made for it.
INHERITED_VARIABLES = (
    "ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS", "LD_LIBRARY_PATH",
)


class StartFailed(Exception):
    """A process did not become ready; the text says which, and what it said last."""


@dataclasses.dataclass
class Service:
    """One process: how to start it, and what is known of the one that runs now."""

    name: str
    argv: list
    sockets: list  # (FileDescriptorName, listening socket) in the order of the descriptors
    log_path: str
    credentials: str
    watchdog_s: float = 10.0
    ready_s: float = 20.0

    pid: int = 0
    pidfd: int = -1
    ready: bool = False
    ready_pid: int = 0  # of the last one that said READY=1
    was_ready: bool = False
    failed_starts: int = 0  # in a row, since the last READY=1
    fed_at: float = 0.0
    failure: str = ""
    changed: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    @property
    def running(self):
        return self.pidfd >= 0

    def last_words(self, lines=5):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                return "".join(log.readlines()[-lines:])
        except OSError:
            return ""


def _environment(service, notify_path):
    env = {k: os.environ[k] for k in INHERITED_VARIABLES if k in os.environ}
    env.update(
        PATH="/usr/bin:/bin",
        LANG="C.UTF-8",
        NOTIFY_SOCKET=notify_path,
        CREDENTIALS_DIRECTORY=service.credentials,
        WATCHDOG_USEC=str(int(service.watchdog_s * 1e6)),
        WATCHDOG_PID=str(os.getpid()),
    )
    if service.sockets:
        env.update(
            LISTEN_PID=str(os.getpid()),
            LISTEN_FDS=str(len(service.sockets)),
            LISTEN_FDNAMES=":".join(name for name, _ in service.sockets),
        )
    return env


def _become(service, notify_path, supervisor_pid, libc):
    """In the forked child: descriptors, environment, exec. Does not return."""
    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != supervisor_pid:
            os._exit(1)  # the supervisor died between fork and prctl
        os.setsid()  # Ctrl-C reaches the supervisor only, which stops them in order
        # What came since the fork waits, and is the service's: not the supervisor's handlers'.
        for signum in STOP_SIGNALS + (signal.SIGPIPE,):
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

        log = os.open(service.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open("/dev/null", os.O_RDONLY)
        count = len(service.sockets)
        # First out of the way of the numbers that they are to get, then onto them.
        above = LISTEN_FDS_START + count
        spare = [_duplicate_above(fd.fileno(), above) for _, fd in service.sockets]
        log, null = _duplicate_above(log, above), _duplicate_above(null, above)
        for target, fd in enumerate([null, log, log] + spare):
            os.dup2(fd, target, inheritable=True)
        os.closerange(above, os.sysconf("SC_OPEN_MAX"))
        os.execve(service.argv[0], service.argv, _environment(service, notify_path))
    except BaseException as error:  # nothing of the parent's Python may go on in the child
        os.write(2, f"{service.argv[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def _duplicate_above(fd, lowest):
    return fcntl.fcntl(fd, fcntl.F_DUPFD, lowest)


class Supervisor:
    """The set of services, from start() to stop()."""

    def __init__(self, services, notify_path, on_ready=None):
        self.services = {s.name: s for s in services}
        self.notify_path = notify_path
        self.on_ready = on_ready or (lambda service: None)
        self.stopping = False
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timers = {}

    async def start(self):
        """Starts all and returns when each is ready; raises StartFailed otherwise."""
        self._loop = asyncio.get_running_loop()
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._notify.setblocking(False)
        self._notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.notify_path)  # of a supervisor that was killed
        self._notify.bind(self.notify_path)
        self._loop.add_reader(self._notify, self._on_notify)
        for service in self.services.values():
            self._spawn(service)
        for service in self.services.values():
            await self._wait_ready(service, time.monotonic() + service.ready_s)

    async def _wait_ready(self, service, deadline):
        while not service.ready:
            if service.failure:
                raise StartFailed(f"{service.name} {service.failure}\n{service.last_words()}")
            service.changed.clear()
            try:
                await asyncio.wait_for(service.changed.wait(), deadline - time.monotonic())
            except asyncio.TimeoutError:
                raise StartFailed(
                    f"{service.name} did not say READY=1 in {service.ready_s} s\n"
                    f"{service.last_words()}"
                ) from None

    async def stop(self):
        """Ends all processes, the client's side first, and waits until they are gone."""
        self.stopping = True
        for timer in self._timers.values():
            timer.cancel()
        for service in reversed(self.services.values()):
            await self._stop_one(service)
        self._loop.remove_reader(self._notify)
        self._notify.close()
        os.unlink(self.notify_path)

    async def _stop_one(self, service):
        for signum in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + STOP_DEADLINE_S
            if service.running:
                self._signal(service, signum)
                self._signal(service, signal.SIGCONT)
            while service.running and time.monotonic() < deadline:
                service.changed.clear()
                try:
                    await asyncio.wait_for(service.changed.wait(), deadline - time.monotonic())
                except asyncio.TimeoutError:
                    print(f"{service.name} did not stop in {STOP_DEADLINE_S} s, killing it",
                          file=sys.stderr)

    def _signal(self, service, signum):
        try:
            signal.pidfd_send_signal(service.pidfd, signum)
        except ProcessLookupError:
            pass

    def _spawn(self, service):
        self._timers.pop(service.name, None)
        if self.stopping:
            return
        service.ready = False
        service.failed_starts += 1
        supervisor_pid = os.getpid()
        sys.stdout.flush()
        try:
            pid, service.pidfd = self._fork(service, supervisor_pid)
        except OSError as error:  # no process or no descriptor to be had now
            self._note(service, f"can't be started: {error}")
            self._spawn_later(service)
            return
        service.pid = pid
        self._loop.add_reader(service.pidfd, self._on_exit, service)
        self._loop.call_later(service.ready_s, self._check_ready, service, pid)

    def _fork(self, service, supervisor_pid):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                _become(service, self.notify_path, supervisor_pid, self._libc)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            return pid, os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise

    def _spawn_later(self, service):
        delay = min(FIRST_RESTART_DELAY_S * 2**service.failed_starts, MAX_RESTART_DELAY_S)
        self._timers[service.name] = self._loop.call_later(delay, self._spawn, service)

    def _note(self, service, what):
        """Among what the process itself has printed."""
        try:
            with open(service.log_path, "a", encoding="utf-8") as log:
                log.write(f"supervisor: {service.name} [{service.pid}] {what}\n")
        except OSError:
            print(f"supervisor: {service.name} [{service.pid}] {what}", file=sys.stderr, flush=True)

    def _check_ready(self, service, pid):
        if not self.stopping and service.pid == pid and service.running and not service.ready:
            self._kill(service, f"did not say READY=1 in {service.ready_s} s")

    def _kill(self, service, why):
        self._note(service, why)
        self._signal(service, signal.SIGKILL)

    def _on_exit(self, service):
        self._loop.remove_reader(service.pidfd)
        os.close(service.pidfd)
        service.pidfd = -1
        _, status = os.waitpid(service.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        what = f"exited with {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
        service.ready = False
        service.changed.set()
        if self.stopping:
            return
        self._note(service, what)
        if not service.was_ready and service.failed_starts >= STARTS_BEFORE_READY_MAX:
            service.failure = what
            return
        self._spawn_later(service)

    def _on_notify(self):
        """One datagram: whose it is says the kernel (SCM_CREDENTIALS), not its text."""
        size = struct.calcsize("3i")
        while True:
            try:
                text, ancillary, _, _ = self._notify.recvmsg(4096, socket.CMSG_SPACE(size) + 256)
            except BlockingIOError:
                return
            pid = 0
            for level, kind, data in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    pid = struct.unpack("3i", data[:size])[0]
                elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    for fd in array.array("i", data[: len(data) // 4 * 4]):
                        os.close(fd)
            for service in self.services.values():
                if service.pid == pid and service.running:
                    self._on_state(service, text.decode(errors="replace").split("\n"))

    def _on_state(self, service, assignments):
        if "READY=1" in assignments and not service.ready:
            service.ready = service.was_ready = True
            service.ready_pid = service.pid
            service.failed_starts = 0
            service.fed_at = time.monotonic()
            service.changed.set()
            self._check_watchdog(service, service.pid)
            self.on_ready(service)
        if "WATCHDOG=1" in assignments:
            service.fed_at = time.monotonic()

    def _check_watchdog(self, service, pid):
        """Called when the watchdog may have run out; kills or comes back when it next may."""
        if self.stopping or service.pid != pid or not service.running:
            return
        left = service.fed_at + service.watchdog_s - time.monotonic()
        if left > 0:
            self._loop.call_later(left, self._check_watchdog, service, pid)
            return
        self._kill(service, "missed its watchdog")
