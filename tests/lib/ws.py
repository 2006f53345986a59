"""A WebSocket client that shares no code with ours: Debian's python3-websockets, made synchronous.

    with Client(url, token=…, subprotocols=["sightline.v1"]) as client:
        first = client.frame()                 # the next frame, parsed
        events = client.events(10)             # that many events, whatever else comes between
        history = client.until_caught_up()     # events up to the seam
        code, reason = client.closed()         # waits for the other side to close

Every wait has a deadline and fails with what had come so far. All that was received is kept
(`client.frames`, `client.raw`), so that a test can search it. Works with versions 10 to 15.
"""

import asyncio
import base64
import inspect
import json
import threading
import time

import websockets

DEADLINE_S = 30
MAX_FRAME_BYTES = 64 << 20
_HEADERS = ("additional_headers"
            if "additional_headers" in inspect.signature(websockets.connect).parameters
            else "extra_headers")


class Refused(Exception):
    """The upgrade was answered with another status. `code` is the header Sightline-Code."""

    def __init__(self, status, headers):
        super().__init__(f"HTTP {status}, Sightline-Code: {headers.get('Sightline-Code')}")
        self.status, self.headers, self.code = status, headers, headers.get("Sightline-Code")


async def connect(url, token=None, subprotocols=(), headers=None, unix_path=None,
                  bearer_subprotocol=None, **options):
    """A connection of the library, or Refused."""
    url = "ws" + url[4:] if url.startswith("http") else url
    headers = dict(headers or {})
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if bearer_subprotocol is not None:
        encoded = base64.urlsafe_b64encode(bearer_subprotocol.encode()).decode().rstrip("=")
        subprotocols = [*subprotocols, "bearer." + encoded]
    options = {_HEADERS: headers, "max_size": MAX_FRAME_BYTES, "ping_interval": None,
               "compression": None, **options}
    if subprotocols:
        options["subprotocols"] = list(subprotocols)
    try:
        if unix_path is not None:
            return await websockets.unix_connect(str(unix_path), url, **options)
        return await websockets.connect(url, **options)
    except websockets.exceptions.InvalidHandshake as error:
        response = getattr(error, "response", None)
        status = getattr(error, "status_code", getattr(response, "status_code", None))
        headers = getattr(error, "headers", getattr(response, "headers", None))
        if status is None:
            raise
        raise Refused(status, headers) from None


class Event:
    """One event with the exact text of its payload."""

    def __init__(self, envelope, payload_text):
        self.envelope = envelope
        self.event_id, self.cursor = envelope["event_id"], envelope["cursor"]
        self.worker_id = envelope["worker_id"]
        self.payload = envelope["payload"]
        self.payload_bytes = payload_text.encode()

    def __repr__(self):
        return f"Event({self.event_id}, {self.payload_bytes[:60]!r})"


class _Loop:
    """One background loop for all clients of this process."""

    _lock = threading.Lock()
    _loop = None

    @classmethod
    def get(cls):
        with cls._lock:
            if cls._loop is None:
                cls._loop = asyncio.new_event_loop()
                threading.Thread(target=cls._loop.run_forever, daemon=True).start()
            return cls._loop


class Client:
    """Connects at once; raises Refused, OSError or a websockets exception otherwise.

    `reads=False` leaves everything in the sockets' buffers until resume() is called.
    `unix_path` connects to that socket; the URL's host is then only a name. `tls`: an ssl context.
    """

    def __init__(self, url, token=None, subprotocols=(), headers=None, unix_path=None,
                 reads=True, bearer_subprotocol=None, origin=None, deadline_s=DEADLINE_S,
                 tls=None):
        self.frames, self.raw = [], []  # parsed (text) or bytes (binary); as received
        self.deadline_s = deadline_s
        self.close_code = self.close_reason = None
        self._taken = 0
        self._closed = False
        self._changed = threading.Condition()
        self._loop = _Loop.get()
        self._may_read = asyncio.Event()
        if reads:
            self._may_read.set()
        options = {"close_timeout": 2, "origin": origin}
        if tls is not None:
            options["ssl"] = tls
        self._call(self._connect(connect(url, token, subprotocols, headers, unix_path,
                                         bearer_subprotocol, **options)))

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(self.deadline_s)

    async def _connect(self, connecting):
        self._connection = await connecting
        self._task = self._loop.create_task(self._read())

    async def _read(self):
        try:
            await self._may_read.wait()
            async for message in self._connection:
                with self._changed:
                    self.raw.append(message)
                    self.frames.append(json.loads(message) if isinstance(message, str)
                                       else message)
                    self._changed.notify_all()
                await self._may_read.wait()
        except websockets.exceptions.ConnectionClosed:
            pass
        finally:
            with self._changed:
                self.close_code = self._connection.close_code
                self.close_reason = self._connection.close_reason
                self._closed = True
                self._changed.notify_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def subprotocol(self):
        return self._connection.subprotocol

    # Reading.

    def frame(self, deadline_s=None):
        """The next frame that was not taken yet, or None when the session has ended."""
        with self._changed:
            came = self._changed.wait_for(
                lambda: len(self.frames) > self._taken or self._closed,
                deadline_s or self.deadline_s)
            assert came, f"no frame within the deadline, after {self.summary()}"
            if len(self.frames) == self._taken:
                return None
            self._taken += 1
            return self.frames[self._taken - 1]

    def until(self, condition, deadline_s=None):
        """Takes frames up to and including the first for which condition(frame) holds."""
        end = time.monotonic() + (deadline_s or self.deadline_s)
        taken = []
        while True:
            left = end - time.monotonic()
            assert left > 0, f"not within the deadline: {self.summary()}"
            frame = self.frame(left)
            assert frame is not None, \
                f"closed ({self.close_code} {self.close_reason}) after {self.summary()}"
            taken.append(frame)
            if condition(frame):
                return taken

    def events(self, count, deadline_s=None):
        """The next `count` events; other frames that come between are passed over."""
        end = time.monotonic() + (deadline_s or self.deadline_s)
        events = []
        while len(events) < count:
            index = self._taken
            left = end - time.monotonic()
            frame = self.frame(left) if left > 0 else None
            assert frame is not None, \
                f"{len(events)} of {count} events; close {self.close_code}; {self.summary()}"
            if frame["kind"] == "event":
                events.append(self._event(index))
        return events

    def last_event(self):
        """The frame that frame() returned last, as an Event."""
        return self._event(self._taken - 1)

    def until_caught_up(self, deadline_s=None):
        """The events before the seam, in order."""
        first = self._taken
        self.until(lambda frame: frame["kind"] == "caught_up", deadline_s)
        return [self._event(i) for i in range(first, self._taken)
                if self.frames[i]["kind"] == "event"]

    def all_events(self):
        """Every event received so far, taken or not."""
        with self._changed:
            return [self._event(i) for i, frame in enumerate(self.frames)
                    if isinstance(frame, dict) and frame["kind"] == "event"]

    def diagnostic(self, code=None, deadline_s=None):
        """Takes frames up to the next diagnostic (of that code) and returns it."""
        def wanted(frame):
            return frame["kind"] == "diagnostic" and \
                code in (None, frame["diagnostic"]["code"])
        return self.until(wanted, deadline_s)[-1]["diagnostic"]

    def closed(self, deadline_s=None):
        """(close code, reason) once the session has ended."""
        with self._changed:
            ended = self._changed.wait_for(lambda: self._closed, deadline_s or self.deadline_s)
        assert ended, f"still open after {self.summary()}"
        return self.close_code, self.close_reason

    def _event(self, index):
        return Event(self.frames[index]["envelope"],
                     member_text(self.raw[index], "envelope", "payload"))

    def summary(self):
        kinds = [f["kind"] if isinstance(f, dict) else "binary" for f in self.frames]
        others = [f for f in self.frames if isinstance(f, dict) and f["kind"] == "diagnostic"]
        return f"{len(kinds)} frames ({kinds.count('event')} events), diagnostics {others}"

    # Acting.

    def resume(self):
        self._loop.call_soon_threadsafe(self._may_read.set)

    def pause(self):
        """Stops reading after the frame that is being read."""
        self._loop.call_soon_threadsafe(self._may_read.clear)

    def send(self, message):
        self._call(self._connection.send(message))

    def close(self, code=1000):
        self._loop.call_soon_threadsafe(self._may_read.set)
        try:
            self._call(self._connection.close(code))
        except (asyncio.TimeoutError, TimeoutError):
            pass

    def abort(self):
        """Cuts the connection without a closing handshake, as a lost network does."""
        def cut():
            self._connection.transport.abort()
        self._loop.call_soon_threadsafe(cut)
        self.closed()


_decoder = json.JSONDecoder()


def member_text(text, *path):
    """The exact text of a member of a JSON object, found by its path."""
    for key in path:
        text = _members(text)[key]
    return text


def _skip(text, at, characters):
    while text[at] in characters:
        at += 1
    return at


def _members(text):
    members = {}
    at = _skip(text, _skip(text, 0, " \t\r\n") + 1, " \t\r\n")
    while text[at] != "}":
        name, at = _decoder.raw_decode(text, at)
        at = _skip(text, at, " \t\r\n:")
        _, end = _decoder.raw_decode(text, at)
        members[name] = text[at:end]
        at = _skip(text, end, " \t\r\n,")
    return members
