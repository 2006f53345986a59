"""A projection for tests of backend-relay: wire.md's section 4, and misbehaviour on order.

    with FakeProjection(path) as projection:
        projection.judge = lambda role, event: ("rewrite", b'{}')
        projection.die_on = b"poison"      # the connection ends when such a payload comes
        projection.kill()                  # now, whatever is under way

By default `operator` sees everything; `viewer` is denied kinds that begin with thinking_, and gets
tool results without their output; anybody else may observe nothing. Workers whose id contains
"private" are the operator's only.
"""

import json
import os
import socket
import struct
import threading

import msgpack

HELLO, WELCOME, ERROR = 1, 2, 15
OPEN_PASS, PASS, PROJECT, PROJECTED, AUTHORIZE, VERDICT, CLOSE_PASS = 32, 33, 34, 35, 36, 37, 38
DEADLINE_S = 20


def default_judge(role, payload):
    if role == "operator":
        return "pass", None
    try:
        event = json.loads(payload)
    except ValueError:
        return "refused", None
    if event.get("event", "").startswith("thinking_"):
        return "deny", None
    if event.get("event") == "tool_result":
        event["data"]["output"] = "[redacted]"
        return "rewrite", json.dumps(event, separators=(",", ":")).encode()
    return "pass", None


class FakeProjection:
    def __init__(self, path):
        self.path = str(path)
        self.judge = default_judge
        self.revision = "revision-1"
        self.die_on = None         # bytes: the connection ends before such a payload is answered
        self.holds = threading.Event()  # set: answers PROJECT
        self.holds.set()
        self.tamper = None         # callable(message) -> list of messages sent instead
        self.open_since = None     # callable(pass, ticket, payload) -> ticket or None
        self.connections = 0
        self.deaths = 0
        self.payloads = []         # every payload that was not warm, as it came
        self.warm = []
        self.opened = []           # (role, runtime_id, worker_id)
        self.authorized = []
        self._changed = threading.Condition()
        self._sockets = set()
        self._listener = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.holds.set()
        self.stop()

    def start(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(8)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def stop(self):
        """Gone: no socket, no connection. start() brings it back."""
        with self._changed:
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            os.unlink(self.path)
        self.kill()

    def kill(self):
        with self._changed:
            sockets, self._sockets = self._sockets, set()
        for connection in sockets:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def wait_for(self, condition, what="it"):
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), DEADLINE_S), f"no {what}"

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._changed:
                if self._listener is not listener:  # stop() came between
                    connection.close()
                    return
                self._sockets.add(connection)
                self.connections += 1
                self._changed.notify_all()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        passes = {}
        try:
            with connection, connection.makefile("rb") as stream:
                while True:
                    head = stream.read(4)
                    if len(head) < 4:
                        return
                    message = msgpack.unpackb(stream.read(struct.unpack("<I", head)[0]), raw=False,
                                              strict_map_key=False)
                    answer = self._answer(passes, message)
                    if answer is None:
                        continue
                    answers = [answer] if self.tamper is None else self.tamper(answer)
                    for one in answers:
                        body = one if isinstance(one, bytes) else \
                            msgpack.packb(one, use_bin_type=True)
                        connection.sendall(struct.pack("<I", len(body)) + body)
        except (OSError, ValueError, _Death):
            pass
        finally:
            with self._changed:
                self._sockets.discard(connection)
                self.deaths += 1
                self._changed.notify_all()

    def may_observe(self, role, worker_id):
        return role == "operator" or (role == "viewer" and "private" not in (worker_id or ""))

    def _answer(self, passes, message):
        kind = message[0]
        if kind == HELLO:
            return [WELCOME, 1, {}]
        if kind == OPEN_PASS:
            _, pass_id, role, runtime_id, worker_id = message
            allowed = self.may_observe(role, worker_id)
            if allowed:
                passes[pass_id] = role
            with self._changed:
                self.opened.append((role, runtime_id, worker_id))
                self._changed.notify_all()
            return [PASS, pass_id, "allow" if allowed else "deny", self.revision]
        if kind == AUTHORIZE:
            _, request_id, role, runtime_id, worker_id, operation = message
            with self._changed:
                self.authorized.append((role, runtime_id, worker_id, operation))
            allowed = operation == "observe" and self.may_observe(role, worker_id)
            return [VERDICT, request_id, "allow" if allowed else "deny"]
        if kind == CLOSE_PASS:
            del passes[message[1]]
            return None
        assert kind == PROJECT, message
        return self._project(passes, message[1], message[2])

    def _project(self, passes, pass_id, rows):
        self.holds.wait(DEADLINE_S)
        verdicts = []
        for ticket, warm, payload in rows:
            if self.die_on is not None and self.die_on in payload:
                raise _Death()
            with self._changed:
                (self.warm if warm else self.payloads).append(payload)
                self._changed.notify_all()
            verdict, projected = \
                self.judge(passes[pass_id], payload) if payload else ("refused", None)
            since = self.open_since(pass_id, ticket, payload) if self.open_since else None
            verdicts.append([ticket, verdict, None if warm else projected, since])
        return [PROJECTED, pass_id, verdicts]


class _Death(Exception):
    pass
