"""The gate: between backend-relay and a real projection, which it starts whenever it is needed.

Everything that projection answers comes through here, is entered in the ledger, and goes on to the
relay as it is, or as the fault of the round (faults.py) leaves it. The relay's side is always
there, as a socket that systemd holds: a process behind it is started when the relay connects.
"""

import asyncio
import collections
import dataclasses
import os
import re
import resource
import signal
import struct

import msgpack

import load
from ledger import DENIED, REFUSED, delivered
from projection import HELLO, OPEN_PASS, PASS, PROJECT, PROJECTED, WELCOME, AUTHORIZE, Projection

DEADLINE_S = 30
REQUESTS = (OPEN_PASS, PROJECT, AUTHORIZE)


class Cut(Exception):
    """The connection ends here."""


@dataclasses.dataclass
class Spoilt:
    """What the relay gets instead of an answer. The verdicts of its first `valid` rows are right;
    unless it is cut off here, the relay has to end the connection itself when it `must_end`."""
    data: bytes = b""
    valid: int = 0
    must_end: bool = True
    cut: bool = False


def pack(message):
    return frame(msgpack.packb(message, use_bin_type=True))


def frame(body):
    return struct.pack("<I", len(body)) + body


def place_of(row):
    """Of an event in its pass, counted from 0: what a ticket tells besides the pass."""
    return row[0] & 0xFFFFFFFF


async def read_frame(reader):
    """(message, the frame's bytes), or IncompleteReadError with the bytes of a part of a frame."""
    head = await reader.readexactly(4)
    try:
        body = await reader.readexactly(struct.unpack("<I", head)[0])
    except asyncio.IncompleteReadError as end:
        raise asyncio.IncompleteReadError(head + end.partial, None) from None
    return msgpack.unpackb(body, raw=False, strict_map_key=False), head + body


def begin_of_project(data):
    """(pass_id, how many rows, the number of the first event) of a PROJECT that was cut off, or
    None when it tells less, or is another message."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(data[4:])
    try:
        unpacker.read_array_header()
        kind, pass_id, rows = unpacker.unpack(), unpacker.unpack(), unpacker.read_array_header()
    except (msgpack.UnpackException, ValueError):
        return None
    number = re.search(rb'"n": *(\d+)\D', data)
    return (pass_id, rows, int(number[1])) if kind == PROJECT and number else None


class Backend:
    """The real process: one at a time, a new one when the old one has ended."""

    def __init__(self, bin_dir, directory):
        self._bin_dir, self._directory = bin_dir, directory
        self._projection = None
        self.starts = 0

    def ensure(self):
        if self._projection is None or self._projection.process.poll() is not None:
            self._projection = Projection(self._bin_dir, self._directory, load.POLICY)
            self.starts += 1

    async def connect(self):
        end = asyncio.get_running_loop().time() + DEADLINE_S
        while True:
            self.ensure()
            try:
                return await asyncio.open_unix_connection(str(self._projection.path))
            except OSError:
                if asyncio.get_running_loop().time() > end:
                    raise
                await asyncio.sleep(0.005)

    def signal(self, number):
        if self._projection is not None and self._projection.process.poll() is None:
            self._projection.process.send_signal(number)
            if number == signal.SIGKILL:
                self._projection.process.wait()

    def starve(self):
        """From now on it gets no more memory than it has."""
        pid = self._projection.process.pid
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            pages = int(statm.read().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE")
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))

    def stop(self):
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)


class Connection:
    """One of the relay's, with its own to projection."""

    def __init__(self, gate, reader, writer):
        self.gate, self.reader, self.writer = gate, reader, writer
        self.number = gate.connections
        self.passes = {}                     # pass_id → (role, worker_id)
        self.verdicts = collections.defaultdict(dict)  # pass_id → {place: row}, cold ones only
        self.requests = collections.deque()  # sent to projection and not answered
        self.welcomed = self.ended = False
        self.kept = []     # answers that a fault holds back
        self.silent = False  # nothing goes to the relay any more
        self.gone = asyncio.Event()  # the relay has closed
        self._cut = asyncio.Event()  # nothing goes on to projection any more
        self._alone = None  # (worker_id, number) when the newest PROJECT holds that one event

    async def run(self):
        self._backend_reader, self._backend_writer = await self.gate.backend.connect()
        requests, *others = tasks = [asyncio.ensure_future(coroutine) for coroutine in (
            self._pump_requests(), self._pump_answers(), self._cut.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done() and not isinstance(task.exception(), (Cut, OSError, type(None))):
                    raise task.exception()
            self.note_end()
            self._end_towards_relay(others)
            await asyncio.wait_for(requests, DEADLINE_S)
        finally:
            for task in tasks:
                task.cancel()

    def _end_towards_relay(self, tasks):
        """It can still say what it has on its way: it may blame what it has asked last."""
        for task in tasks:
            task.cancel()
        self._cut.set()
        self._backend_writer.transport.abort()
        self.writer.write_eof()

    def hang_up(self):
        self._cut.set()

    def note_end(self):
        if self.ended:
            return
        self.ended = True
        self.gate.ledger.note(f"connection {self.number} ends")
        if self.welcomed:
            self.gate.ends += 1

    # From the relay.

    async def _pump_requests(self):
        """Until the relay has closed, also when nothing goes on to projection any more."""
        try:
            while True:
                message, data = await read_frame(self.reader)
                self._note_request(message)
                if not self._cut.is_set():
                    await self._pass_on(message, data)
        except asyncio.IncompleteReadError as end:
            self._note_death(end.partial)
        except OSError as error:
            self.gate.ledger.note(f"connection {self.number}: {error!r}")
            self.gate.ledger.note_unknown_death()
        self.gone.set()

    async def _pass_on(self, message, data):
        try:
            if any(load.POISON in row[2] for row in self.rows_asked(message)):
                self.gate.backend.signal(signal.SIGKILL)
                raise Cut()
            if self.gate.fault is not None:
                await self.gate.fault.on_request(self, message)
            self._backend_writer.write(data)
            await self._backend_writer.drain()
        except (Cut, OSError):
            self._cut.set()

    def _note_death(self, partial):
        """Of the newest request, unless there are others: projection may have ended over it."""
        if partial:
            begin = begin_of_project(partial)
            if begin is None:
                self.gate.ledger.note_unknown_death()
                return
            pass_id, rows, number = begin
            self._alone = (self.passes[pass_id][1], number) if rows == 1 else None
        self.gate.ledger.note(f"connection {self.number} is closed, alone: {self._alone}")
        if self._alone is not None:
            self.gate.ledger.note_death(*self._alone)

    @staticmethod
    def rows_asked(message):
        return message[2] if message[0] == PROJECT else []

    def _note_request(self, message):
        if message[0] not in REQUESTS:
            return
        self.requests.append(message)
        if message[0] == OPEN_PASS:
            self.passes[message[1]] = (message[2], message[4])
        if message[0] == PROJECT:
            worker_id, rows = self.passes[message[1]][1], message[2]
            number = self.gate.ledger.number(worker_id, rows[0][2]) if len(rows) == 1 else None
            self._alone = None if number is None else (worker_id, number)

    # From projection.

    async def _pump_answers(self):
        while True:
            try:
                message, data = await read_frame(self._backend_reader)
            except (asyncio.IncompleteReadError, OSError):
                return
            rows = self._note_answer(message)
            if self.silent:
                continue
            spoilt = None
            if self.gate.fault is not None:
                spoilt = await self.gate.fault.on_answer(self, message, data, rows)
            if spoilt is None:
                self.welcomed |= message[0] == WELCOME
                await self.send(data, rows)
            else:
                await self._send_spoilt(spoilt, rows)

    async def send(self, data, rows=()):
        self.release(rows)
        self.writer.write(data)
        await self.writer.drain()

    def release(self, rows):
        for row in rows:
            if row is not None:
                self.gate.ledger.release(*row)

    async def _send_spoilt(self, spoilt, rows):
        await self.send(spoilt.data, rows[:spoilt.valid])
        if spoilt.cut:
            raise Cut()
        if spoilt.must_end:
            self.silent = True
            self.gate.expect_end(self)

    def _note_answer(self, message):
        """[(worker_id, role, number, outcome)] of its rows; None for a warm one."""
        if message[0] not in (PASS, PROJECTED):
            if message[0] not in (WELCOME, HELLO) and self.requests:
                self.requests.popleft()
            return []
        request = self.requests.popleft()
        if request[1] != message[1]:
            self.gate.ledger.violate(f"projection answers {message[:2]} to {request[:2]}")
        if message[0] == PASS:
            return []
        role, worker_id = self.passes[message[1]]
        rows = []
        for (_, warm, payload), said in zip(request[2], message[2]):
            _, verdict, projected, _ = said
            number = self.gate.ledger.number(worker_id, payload)
            outcome = {"pass": delivered(payload), "rewrite": delivered(projected),
                       "deny": DENIED, "refused": REFUSED}[verdict]
            if number is None and outcome != REFUSED:
                self.gate.ledger.violate(f"projection says {verdict} of what it does not see")
            row = None if warm or number is None else (worker_id, role, number, outcome)
            if row is not None:
                self.gate.ledger.give(*row)
            rows.append(row)
            if row is not None:
                self.verdicts[message[1]][place_of(said)] = said
        return rows


class Gate:
    def __init__(self, path, backend, ledger):
        self.path, self.backend, self.ledger = str(path), backend, ledger
        self.fault = None
        self.connections = self.ends = 0  # ends: of connections that had been welcomed
        self.current = None
        self._tasks = set()
        self._server = None

    def hang_up(self):
        """The relay's connection ends."""
        if self.current is not None and not self.current.ended:
            self.current.hang_up()

    async def start(self):
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self):
        self._server.close()
        for task in list(self._tasks):
            task.cancel()

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        self.connections += 1
        if self.current is not None:  # the relay has one at a time
            self.current.note_end()
        self.ledger.note(f"connection {self.connections} begins")
        connection = self.current = Connection(self, reader, writer)
        try:
            if self.fault is not None:
                await self.fault.on_connect(connection)
            await connection.run()
        except asyncio.TimeoutError:
            self.ledger.violate(f"the relay keeps a connection that has ended: {self.fault}")
        except (Cut, OSError):
            pass
        except asyncio.CancelledError:
            return
        except Exception as error:  # pylint: disable=broad-except
            self.ledger.violate(f"the gate: {error!r}")
        finally:
            writer.close()
            self._tasks.discard(task)

    def expect_end(self, connection):
        """The relay must not go on with this connection."""
        async def wait():
            try:
                await asyncio.wait_for(connection.gone.wait(), DEADLINE_S)
            except asyncio.TimeoutError:
                if not connection.ended:
                    self.ledger.violate(f"the relay goes on after: {self.fault}")
        task = asyncio.ensure_future(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
