"""A Runtime WebSocket for tests of backend-relay: speaks wire.md's section 2, and misbehaves on order.

    with FakeRuntime() as runtime:
        runtime.append("w-1", b'{"event":"snapshot","data":{}}', keyframe=True)
        …                                  # an observer of w-1 gets it
        runtime.refuse = (302, {"Location": "http://elsewhere/"})
        runtime.cut()                      # every connection, without a word

Plain sockets and no library, so that every byte can be wrong. It listens on loopback, or on the
Unix socket `unix_path`.
"""

import asyncio
import base64
import hashlib
import json
import os
import struct
import threading
import time
import urllib.parse

import msgpack

import ports

DEADLINE_S = 20
BATCH_EVENTS, BATCH_BYTES = 64, 256 * 1024
LOG = 0x5EED0001


def cursor(epoch, sequence, log=LOG):
    return f"wo_{log:08x}{epoch:04x}_{sequence:016x}"


class Record:
    def __init__(self, sequence, epoch, worker_id, payload, keyframe):
        self.sequence, self.epoch, self.worker_id = sequence, epoch, worker_id
        self.payload, self.keyframe = payload, keyframe
        self.ts_ms = 1_700_000_000_000 + sequence
        self.damaged = False


class _Connection:
    def __init__(self, writer, worker_id, path):
        self.writer, self.worker_id, self.path = writer, worker_id, path
        self.position = 0  # index into the log: what comes next
        self.told_caught_up = False
        self.holds = False


class FakeRuntime:
    def __init__(self, token="the-runtime-token", unix_path=None):
        self.token, self.unix_path = token, unix_path
        self._held = ports.reserve()
        self.epoch, self.log = 1, LOG
        self.records = []
        self.oldest = 1            # the first sequence that is retained
        self.requests = []         # (path, headers) of every request, in order
        self.refuse = None         # (status, headers[, body]): the answer to every upgrade
        self.silent = False        # accept and answer nothing
        self.before_send = None    # callable(bytes) -> bytes to send instead of a message's frame
        self.holds = False         # events are not sent on
        self.holds_next = False    # the same for each connection that comes while it is set
        self.page = None           # workers on a page of the list, at most
        self.hello_behind = 0      # `newest` of a hello is that much older than the stream's start
        self.connections = []
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self._call(self._start())
        return self

    async def _start(self):
        if self.unix_path:
            self._server = await asyncio.start_unix_server(self._serve, str(self.unix_path))
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def stop(self):
        """Listens no more and cuts what is open. start() begins again at the same place."""
        self._call(self._stop())

    async def _stop(self):
        if self._server:
            self._server.close()
            self._server = None
        self._cut()
        if self.unix_path and os.path.exists(self.unix_path):
            os.unlink(self.unix_path)

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(DEADLINE_S)

    def _do(self, function, *arguments):
        async def call():
            return function(*arguments)
        return self._call(call())

    @property
    def url(self):
        return f"unix:{self.unix_path}" if self.unix_path else f"ws://127.0.0.1:{self.port}"

    @property
    def port(self):
        return ports.number(self._held)

    # What is in the log.

    def append(self, worker_id, payload, keyframe=False):
        return self._do(self._append, [(worker_id, payload, keyframe)])[0]

    def append_many(self, worker_id, payloads):
        return self._do(self._append, [(worker_id, payload, False) for payload in payloads])

    def _append(self, rows):
        sequences = []
        for worker_id, payload, keyframe in rows:
            sequence = self.records[-1].sequence + 1 if self.records else 1
            self.records.append(Record(sequence, self.epoch, worker_id, payload, keyframe))
            sequences.append(sequence)
        for connection in list(self.connections):
            self._feed(connection)
        return sequences

    def prune(self, up_to):
        """Forgets the records up to and including that sequence."""
        self.oldest = up_to + 1

    def damage(self, first, last):
        """These can't be read any more: a gap is told in their place."""
        for record in self.records:
            record.damaged |= first <= record.sequence <= last

    def lose(self, after):
        """What a power cut does: the records after that sequence are gone, a new epoch begins."""
        self.records = [r for r in self.records if r.sequence <= after]
        self.epoch += 1

    def renew(self):
        """Another log: nothing of the old one is known."""
        self.log, self.epoch, self.records = self.log + 1, 1, []

    @property
    def newest(self):
        return self.records[-1].sequence if self.records else 0

    def cursor_at(self, sequence):
        epoch = next((r.epoch for r in self.records if r.sequence == sequence), self.epoch)
        return cursor(epoch, sequence, self.log)

    # Acting on connections.

    def bookmark(self):
        """Tells everybody that there is nothing more up to the newest record."""
        self._do(lambda: [self._send(c, [{"kind": "bookmark",
                                          "cursor": self.cursor_at(self.newest)}])
                          for c in self.connections])

    def diagnostic(self, code, final=False, **details):
        item = {"kind": "diagnostic", "diagnostic": {
            "code": code, "message": "it says so", "final": final, **details}}
        self._do(lambda: [self._send(c, [item]) for c in self.connections])

    def send_raw(self, data):
        self._do(lambda: [c.writer.write(data) for c in self.connections])

    def cut(self):
        self._do(self._cut)

    def cut_one(self, connection):
        self._do(connection.writer.transport.abort)

    def _cut(self):
        for connection in self.connections:
            connection.writer.transport.abort()
        self.connections.clear()

    def release(self):
        """Sends on what was held."""
        def release():
            self.holds = False
            for connection in list(self.connections):
                connection.holds = False
                self._feed(connection)
        self._do(release)

    def hold(self, connection):
        self._do(lambda: setattr(connection, "holds", True))

    def send_on(self, connection, through=None):
        """To a connection that is held: the records up to that sequence, and that this is all."""
        self._do(lambda: self._feed(connection, self.newest if through is None else through))

    def upgrades(self, worker_id=None):
        with self._changed:
            return [path for path, _ in self.requests if path.endswith("/ws") or "/ws?" in path
                    if worker_id is None or f"/workers/{worker_id}/" in path]

    def wait_for(self, condition, what="it"):
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), DEADLINE_S), \
                f"{what} did not come; requests: {[path for path, _ in self.requests]}"

    # The wire.

    async def _serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            path = lines[0].split(" ")[1]
            headers = {name.strip().lower(): value.strip() for name, _, value in
                       (line.partition(":") for line in lines[1:] if line)}
            with self._changed:
                self.requests.append((path, headers))
                self._changed.notify_all()
            if self.silent:
                await reader.read()
                return
            answer = self._judge(path, headers)
            if answer is not None:
                self._answer(writer, *answer)
                await writer.drain()
                return
            await self._stream(reader, writer, path, headers)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _judge(self, path, headers):
        if self.refuse is not None:
            return self.refuse
        if self.token and not self.unix_path and \
                headers.get("authorization") != f"Bearer {self.token}":
            return 401, {"Sightline-Code": "runtime.unauthorized"}
        parts = urllib.parse.urlsplit(path).path.split("/")
        workers = {record.worker_id for record in self.records}
        if parts == ["", "v1", "workers"]:
            query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(path).query))
            rest = [worker for worker in sorted(workers) if worker > query.get("after", "")]
            page = rest[:self.page or int(query["limit"])]
            answer = {"workers": [{"worker_id": worker, "newest": "wo_"} for worker in page]}
            if len(page) < len(rest):
                answer["next_after"] = page[-1]
            return 200, {}, json.dumps(answer)
        if len(parts) < 4 or parts[1:3] != ["v1", "workers"]:
            return 404, {}
        if urllib.parse.unquote(parts[3]) not in workers:
            return 404, {"Sightline-Code": "runtime.worker_not_found"}
        return None if parts[4:] == ["events", "ws"] else \
            (200, {}, f'{{"worker_id":"{parts[3]}"}}')

    @staticmethod
    def _answer(writer, status, headers, body=""):
        lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}",
                 "Connection: close"] + [f"{name}: {value}" for name, value in headers.items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    async def _stream(self, reader, writer, path, headers):
        accept = base64.b64encode(hashlib.sha1(
            (headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()
        ).digest()).decode()
        writer.write(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                      f"Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
                      "Sec-WebSocket-Protocol: sightline.v1.msgpack\r\n\r\n").encode())
        parts = urllib.parse.urlsplit(path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        connection = _Connection(writer, urllib.parse.unquote(parts.path.split("/")[3]), path)
        problem = self._place(connection, query)
        if problem is not None:
            self._send(connection, [{"kind": "diagnostic", "diagnostic": {
                "code": problem, "message": "no", "final": True}}])
            self._frame(connection, 0x8, struct.pack(">H", 4409))
            await reader.read(1024)
            return
        self._send(connection, [{"kind": "hello", "hello": {
            "heartbeat_s": 30, "oldest": self.cursor_at(self.oldest),
            "newest": self.cursor_at(self.newest - self.hello_behind)}}])
        self.connections.append(connection)
        connection.holds = self.holds_next
        self._feed(connection)
        with self._changed:
            self._changed.notify_all()
        try:
            await self._listen(reader, connection)
        finally:
            if connection in self.connections:
                self.connections.remove(connection)

    def _place(self, connection, query):
        """Where a stream begins; the code of a refusal, or None."""
        mine = [i for i, r in enumerate(self.records) if r.worker_id == connection.worker_id
                and r.sequence >= self.oldest]
        if "cursor" in query:
            text = query["cursor"]
            try:
                log, epoch, sequence = int(text[3:11], 16), int(text[11:15], 16), int(text[16:], 16)
            except ValueError:
                return "runtime.cursor_malformed"
            if log != self.log or sequence > self.newest or \
                    any(r.sequence == sequence and r.epoch != epoch for r in self.records):
                return "runtime.cursor_unknown"
            if any(sequence < r.sequence < self.oldest and r.worker_id == connection.worker_id
                   for r in self.records):
                return "runtime.cursor_expired"
            connection.position = sum(1 for r in self.records if r.sequence <= sequence)
        elif query.get("from") == "newest":
            connection.position = len(self.records)
        else:
            keyframes = [i for i in mine if self.records[i].keyframe]
            connection.position = keyframes[-1] if keyframes else (mine[0] if mine else 0)
        return None

    def _feed(self, connection, through=None):
        if through is None:
            if self.holds or connection.holds:
                return
            through = self.newest
        items, size = [], 0
        while connection.position < len(self.records):
            record = self.records[connection.position]
            if record.sequence > through:
                break
            connection.position += 1
            if record.worker_id != connection.worker_id or record.sequence < self.oldest:
                continue
            at = cursor(record.epoch, record.sequence, self.log)
            if record.damaged:
                items.append({"kind": "diagnostic", "diagnostic": {
                    "code": "runtime.corrupt", "message": "it says so", "final": False,
                    "from": at, "to": at}})
                continue
            if len(items) == BATCH_EVENTS or size + len(record.payload) > BATCH_BYTES:
                self._send(connection, items)
                items, size = [], 0
            items.append({"kind": "event", "envelope": {
                "cursor": at, "event_id": at, "worker_id": record.worker_id,
                "ts_ms": record.ts_ms, "payload": record.payload}})
            size += len(record.payload)
        if not connection.told_caught_up:
            connection.told_caught_up = True
            items.append({"kind": "caught_up", "cursor": self.cursor_at(through)})
        if items:
            self._send(connection, items)

    def _send(self, connection, items):
        self._frame(connection, 0x2, msgpack.packb(items, use_bin_type=True))

    def _frame(self, connection, opcode, data):
        if len(data) < 126:
            head = struct.pack(">BB", 0x80 | opcode, len(data))
        elif len(data) < 65536:
            head = struct.pack(">BBH", 0x80 | opcode, 126, len(data))
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 127, len(data))
        frame = head + data
        if self.before_send is not None:
            frame = self.before_send(frame)
        connection.writer.write(frame)

    async def _listen(self, reader, connection):
        """Answers pings; ends when the other side closes."""
        while True:
            first, second = await reader.readexactly(2)
            length = second & 0x7F
            if length == 126:
                length, = struct.unpack(">H", await reader.readexactly(2))
            elif length == 127:
                length, = struct.unpack(">Q", await reader.readexactly(8))
            mask = await reader.readexactly(4)
            data = bytes(b ^ mask[i % 4] for i, b in enumerate(await reader.readexactly(length)))
            if first & 0x0F == 0x9:
                self._frame(connection, 0xA, data)
            elif first & 0x0F == 0x8:
                self._frame(connection, 0x8, data)
                return


def wait_until(condition, what, deadline_s=DEADLINE_S, every_s=0.01):
    """Polls what has no event of its own (a metric, a file)."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {deadline_s} s"
        threading.Event().wait(every_s)
