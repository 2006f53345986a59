"""A runtime that does what no runtime should, byte by byte, on loopback.

    with RogueRuntime(answers(302, Location="http://elsewhere/")) as rogue:
        …                          # registry: {"runtime_id": "rogue", "url": rogue.url, …}
        rogue.requests             # the heads of what was asked, as bytes

A behaviour is a function of one connection, called after a request's head was read, in a thread of
its own. When it returns, the connection is closed.
"""

import base64
import hashlib
import re
import socket
import threading

import msgpack

from raw_ws import BINARY, CLOSE, frame

DEADLINE_S = 30
SUBPROTOCOL = "sightline.v1.msgpack"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class RogueRuntime:
    def __init__(self, behaviour=None):
        self.behaviour = behaviour or refuses_nothing
        self.requests = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @property
    def address(self):
        return "{}:{}".format(*self._listener.getsockname())

    @property
    def url(self):
        return "ws://" + self.address

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            with connection:
                connection.settimeout(DEADLINE_S)
                head = b""
                while b"\r\n\r\n" not in head:
                    data = connection.recv(4096)
                    if not data:
                        return
                    head += data
                self.requests.append(head)
                self.behaviour(connection, head)
        except OSError:
            pass
        finally:
            self._open.discard(connection)


def hold(connection):
    """Reads until the other side has had enough."""
    while connection.recv(4096):
        pass


def refuses_nothing(connection, _):
    hold(connection)


def says(data, then=hold):
    """These bytes in place of an answer."""
    def behave(connection, _):
        connection.sendall(data)
        if then:
            then(connection)
    return behave


def answers(status, body=b"", **headers):
    """An HTTP answer; underscores in the names of headers stand for hyphens."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return says(("\r\n".join(lines) + "\r\n\r\n").encode() + body, then=None)


def upgrade(head, subprotocol=SUBPROTOCOL, accept=None):
    """A proper 101 to this request, but for what is asked otherwise."""
    key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)
    if accept is None and key:
        accept = base64.b64encode(hashlib.sha1(key[1] + GUID).digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
             f"Sec-WebSocket-Accept: {accept}"]
    if subprotocol:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def streams(*chunks, then=hold, **options):
    """A WebSocket that sends these bytes after a proper answer."""
    def behave(connection, head):
        connection.sendall(upgrade(head, **options) + b"".join(chunks))
        if then:
            then(connection)
    return behave


def batch(*items):
    """One binary message of sightline.v1.msgpack."""
    return frame(msgpack.packb(list(items), use_bin_type=True), BINARY, mask=None)


def cursor(sequence, log=0x0BADC0DE, epoch=1):
    return f"wo_{log:08x}{epoch:04x}_{sequence:016x}"


def event(sequence, worker_id="w", payload=b'{"event":"status","data":{}}', **members):
    return {"kind": "event", "envelope": {
        "cursor": cursor(sequence), "event_id": cursor(sequence), "worker_id": worker_id,
        "ts_ms": 1, "payload": payload, **members}}


def diagnostic(code, final=False, **details):
    return {"kind": "diagnostic",
            "diagnostic": {"code": code, "message": "no", "final": final, **details}}


def hello():
    return {"kind": "hello", "hello": {"heartbeat_s": 30}}


def caught_up(sequence):
    return {"kind": "caught_up", "cursor": cursor(sequence)}


def close(code, reason=b""):
    return frame(code.to_bytes(2, "big") + reason, CLOSE, mask=None)
