"""A WebSocket client of plain bytes, for what a library refuses to send.

    with RawClient(url, token=…) as raw:
        raw.send(frame(b"x", opcode=1, mask=None))   # unmasked: a violation
        opcode, data = raw.receive()
        raw.until_closed()                           # all frames up to the end of the connection
"""

import base64
import os
import socket
import struct
import urllib.parse

DEADLINE_S = 20
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(data=b"", opcode=TEXT, fin=True, rsv=0, mask=b"\x01\x02\x03\x04", length=None):
    """One frame; `length` lies about its length, `mask` None leaves it unmasked."""
    announced = len(data) if length is None else length
    flag = 0x80 if mask is not None else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if announced < 126:
        head += bytes([flag | announced])
    elif announced < 1 << 16:
        head += struct.pack(">BH", flag | 126, announced)
    else:
        head += struct.pack(">BQ", flag | 127, announced)
    if mask is None:
        return head + data
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


class RawClient:
    """Connects and upgrades; `head` is the server's answer. `behind` goes out in one piece with the
    request; `request` replaces it, and nothing of the answer is read."""

    def __init__(self, url, token=None, subprotocol=None, behind=b"", request=None):
        parts = urllib.parse.urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), DEADLINE_S)
        self._in = bytearray()
        target = parts.path + ("?" + parts.query if parts.query else "")
        lines = [f"GET {target} HTTP/1.1", f"Host: {parts.netloc}", "Upgrade: websocket",
                 "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                 "Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)).decode()]
        if token:
            lines.append(f"Authorization: Bearer {token}")
        if subprotocol:
            lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
        self.send(request or ("\r\n".join(lines) + "\r\n\r\n").encode() + behind)
        self.head = self._until(b"\r\n\r\n") if request is None else b""
        assert request or self.head.startswith(b"HTTP/1.1 101"), self.head

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def send(self, data):
        self._socket.sendall(data)

    def end(self):
        """Sends nothing more."""
        self._socket.shutdown(socket.SHUT_WR)

    def _fill(self):
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        self._in += data
        return bool(data)

    def _until(self, mark):
        while mark not in self._in:
            assert self._fill(), f"closed after {bytes(self._in)!r}"
        at = self._in.index(mark) + len(mark)
        taken = bytes(self._in[:at])
        del self._in[:at]
        return taken

    def _take(self, count):
        while len(self._in) < count:
            if not self._fill():
                return None
        taken = bytes(self._in[:count])
        del self._in[:count]
        return taken

    def receive(self):
        """(opcode, data) of the next frame, which must be whole and unmasked; None at the end."""
        head = self._take(2)
        if head is None:
            return None
        assert head[0] & 0xF0 == 0x80 and not head[1] & 0x80, head
        length = head[1]
        if length == 126:
            length, = struct.unpack(">H", self._take(2))
        elif length == 127:
            length, = struct.unpack(">Q", self._take(8))
        return head[0] & 0x0F, self._take(length)

    def rest(self):
        """Every byte up to the end of the connection."""
        while self._fill():
            pass
        return bytes(self._in)

    def until_closed(self):
        """The frames up to the end of the connection; a close frame among them is answered."""
        frames = []
        while True:
            received = self.receive()
            if received is None:
                return frames
            frames.append(received)
            if received[0] == CLOSE:
                try:
                    self.send(frame(received[1][:2], CLOSE))
                except OSError:
                    pass  # it did not wait for that
