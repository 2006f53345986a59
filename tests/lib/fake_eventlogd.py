"""eventlogd's tail socket for tests of wsgate: answers as docs/protocol.md says, or as a test says.

    with FakeEventlogd(path) as log:
        log.append("w-1", b'{"event":"snapshot"}')
        log.scripts.append(lambda connection: connection.send_bytes(b"garbage"))

A script takes the place of everything behind the next SUBSCRIBED; when it returns, the connection
is closed. log.stop() and log.start() are a restart, log.epoch += 1 an unclean one.
"""

import functools
import os
import socket
import struct
import threading
import time

from frames import (CAUGHT_UP, ERROR, HELLO, KEYFRAME, HAS_SOURCE_TIME, RECORD_HEADER, RECORDS,
                    STATUS, STATUS_REPLY, SUBSCRIBE, SUBSCRIBED, WELCOME, WORKERS, WORKERS_REPLY,
                    Closed, Connection, crc32c)

LOG_ID = "5eed0001" + "0" * 24


_body_check = functools.lru_cache(maxsize=8)(crc32c)


def cursor(epoch, sequence, log_id=LOG_ID):
    return f"wo_{log_id[:8]}{epoch:04x}_{sequence:016x}"


def make_record(sequence, worker, payload, epoch=1, flags=0, time_ns=1_700_000_000_123_456_789,
                source_time_ns=None):
    """The bytes of one record, by proto/record.h's diagram."""
    body = b""
    if source_time_ns is not None:
        flags |= HAS_SOURCE_TIME
        body += struct.pack("<q", source_time_ns)
    body += worker.encode() + b"\0" + payload
    length = RECORD_HEADER.size + len(body)
    body += b"\0" * (-length % 8)
    head = bytearray(RECORD_HEADER.pack(length, 0, _body_check(body), 0, 0, 0, sequence, time_ns,
                                        os.getuid(), epoch, flags, len(worker)))
    struct.pack_into("<I", head, 4, crc32c(head[0:4] + head[8:48]))
    return bytes(head) + body


class _Peer(Connection):
    """An accepted connection; the calls of frames.Connection from the other side."""

    def __init__(self, accepted):  # pylint: disable=super-init-not-called
        self.socket, self._in = accepted, bytearray()
        self.subscription = None  # (request id, workers, from, follow)
        self.script = None


class FakeEventlogd:
    def __init__(self, path, max_records=64):
        self.path, self.epoch, self.max_records = str(path), 1, max_records
        self.records = []   # (sequence, worker, bytes, is keyframe)
        self.scripts = []   # for the next subscriptions, in order
        self.refusals = []  # (code, details) for the next subscriptions, in order
        self.subscriptions = []  # every SUBSCRIBE, as a list
        self.before_subscribe = None  # called when the next one has come; it stands still meanwhile
        self.silent = False
        self._peers, self._threads = [], []
        self._changed = threading.Condition()
        self._listener = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.path.exists(self.path):
            os.unlink(self.path)
        self._listener.bind(self.path)
        self._listener.listen(64)
        self._run(self._accept, self._listener)
        return self

    def stop(self):
        """Ends the process, as far as anybody can see."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        with self._changed:
            peers, self._peers = self._peers, []
            self._changed.notify_all()
        for peer in peers:
            try:
                peer.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join(10)
        self._threads = []

    def append(self, worker, payload, keyframe=False, source_time_ns=None):
        with self._changed:
            sequence = self.newest + 1
            raw = make_record(sequence, worker, payload, self.epoch,
                              KEYFRAME if keyframe else 0, source_time_ns=source_time_ns)
            self.records.append((sequence, worker, raw, keyframe))
            self._changed.notify_all()
        return sequence

    @property
    def newest(self):
        return self.records[-1][0] if self.records else 0

    def wait_subscriptions(self, count, deadline_s=20):
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.subscriptions) >= count, deadline_s)
        assert came, f"{len(self.subscriptions)} of {count} subscriptions"

    # What a reader sees.

    def _run(self, target, *arguments):
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener):
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            peer = _Peer(accepted)
            with self._changed:
                if self._listener is not listener:
                    accepted.close()
                    return
                self._peers.append(peer)
            self._run(self._serve, peer)

    def _serve(self, peer):
        try:
            while True:
                self._answer(peer, peer.receive())
                if peer.subscription is not None:
                    self._run(self._stream, peer, peer.script)
                    while True:  # STATUS of a subscriber
                        self._answer(peer, peer.receive())
        except (Closed, OSError):
            peer.close()

    def _answer(self, peer, message):
        if self.silent:
            return
        kind = message[0]
        if kind == HELLO:
            peer.send(WELCOME, 1, {"log_id": LOG_ID, "epoch": self.epoch,
                                   "durability": "interval", "limits": {}})
        elif kind == STATUS:
            peer.send(STATUS_REPLY, message[1], self._status(peer))
        elif kind == WORKERS:
            peer.send(WORKERS_REPLY, message[1], self._workers(message[2], message[3]))
        elif kind == SUBSCRIBE:
            self._subscribe(peer, message)

    def _epochs(self):
        starts = {}
        for sequence, _, raw, _ in self.records:
            starts.setdefault(RECORD_HEADER.unpack_from(raw)[9], sequence)
        return [[epoch, first] for epoch, first in sorted(starts.items(), reverse=True)]

    def _status(self, peer):
        epoch_of = {s: RECORD_HEADER.unpack_from(raw)[9] for s, _, raw, _ in self.records}
        status = {"log_id": LOG_ID, "epoch": self.epoch, "durability": "interval",
                  "read_only": False, "no_space": False, "oldest_seq": 1,
                  "newest_seq": self.newest, "durable_seq": self.newest, "segments": 1,
                  "allocated_bytes": 1 << 20, "workers": 1,
                  "oldest_cursor": cursor(1, 0),
                  "newest_cursor": cursor(epoch_of.get(self.newest, 1), self.newest),
                  "epochs": self._epochs()}
        if peer.subscription is not None:
            status["position_cursor"] = status["newest_cursor"]
        return status

    def _workers(self, after, limit):
        after = after if isinstance(after, (bytes, type(None))) else after.encode()
        names = sorted({w for _, w, _, _ in self.records if after is None or w.encode() > after})
        rows = []
        for name in names[:limit]:
            own = [r for r in self.records if r[1] == name]
            rows.append({"worker_id": name, "newest_seq": own[-1][0], "records": len(own),
                         "newest_keyframe": max((r[0] for r in own if r[3]), default=0),
                         "newest_cursor": cursor(1, own[-1][0]), "owner_uid": os.getuid(),
                         "highest_pruned": 0, "bytes": sum(len(r[2]) for r in own)})
        return {"workers": rows, "more": len(names) > limit}

    def _subscribe(self, peer, message):
        _, request_id, workers, start, follow = message
        before, self.before_subscribe = self.before_subscribe, None
        if before is not None:
            before()
        if self.refusals:
            code, details = self.refusals.pop(0)
            peer.send(ERROR, request_id, code, "refused by the test", details)
        elif workers is not None and not any(r[1] == workers[0] for r in self.records):
            peer.send(ERROR, request_id, "worker_not_found", "no such worker", None)
        else:
            first = self._first(workers, start)
            # Before the reader hears of it: what it does next may be another subscription.
            peer.script = self.scripts.pop(0) if self.scripts else None
            peer.send(SUBSCRIBED, request_id, first, 1, self.newest)
            peer.subscription = (request_id, workers, first, follow)
        with self._changed:
            self.subscriptions.append(message)
            self._changed.notify_all()

    def _first(self, workers, start):
        if start[0] == "cursor":
            return int(start[1][-16:], 16) + 1
        if start[0] == "newest":
            return self.newest + 1
        keyframes = [r[0] for r in self.records if r[3] and r[1] in (workers or ())]
        return keyframes[-1] if start[0] == "keyframe" and keyframes else 1

    def _stream(self, peer, script):
        try:
            if script is None:
                self._stream_records(peer)
            else:
                script(peer)
                peer.socket.shutdown(socket.SHUT_RDWR)
        except (Closed, OSError):
            pass

    def _stream_records(self, peer):
        _, workers, position, _ = peer.subscription
        told_caught_up = False
        while True:
            with self._changed:
                if peer not in self._peers:
                    return
                todo = [r for r in self.records if r[0] >= position][:self.max_records]
                if not todo and told_caught_up:
                    self._changed.wait(1)
                    continue
            raw = b"".join(r[2] for r in todo if workers is None or r[1] in workers)
            if raw:
                peer.send(RECORDS, raw)
            if todo:
                position = todo[-1][0] + 1
            else:
                told_caught_up = True
                peer.send(CAUGHT_UP, position - 1)


def wait_until(condition, what, deadline_s=20):
    """For what can only be looked at; everything else waits for an event."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.01)
