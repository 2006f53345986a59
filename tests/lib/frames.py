"""eventlogd's two sockets from the other side: a second implementation of the frames.

Blocking sockets with a deadline on every call. Records are taken apart by proto/record.h's diagram,
and their checks computed here.
"""

import collections
import socket
import struct

import msgpack

DEADLINE_S = 20

HELLO, WELCOME, PUBLISH, ACK, NACK, POSITION, POSITION_REPLY, ERROR = 1, 2, 3, 4, 5, 6, 7, 15
SUBSCRIBE, SUBSCRIBED, RECORDS, CAUGHT_UP = 16, 17, 18, 19
STATUS, STATUS_REPLY, WORKERS, WORKERS_REPLY, GAP = 20, 21, 22, 23, 24

KEYFRAME, HAS_SOURCE_TIME, HAS_PRODUCER = 1, 2, 4
RECORD_HEADER = struct.Struct("<IIIIIIQQIHBB")

Record = collections.namedtuple(
    "Record", "sequence time_ns source_time_ns owner epoch flags worker kind payload")


class Closed(Exception):
    """The other side ended the connection."""


class Overrun(Exception):
    """What comes next was pruned before it was read."""


def frame(*message):
    body = msgpack.packb(list(message), use_bin_type=True)
    return struct.pack("<I", len(body)) + body


def _crc32c_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc32c_table()


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 255] ^ value >> 8
    return value ^ 0xFFFFFFFF


def parse_records(raw, verify=False):
    """The records that stand back to back in a RECORDS frame."""
    at = 0
    while at < len(raw):
        (length, header_check, body_check, _, _, _, sequence, time_ns, owner, epoch, flags,
         worker_len) = RECORD_HEADER.unpack_from(raw, at)
        end = at + (length + 7) // 8 * 8
        assert length >= RECORD_HEADER.size and end <= len(raw), "a record is cut off"
        if verify:
            assert crc32c(raw[at:at + 4] + raw[at + 8:at + 48]) == header_check
            assert crc32c(raw[at + 48:end]) == body_check
        body = at + RECORD_HEADER.size
        source_time = None
        if flags & HAS_SOURCE_TIME:
            source_time, = struct.unpack_from("<q", raw, body)
            body += 8
        if flags & HAS_PRODUCER:
            body += 16
        worker = bytes(raw[body:body + worker_len]).decode()
        body += worker_len
        kind = bytes(raw[body + 1:body + 1 + raw[body]]).decode()
        body += 1 + raw[body]
        yield Record(sequence, time_ns, source_time, owner, epoch, flags, worker, kind,
                     bytes(raw[body:at + length]))
        at = end


class Connection:
    """One connection; HELLO is sent and WELCOME taken unless `hello` is False."""

    def __init__(self, path, name="tests", hello=True):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))  # blocking: with a deadline, a full backlog is EAGAIN
        self.socket.settimeout(DEADLINE_S)
        self._in = bytearray()
        self.welcome = None
        self.request_id = 0
        if hello:
            self.send(HELLO, 1, name)
            kind, version, self.welcome = self.receive()
            assert (kind, version) == (WELCOME, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, *message):
        self.send_bytes(frame(*message))

    def send_bytes(self, data):
        self.socket.sendall(data)

    def _fill(self, count):
        while len(self._in) < count:
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionResetError as error:
                raise Closed() from error
            if not data:
                raise Closed()
            self._in += data

    def receive(self):
        """The next message as a list; Closed at the end of the connection."""
        self._fill(4)
        length, = struct.unpack_from("<I", self._in)
        self._fill(4 + length)
        body = bytes(self._in[4:4 + length])
        del self._in[:4 + length]
        return msgpack.unpackb(body, raw=False, strict_map_key=False)

    def expect_error(self, code):
        """The next message is ERROR with this code; returns (message, details)."""
        message = self.receive()
        assert message[0] == ERROR and message[2] == code, message
        return message[3], message[4]

    def expect_closed(self):
        try:
            message = self.receive()
        except (Closed, BrokenPipeError):
            return
        raise AssertionError(f"still open: {message!r:.200}")

    def next_request_id(self):
        self.request_id += 1
        return self.request_id


class Publisher(Connection):
    def send_publish(self, worker, payloads, producer_seq=None, ts_ns=None):
        request_id = self.next_request_id()
        self.send(PUBLISH, request_id, worker, producer_seq,
                  [[ts_ns, payload] for payload in payloads])
        return request_id

    def publish(self, worker, payloads, producer_seq=None, ts_ns=None):
        """The reply: ACK or NACK as a list."""
        request_id = self.send_publish(worker, payloads, producer_seq, ts_ns)
        reply = self.receive()
        assert reply[0] in (ACK, NACK) and reply[1] == request_id, reply
        return reply

    def acked(self, worker, payloads, producer_seq=None, ts_ns=None):
        """(first sequence, last sequence) of what was stored."""
        reply = self.publish(worker, payloads, producer_seq, ts_ns)
        assert reply[0] == ACK, reply
        return reply[2], reply[3]

    def nacked(self, worker, payloads, producer_seq=None):
        """(code, index)"""
        reply = self.publish(worker, payloads, producer_seq)
        assert reply[0] == NACK, reply
        return reply[2], reply[4]

    def position(self, worker):
        request_id = self.next_request_id()
        self.send(POSITION, request_id, worker)
        reply = self.receive()
        assert reply[:2] == [POSITION_REPLY, request_id], reply
        return reply[2]


class Reader(Connection):
    def subscribe(self, start, workers=None, follow=True):
        """SUBSCRIBED's fields (start, oldest, newest), or the ERROR as a list."""
        request_id = self.next_request_id()
        self.send(SUBSCRIBE, request_id, workers, start, follow)
        reply = self.receive()
        assert reply[1] == request_id, reply
        return reply if reply[0] == ERROR else tuple(reply[2:])

    def until_caught_up(self, verify=False):
        """Everything up to CAUGHT_UP: records and ["gap", first, last, reason]."""
        got = []
        while True:
            message = self.receive()
            if message[0] == CAUGHT_UP:
                return got
            got += self._take(message, verify)

    def records(self, count):
        """The next `count` records; all of a frame, so that it may be more."""
        got = []
        while len(got) < count:
            got += self._take(self.receive(), False)
        return got

    @staticmethod
    def _take(message, verify):
        if message[0] == RECORDS:
            return list(parse_records(message[1], verify))
        if message[0] == ERROR and message[2] == "overrun":
            raise Overrun(message)
        assert message[0] == GAP, message
        return [["gap"] + message[1:]]

    def status(self):
        request_id = self.next_request_id()
        self.send(STATUS, request_id)
        reply = self.receive()
        assert reply[:2] == [STATUS_REPLY, request_id], reply
        return reply[2]

    def workers(self, after=None, limit=None):
        request_id = self.next_request_id()
        self.send(WORKERS, request_id, after, limit)
        reply = self.receive()
        assert reply[:2] == [WORKERS_REPLY, request_id], reply
        return reply[2]

    def cursor(self, record):
        return f"wo_{self.welcome['log_id'][:8]}{record.epoch:04x}_{record.sequence:016x}"
