"""One viewer of one worker: a WebSocket client that comes back with its cursor.

It gives each event with the payload's text exactly as it came, because a parsed and printed JSON
object may differ from what was published.
"""

import asyncio
import dataclasses
import inspect
import json

import websockets

RETRY_S = 0.2
MAX_FRAME_BYTES = 64 << 20
# websockets renamed the argument between the versions of Debian 12 and 13.
_HEADERS = ("additional_headers"
            if "additional_headers" in inspect.signature(websockets.connect).parameters
            else "extra_headers")
_decoder = json.JSONDecoder()


def member_text(text, *path):
    """The exact text of a member of a JSON object, found by its path; None if it isn't there."""
    for key in path:
        text = _members(text).get(key)
        if text is None:
            return None
    return text


def _skip(text, at, characters=" \t\r\n"):
    while at < len(text) and text[at] in characters:
        at += 1
    return at


def _members(text):
    """name -> exact text of the value, for the members of one object."""
    members = {}
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        return members
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        name, at = _decoder.raw_decode(text, at)
        at = _skip(text, at, " \t\r\n:")
        _, end = _decoder.raw_decode(text, at)
        members[name] = text[at:end]
        at = _skip(text, end, " \t\r\n,")
    return members


@dataclasses.dataclass
class Event:
    event_id: str
    cursor: str
    payload: str  # as it came

    @property
    def kind(self):
        value = json.loads(self.payload)
        return next((value[k] for k in ("event", "type") if isinstance(value.get(k), str)), "")


class Observer:
    """Collects the events of one worker as one role sees them, for as long as it runs."""

    def __init__(self, client_url, runtime_id, worker_id, token, on_event=None, on_diagnostic=None):
        self._url = (client_url.replace("http", "ws", 1)
                     + f"/api/runtimes/{runtime_id}/workers/{worker_id}/events/ws")
        self._token = token
        self._on_event = on_event or (lambda event: None)
        self._on_diagnostic = on_diagnostic or (lambda code, message: None)
        self.events = []
        self.cursor = ""
        self.caught_up_cursor = None  # of the newest connection, once it is at the seam
        self.failure = ""
        self.changed = asyncio.Event()
        self._task = None

    def start(self):
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self):
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def wait(self, condition, deadline_s):
        """Until condition() holds; False at the deadline."""
        end = asyncio.get_running_loop().time() + deadline_s
        while not condition():
            self.changed.clear()
            left = end - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self.changed.wait(), left)
            except asyncio.TimeoutError:
                return False
        return True

    async def _run(self):
        while not self.failure:
            try:
                await self._session()
            except asyncio.CancelledError:
                raise
            except (OSError, asyncio.TimeoutError, websockets.exceptions.WebSocketException):
                pass  # not there now: come back, as every viewer does
            self.changed.set()
            await asyncio.sleep(RETRY_S)

    async def _session(self):
        url = self._url + (f"?cursor={self.cursor}" if self.cursor else "")
        options = {_HEADERS: {"Authorization": f"Bearer {self._token}"}}
        async with websockets.connect(url, subprotocols=["sightline.v1"],
                                      max_size=MAX_FRAME_BYTES, **options) as connection:
            self.caught_up_cursor = None
            async for text in connection:
                self._on_frame(text)
                self.changed.set()

    def _on_frame(self, text):
        frame = json.loads(text)
        if frame["kind"] == "event":
            envelope = frame["envelope"]
            event = Event(envelope["event_id"], envelope["cursor"],
                          member_text(text, "envelope", "payload"))
            self.cursor = event.cursor
            self.events.append(event)
            self._on_event(event)
        elif frame["kind"] in ("caught_up", "bookmark"):
            self.cursor = frame["cursor"]
            if frame["kind"] == "caught_up":
                self.caught_up_cursor = self.cursor
        elif frame["kind"] == "diagnostic":
            diagnostic = frame["diagnostic"]
            self._on_diagnostic(diagnostic["code"], diagnostic["message"])
            if diagnostic.get("final") and diagnostic.get("retry") in ("never", "from_keyframe"):
                self.failure = diagnostic["code"]
