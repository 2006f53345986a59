"""One case of tests/crash/run: load, kill -9, recovery, and what has to be true afterwards."""

import os
import random
import threading

from eventlogd import Eventlogd
from frames import ACK, CAUGHT_UP, ERROR, GAP, NACK, RECORDS, Closed, Overrun, parse_records

PUBLISHERS = 4
IN_FLIGHT_MAX = 6
BATCH_MAX = 6
SEGMENT_BYTES = 192 * 1024
QUIET, QUIET_BATCHES = 2, 3  # a publisher that says little, and what it says before the end
LOAD_MAX_S = 0.25
PRUNING_LOAD_MAX_S = 0.6  # retention has its turn four times a second
GO_ON_BATCHES = 6
KEYFRAME_EVERY = 50
RECOVERY_KILL_MAX_S = 0.03

MOMENTS = ("before", "after")
WRITES = ("records", "header", "footer", "trailer", "rewrite", "recovered-footer",
          "recovered-trailer", "compact-records", "compact-header", "compact-footer",
          "compact-trailer")
# While it works, with how often each comes about in one case; while retention is at work, too; and
# while it starts.
WORKING = {"records": 60, "header": 3, "footer": 3, "trailer": 3, "sync-records": 20,
           "sync-footer": 3, "sync-trailer": 3, "sync-spare": 4, "sync-header": 3, "sync-name": 3,
           "allocate": 4, "punch": 3, "rename": 3, "create-spare": 4, "open-segment": 3, "map": 3,
           "read": 6, "accept": 7, "receive": 100, "send": 100, "unlink-spare": 2}
PRUNING = {"unlink-segment": 3, "sync-removal": 2, "unlink-compact": 2, "create-compact": 2,
           "compact-records": 2, "compact-header": 2, "sync-compact-header": 2,
           "compact-footer": 2, "sync-compact-footer": 2, "compact-trailer": 2,
           "sync-compact-trailer": 3, "rename-compact": 2, "sync-replacement": 2}
STARTING = {"open-directory": 2, "lock": 1, "list": 6, "open-segment": 4, "read": 8, "map": 3,
            "open-recovered": 1, "rewrite": 1, "sync-rewrite": 1, "recovered-footer": 1,
            "sync-recovered-footer": 1, "recovered-trailer": 1, "sync-recovered-trailer": 1,
            "recovered-punch": 1, "unlink-spare": 2, "create-spare": 2, "allocate": 2,
            "sync-spare": 2, "header": 1, "sync-header": 1, "rename": 1, "sync-name": 1,
            "listen": 2}


def points_of(table):
    """[(name, moment)]"""
    pairs = [(name, moment) for name in table for moment in MOMENTS]
    return pairs + [(name, "half") for name in table if name in WRITES]


POINTS = sorted(set(points_of(WORKING)) | set(points_of(PRUNING)) | set(points_of(STARTING)))


def shim(build):
    return build.parent / "tests" / "kill_point.so"


def payload_of(seed, publisher, number):
    """What a publisher's event of this number holds, always the same."""
    choice = random.Random(f"{seed}/{publisher}/{number}")
    size = choice.choice((10, 40, 100, 400, 1500, 6000))
    kind = "snapshot" if number == newest_keyframe(number) else "token"
    return b'{"event":"%s","p":%d,"n":%d,"x":"%s"}' % (
        kind.encode(), publisher, number, choice.randbytes(size // 2).hex().encode())


def newest_keyframe(number):
    """Of a publisher that has published so much."""
    return number - (number - 1) % KEYFRAME_EVERY


def is_error(reply):
    """Of a subscription; the other answer is three sequences."""
    return isinstance(reply, list)


class PublisherThread(threading.Thread):
    """Sends numbered events until its connection ends or `limit` batches are acknowledged."""

    def __init__(self, case, index, after):
        super().__init__(daemon=True)
        self.case, self.index = case, index
        self.worker = f"w{index % (PUBLISHERS - 1)}"  # two share one
        self.sent = self.after = after
        self.acked = []  # (first number, first sequence, count)
        self.limit = None
        self.problem = None

    def run(self):
        try:
            with self.case.daemon.publisher(f"p{self.index}") as connection:
                self._publish(connection)
        except (Closed, OSError):
            pass
        except Exception as error:  # pylint: disable=broad-except
            self.problem = error

    def _publish(self, connection):
        choice = random.Random(f"{self.case.seed}/{self.index}/{self.after}")
        in_flight, batches = [], 0
        while self.limit is None or batches < self.limit or in_flight:
            more = self.limit is None or batches < self.limit
            if more and len(in_flight) < IN_FLIGHT_MAX:
                first, count = self.sent + 1, choice.randint(1, BATCH_MAX)
                batch = [payload_of(self.case.seed, self.index, n)
                         for n in range(first, first + count)]
                in_flight.append((first, count))
                self.sent += count  # before a byte of it is on its way
                connection.send_publish(self.worker, batch, producer_seq=first)
                batches += 1
                continue
            reply = connection.receive()
            first, count = in_flight.pop(0)
            if reply[0] == NACK and reply[2] == "shutting_down":
                return
            assert reply[0] == ACK, reply
            assert reply[4] == 0 and reply[3] - reply[2] + 1 == count, reply
            self.acked.append((first, reply[2], count))
            self.case.on_ack()


class ReaderThread(threading.Thread):
    """Reads on until its connection ends. What it got stays over several connections."""

    def __init__(self, case, start, workers=None, cursor=None, before=()):
        super().__init__(daemon=True)
        self.case, self.start_at, self.workers, self.cursor = case, start, workers, cursor
        self.got = list(before)
        self.problem = None
        self.is_caught_up = threading.Event()

    def run(self):
        try:
            with self.case.daemon.reader() as connection:
                self._read(connection)
        except (Closed, OSError):
            pass
        except Exception as error:  # pylint: disable=broad-except
            self.problem = error
        self.is_caught_up.set()

    def _read(self, connection):
        start = ["cursor", self.cursor] if self.cursor else [self.start_at]
        reply = connection.subscribe(start, self.workers)
        if is_error(reply) and (
                (self.workers and reply[2] == "worker_not_found")
                or (self.case.prunes and reply[2] == "cursor_expired")):
            return
        assert not is_error(reply), (reply, self.cursor)
        while True:
            message = connection.receive()
            if message[0] == CAUGHT_UP:
                self.is_caught_up.set()
            elif message[0] == RECORDS:
                self.got += parse_records(message[1])
                self.cursor = connection.cursor(self.got[-1])
            elif message[0] == ERROR and message[2] in ("shutting_down", "overrun"):
                return
            else:
                assert message[0] == GAP and message[3] == "pruned" and self.case.prunes, message


class Case:
    def __init__(self, build, directory, seed, number):
        self.build, self.seed, self.number = build, f"{seed}/{number}", number
        self.random = random.Random(self.seed)
        self.prunes = number % 4 >= 2
        self.outcome = {}
        config = {"segment_bytes": SEGMENT_BYTES, "max_event_bytes": 65536,
                  "durability": self.random.choice(("durable", "interval", "os"))}
        if self.prunes:
            config["retention"] = {"bytes": 4 * SEGMENT_BYTES}
        self.daemon = Eventlogd(build, config, directory)
        self.point = None
        self.acks = 0
        self.ack_lock = threading.Lock()
        self.acks_wanted = None
        self.enough = threading.Event()

    def stderr(self):
        return self.daemon.stderr()

    def end(self):
        if self.daemon.process is not None:
            self.daemon.kill()

    def on_ack(self):
        with self.ack_lock:
            self.acks += 1
            if self.acks_wanted is not None and self.acks >= self.acks_wanted:
                self.enough.set()

    def count(self, what):
        self.outcome[what] = self.outcome.get(what, 0) + 1

    def environment(self, table):
        """To be ended at a point of the table, or nothing."""
        name, moment = self.random.choice(points_of(table))
        self.point = f"at {moment} {name}"
        return {"LD_PRELOAD": str(shim(self.build)), "SIGHTLINE_KILL_POINT": name,
                "SIGHTLINE_KILL_MOMENT": moment,
                "SIGHTLINE_KILL_COUNT": str(self.random.randint(1, table[name]))}

    def start(self, environment=None):
        """False when it was ended before it was ready."""
        os.environ.update(environment or {})
        try:
            self.daemon.spawn()
        finally:
            for name in environment or {}:
                del os.environ[name]
        while not self.daemon._is_ready():  # pylint: disable=protected-access
            if self.daemon.process.poll() is not None:
                assert environment and self.daemon.process.returncode == -9, \
                    f"it ended with {self.daemon.process.returncode}"
                self.count(self.point)
                return False
        return True

    def run(self):
        at_point = self.number % 2 == 0
        table = PRUNING if self.prunes and self.random.random() < 0.7 else WORKING
        environment = self.environment(table) if at_point else None
        publishers, readers = self.load(environment)
        self.check_threads(publishers + readers)
        if self.number % 5 == 0:
            self.recover_and_kill()
        self.check_recovery(publishers, readers)

    def check_recovery(self, publishers, readers):
        """What is there is right, is the same after one more kill, and can be gone on with."""
        first = self.recover(publishers)
        self.check(first, publishers, readers)
        self.daemon.kill()
        second = self.recover(publishers)
        self.check_same(first, second)
        self.go_on(second, publishers, readers)

    # Load, and its end.

    def load(self, environment):
        """Publishers and readers as they stood when it was killed."""
        readers = [ReaderThread(self, "oldest"), ReaderThread(self, "newest"),
                   ReaderThread(self, "oldest", ["w1"])]
        publishers = [PublisherThread(self, i, 0) for i in range(PUBLISHERS)]
        load_max_s = LOAD_MAX_S
        if self.prunes:
            publishers[QUIET].limit = QUIET_BATCHES
            load_max_s = PRUNING_LOAD_MAX_S
        if self.start(environment):
            for thread in publishers + readers:
                thread.start()
            if environment is None:
                self.acks_wanted = self.random.randint(1, 400 if self.prunes else 150)
                self.enough.wait(load_max_s)
            else:
                try:
                    self.daemon.process.wait(load_max_s)
                except Exception:  # pylint: disable=broad-except
                    self.count("point not met")
                else:
                    self.count("killed at a point")
                    self.count(self.point)
        else:
            self.count("killed at a point")
        if environment is None:
            self.count("killed at a random time")
        self.daemon.kill()
        for thread in publishers + readers:
            if thread.ident is not None:
                thread.join()
        return publishers, readers

    @staticmethod
    def check_threads(threads):
        for thread in threads:
            if thread.problem is not None:
                raise AssertionError("while it worked") from thread.problem

    # Recovery.

    def recover_and_kill(self):
        if self.random.random() < 0.3:
            self.daemon.spawn()
            try:
                self.daemon.process.wait(self.random.random() * RECOVERY_KILL_MAX_S)
            except Exception:  # pylint: disable=broad-except
                pass
            self.count("recovery killed at a random time")
        elif not self.start(self.environment(STARTING)):
            self.count("recovery killed at a point")
        self.daemon.kill()

    def recover(self, publishers):
        """Everything the log gives, and each publisher's position."""
        assert self.start()
        got = self.read_all()
        gaps = [item for item in got if isinstance(item, list)]
        assert not gaps, gaps
        positions = []
        for publisher in publishers:
            with self.daemon.publisher(f"p{publisher.index}") as connection:
                positions.append(connection.position(publisher.worker) or 0)
        if self.prunes:
            self.check_quiet(publishers[QUIET].worker, positions[QUIET])
        return got, positions

    def read_all(self, workers=None):
        """From the oldest record; again, where retention was faster."""
        while True:
            with self.daemon.reader() as connection:
                reply = connection.subscribe(["oldest"], workers, follow=False)
                assert not is_error(reply), reply
                try:
                    return connection.until_caught_up()
                except Overrun:
                    assert self.prunes

    def check_quiet(self, worker, position):
        """The keyframe reserve has its newest keyframe and what follows, however loud the others."""
        if position == 0:
            return
        got = self.read_all([worker])
        kept = [payload_of(self.seed, QUIET, number)
                for number in range(newest_keyframe(position), position + 1)]
        assert [record.payload for record in got[-len(kept):]] == kept, \
            f"of {len(kept)} records from the keyframe on {len(got)} are left"
        with open(min(self.daemon.log_dir.glob("*.seg")), "rb") as oldest:
            if oldest.read(20)[16] & 1:
                self.count("start on a compacted segment")

    def check_same(self, first, second):
        (got, positions), (got_again, positions_again) = first, second
        assert positions == positions_again, (positions, positions_again)
        if self.prunes and len(got_again) < len(got):
            got = got[-len(got_again):]  # retention went on after the first start
        assert got == got_again, f"{len(got)} records, then {len(got_again)}; or their bytes"

    # The promises.

    def check(self, state, publishers, readers):
        got, positions = state
        self.outcome["records judged"] = self.outcome.get("records judged", 0) + len(got)
        oldest = got[0].sequence if got else 1
        assert self.prunes or oldest == 1, f"it begins at {oldest}"
        by_sequence = {}
        newest_number = [0] * PUBLISHERS
        for expected, record in enumerate(got, oldest):
            assert record.sequence == expected, f"{expected} is missing"
            by_sequence[record.sequence] = record
            self.check_published(record, publishers, newest_number, oldest > 1)
        for publisher, position, newest in zip(publishers, positions, newest_number):
            self.check_publisher(publisher, position, newest, by_sequence, oldest)
        for reader in readers:
            self.check_reader(reader, by_sequence, oldest)

    def check_published(self, record, publishers, newest_number, may_begin_late):
        """It is what its publisher sent, in its order, once."""
        start = record.payload.index(b'"p":') + 4
        publisher, number = (int(part) for part in record.payload[
            start:record.payload.index(b',"x"', start)].split(b',"n":'))
        assert record.payload == payload_of(self.seed, publisher, number), record
        assert number <= publishers[publisher].sent, "it was never published"
        assert record.worker == publishers[publisher].worker
        before = newest_number[publisher]
        assert number == before + 1 or (before == 0 and may_begin_late), \
            f"event {number} of publisher {publisher} follows {before}"
        newest_number[publisher] = number

    def check_publisher(self, publisher, position, newest, by_sequence, oldest):
        acked = 0
        for first, sequence, count in publisher.acked:
            acked = first + count - 1
            for i in range(count):
                if sequence + i < oldest:
                    continue
                assert sequence + i in by_sequence, f"{sequence + i} was acknowledged and is lost"
                payload = payload_of(self.seed, publisher.index, first + i)
                assert by_sequence[sequence + i].payload == payload, \
                    f"{sequence + i} is not what was acknowledged"
        assert acked <= position <= publisher.sent, (acked, position, publisher.sent)
        assert position == newest or (newest == 0 and oldest > 1), (position, newest)

    @staticmethod
    def check_reader(reader, by_sequence, oldest):
        """What was seen is there, and it was seen without a hole."""
        for record in reader.got:
            if record.sequence >= oldest:
                assert by_sequence.get(record.sequence) == record, \
                    f"{record.sequence} was read and is another now, or lost"
        if reader.workers is None and oldest == 1:
            numbers = [record.sequence for record in reader.got]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)) if numbers
                                   else []), "a reader saw a hole"

    # After the recovery.

    def go_on(self, state, publishers, readers):
        """Publishers at their positions, readers at their cursors, to an orderly end."""
        _, positions = state
        later = [PublisherThread(self, publisher.index, position)
                 for publisher, position in zip(publishers, positions)]
        following = [ReaderThread(self, reader.start_at, reader.workers, reader.cursor, reader.got)
                     for reader in readers]
        for reader in following:
            reader.start()
        for reader in following:
            assert reader.is_caught_up.wait(20)
        for publisher in later:
            publisher.limit = GO_ON_BATCHES
            publisher.start()
        for publisher in later:
            publisher.join()
            publisher.acked = publishers[publisher.index].acked + publisher.acked
        self.check_threads(later)
        self.daemon.stop()
        for reader in following:
            reader.join()
        self.check_threads(following)
        last = self.recover(later)
        self.check(last, later, following)
        self.daemon.stop()
        result = self.daemon.ctl("verify", self.daemon.log_dir)
        assert result.returncode == 0, result.stdout + result.stderr
