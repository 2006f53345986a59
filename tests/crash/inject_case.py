"""One case of tests/crash/inject: a life in which system calls fail, and what has to be true."""

import pathlib
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import kill_case
from eventlogd import Eventlogd
from frames import ACK, CAUGHT_UP, ERROR, GAP, NACK, RECORDS, SUBSCRIBE, parse_records

DEADLINE_S = 60
SEGMENTS = (144 * 1024, 192 * 1024, 256 * 1024)
PUBLISHERS = 3
IN_FLIGHT_MAX = 4
BATCH_MAX = 6
BATCHES = 60
LOAD_MAX_S = 1.5
PRUNING_LOAD_S = 0.7  # at least: retention has its turn four times a second
RETRY_S = 0.05

ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EINTR", "EAGAIN", "ENOMEM", "EMFILE")
INTERRUPTIONS = 20  # in a row: what is interrupted for ever is rightly tried for ever
# With how often a thread makes each in one case: strace counts each thread's by themselves.
CALLS = {"pwritev": 60, "fdatasync": 40, "fsync": 8, "fallocate": 5, "openat": 8, "/^renameat": 3,
         "unlinkat": 5, "pread64": 6, "mmap": 8, "getdents64": 2, "fstatfs": 2}
IN_DIRECTORY = ("openat", "getdents64", "/^renameat", "unlinkat")  # libraries' are not meant
OF_THE_LOADER = ("mmap", "pread64")  # counted behind those that come before the log's directory
PASSING = ("ENOSPC", "EDQUOT", "ENOMEM", "EAGAIN", "EINTR")
REFUSALS = ("no_space", "read_only", "producer_gap", "shutting_down")
READERS_ERRORS = ("shutting_down", "overrun", "unavailable")
COMPLAINT = re.compile(r"^eventlogd\[(warning|error|critical)\]", re.MULTILINE)


def why_not():
    """Why strace can't be had here, or nothing."""
    if shutil.which("strace") is None:
        return "needs strace"
    command = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=getppid", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"strace can't trace here: {done.stderr.strip()}"


def traced(trace, calls, *more):
    """What runs a program as it is run without, but for the calls."""
    return ["strace", "-D", "-f", "-qq", "-s", "16", "-o", str(trace), "-e", f"trace={calls}",
            *more]


def wait_until_ready(daemon):
    """False when it ended before it was ready."""
    deadline = time.monotonic() + DEADLINE_S
    while not daemon._is_ready():  # pylint: disable=protected-access
        assert time.monotonic() < deadline, "it does not get ready"
        if daemon.process.poll() is not None:
            return False
    return True


def calls_of_the_loader(build):
    """{call: how often it comes before the log's directory is opened}"""
    with tempfile.TemporaryDirectory(prefix="sightline-inject-") as directory:
        daemon = Eventlogd(build, directory=directory)
        trace = pathlib.Path(directory) / "trace"
        daemon.spawn(traced(trace, ",".join((*OF_THE_LOADER, "openat"))))
        assert wait_until_ready(daemon), daemon.stderr()
        daemon.stop()
        before, found, _ = trace.read_text(encoding="utf-8").partition(
            f'openat(AT_FDCWD, "{daemon.log_dir}"')
        assert found, "where is the log's directory opened?"
        return {call: len(re.findall(rf"^\d+ +{call}\(", before, re.MULTILINE))
                for call in OF_THE_LOADER}


class PublisherThread(kill_case.PublisherThread):
    """Tries again what is refused for want of room. `sent`: the last number that may be stored."""

    def __init__(self, case, index, before=None):
        super().__init__(case, index, before.position if before else 0)
        self.acked = list(before.acked) if before else []
        self.limit = kill_case.QUIET_BATCHES if index == kill_case.QUIET else BATCHES
        self.in_flight = []  # (first number, count) without an answer that is final
        self.refusals = set()
        self.position = self.after  # of the newest that is acknowledged

    def run(self):
        super().run()
        self.sent = max([self.position] + [first + count - 1 for first, count in self.in_flight])

    def _publish(self, connection):
        choice = random.Random(f"{self.case.seed}/{self.index}/{self.after}")
        next_number, batches = self.after + 1, 0
        while batches < self.limit or self.in_flight:
            if batches < self.limit and len(self.in_flight) < IN_FLIGHT_MAX:
                count = choice.randint(1, BATCH_MAX)
                self.in_flight.append((next_number, count))
                connection.send_publish(self.worker, [
                    kill_case.payload_of(self.case.seed, self.index, number)
                    for number in range(next_number, next_number + count)], next_number)
                next_number += count
                batches += 1
            elif self._take(connection.receive()):
                continue
            elif not self._is_refused_for_now(connection):
                return
            else:
                next_number = self.position + 1

    def _take(self, reply):
        """False when the first batch in flight is refused."""
        first, count = self.in_flight[0]
        if reply[0] == NACK:
            assert reply[2] in REFUSALS, reply
            self.refusals.add(reply[2])
            return False
        assert reply[0] == ACK and reply[4] == 0 and reply[3] - reply[2] + 1 == count, reply
        self.acked.append((first, reply[2], count))
        self.position = first + count - 1
        self.in_flight.pop(0)
        return True

    def _is_refused_for_now(self, connection):
        """For want of room, and all that follows it; until it may be tried again."""
        if self.refusals - {"no_space", "producer_gap"}:
            return False
        self.in_flight.pop(0)
        while self.in_flight:
            reply = connection.receive()
            assert reply[0] == NACK and reply[2] in REFUSALS, reply
            self.refusals.add(reply[2])
            if self.refusals - {"no_space", "producer_gap"}:
                return False
            self.in_flight.pop(0)
        return not self.case.is_over.wait(RETRY_S)


class ReaderThread(kill_case.ReaderThread):
    """A disk that does not read is told to it; nothing else may keep a record from it."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.has_begun = threading.Event()

    def run(self):
        super().run()
        self.has_begun.set()

    def _read(self, connection):
        self.has_begun.set()
        connection.send(SUBSCRIBE, 1, self.workers, [self.start_at], True)
        while True:
            message = connection.receive()
            if message[0] == ERROR:
                assert message[2] in READERS_ERRORS or (
                    self.workers and message[2] == "worker_not_found"), message
                self.case.count(f"reader told {message[2]}")
                return
            if message[0] == RECORDS:
                self.got += parse_records(message[1])
                self.cursor = connection.cursor(self.got[-1])
            elif message[0] == GAP:
                assert message[3] == "pruned" and self.case.prunes, message
            elif message[0] == CAUGHT_UP:
                self.is_caught_up.set()


class Case(kill_case.Case):
    def __init__(self, build, directory, seed, number, loader):
        super().__init__(build, directory, seed, number)
        self.daemon.configure({**self.daemon.config,
                               "segment_bytes": self.random.choice(SEGMENTS)})
        self.call = sorted(CALLS)[(seed + number) % len(CALLS)]
        self.error = self.random.choice(ERRORS)
        self.is_sticky = self.random.random() < 0.5
        self.point = self.random.randint(1, self.random.randint(1, CALLS[self.call]))
        self.loader = loader
        self.is_over = threading.Event()
        self.trace = self.daemon.dir / "trace"
        self.daemon.stderr_path.touch()
        self.complaints_from = 0

    def __str__(self):
        sticky = " and from then on" if self.is_sticky else ""
        return (f"call {self.point} of {self.call}{sticky} fails with {self.error}; "
                f"{self.daemon.config['durability']}, {self.daemon.config['segment_bytes']}"
                f"{', retention' if self.prunes else ''}")

    def prefix(self):
        at = self.point + self.loader.get(self.call, 0)
        last = ""
        if self.is_sticky:
            last = f"..{at + INTERRUPTIONS}" if self.error == "EINTR" else "+"
        path = ("-P", str(self.daemon.log_dir)) if self.call in IN_DIRECTORY else ()
        return traced(self.trace, self.call, *path, "-e",
                      f"inject={self.call}:error={self.error}:when={at}{last}")

    def start(self, environment=None):
        assert environment is None
        self.daemon.spawn()
        assert wait_until_ready(self.daemon), f"it ended with {self.daemon.process.returncode}"
        return True

    def run(self):
        publishers, readers = None, []
        if self.random.random() < 0.5:
            publishers, readers = self.live_before()
        publishers, readers = self.live_with_errors(publishers, readers)
        self.check_told(publishers)
        self.check_recovery(publishers, readers)

    # The lives.

    def load(self, before):
        """Publishers and readers, ended together with the daemon by end_load()."""
        self.is_over.clear()
        publishers = [PublisherThread(self, index, before[index] if before else None)
                      for index in range(PUBLISHERS)]
        readers = [ReaderThread(self, "oldest"), ReaderThread(self, "newest"),
                   ReaderThread(self, "oldest", ["w1"])]
        started = time.monotonic()
        for thread in publishers + readers:
            thread.start()
        for reader in readers:
            reader.has_begun.wait(DEADLINE_S)
        for publisher in publishers:
            publisher.join(max(0, started + LOAD_MAX_S - time.monotonic()))
        if self.prunes:
            self.is_over.wait(max(0, started + PRUNING_LOAD_S - time.monotonic()))
        return publishers, readers

    def end_load(self, threads, signum):
        """What the daemon ended with."""
        self.is_over.set()
        process = self.daemon.process
        process.send_signal(signum)
        try:
            code = process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError("it does not stop") from None
        for thread in threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive(), "a connection outlives the daemon"
        self.check_threads(threads)
        return code

    def live_before(self):
        """So that the errors come while a log is taken up, and older segments are read."""
        self.start()
        publishers, readers = self.load(None)
        signum = self.random.choice((signal.SIGKILL, signal.SIGTERM))
        code = self.end_load(publishers + readers, signum)
        assert code == (0 if signum == signal.SIGTERM else -signum), f"it ended with {code}"
        if signum == signal.SIGKILL:  # what was on its way may be there
            self.start()
            for publisher in publishers:
                with self.daemon.publisher(f"p{publisher.index}") as connection:
                    publisher.position = connection.position(publisher.worker) or 0
            self.daemon.kill()
        return publishers, readers

    def live_with_errors(self, before, readers_before):
        self.complaints_from = len(self.stderr())
        self.daemon.spawn(self.prefix())
        if wait_until_ready(self.daemon):
            publishers, readers = self.load(before)
            self.exit_code = self.end_load(publishers + readers, signal.SIGTERM)
        else:
            publishers = [PublisherThread(self, index, before[index] if before else None)
                          for index in range(PUBLISHERS)]
            readers, self.exit_code = [], self.daemon.process.returncode
            self.count("did not start")
        assert self.exit_code in (0, 1), f"it ended with {self.exit_code}"
        return publishers, readers_before + readers

    # What is judged.

    def check_told(self, publishers):
        """Who runs it and who publishes learn of what failed."""
        injected = [line.split()[0] for line in self.trace.read_text(
            encoding="utf-8", errors="replace").splitlines() if line.endswith("(INJECTED)")]
        if injected:
            self.count("met")
            self.count(f"at {self.call} {self.error}")
        text = self.stderr()[self.complaints_from:]
        refusals = set().union(*(publisher.refusals for publisher in publishers))
        for refusal in refusals & {"no_space", "read_only"}:
            self.count(f"publishers told {refusal}")
            assert f"{refusal}: " in text, f"{refusal} is not in the journal"
        assert injected or not refusals - {"shutting_down"}, refusals
        if self.exit_code != 0:
            self.count("exit code 1")
            assert injected and COMPLAINT.search(text), "it fails without a word"
        if self.call == "pwritev" and str(self.daemon.process.pid) in injected \
                and self.error not in PASSING:
            assert self.exit_code == 1 or "read_only: " in text, "a failed write is not told"

    def check_quiet(self, worker, position):
        """The reserve is given up where it can't be copied."""
