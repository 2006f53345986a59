"""A client that watches one worker in one role for a whole case, over as many sessions as it takes.

Whatever comes is held against the ledger at once: a payload is right only when the relay had that
verdict by then. What is missing or told too often is found by check_complete().
"""

import asyncio
import json

import websockets

import load
import ws
from ledger import DENIED, delivered

RETRY_S = 0.03
GRAM = 8  # so many characters of a secret in a row are a leak
PASSING_CODES = {"backend.projection_unavailable"}
# What may be told without an end, and what may end a session, while only projection fails.
TOLD_CODES = {"backend.projection_unavailable", "backend.event_withheld", "backend.lagging"}


class Watcher:
    def __init__(self, name, relay, ledger, worker, role):
        self.name, self.role, self.worker = name, role, worker
        self._url, self._token = relay.url(worker.worker_id), relay.tokens[role]
        self._ledger = ledger
        self.log = []           # numbers of events in the order in which they came; None: withheld
        self.newest = -1        # number
        self.sessions = self.told = 0
        self.waits = False      # told of a failure, and nothing has come since
        self._cursor = None
        self._ids = {}
        self._texts = {}
        self._connection = None
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._progress = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())

    def _violate(self, what):
        self._ledger.violate(f"{self.name}: {what}")

    # Sessions.

    async def _run(self):
        while True:
            try:
                await self._session()
            except ws.Refused as refused:
                if refused.code not in PASSING_CODES:
                    self._violate(f"refused with {refused}")
            except (OSError, websockets.exceptions.WebSocketException):
                pass
            except asyncio.CancelledError:
                return
            except Exception as error:  # pylint: disable=broad-except
                self._violate(repr(error))
            await asyncio.sleep(RETRY_S)

    async def _session(self):
        url = self._url + (f"?cursor={self._cursor}" if self._cursor else "")
        self._connection = await ws.connect(url, token=self._token, subprotocols=["sightline.v1"])
        try:
            await self._may_read.wait()
            async for text in self._connection:
                self._take(text)
                await self._may_read.wait()
            if self._connection.close_code not in (1000, 1006, 1013):
                self._violate(f"closed with {self._connection.close_code} "
                              f"{self._connection.close_reason}")
        except websockets.exceptions.ConnectionClosed as closed:
            sent, received = closed.sent, closed.rcvd  # the library closes when a frame is wrong
            if (received is not None and received.code not in (1000, 1013)) or \
                    (sent is not None and sent.code in (1002, 1007)):
                self._violate(f"closed with {closed}")
        finally:
            self._connection.transport.abort()

    def cut(self):
        """As a lost network does. It comes back, and reads."""
        self.resume()
        if self._connection is not None:
            self._connection.transport.abort()

    def pause(self):
        self._may_read.clear()

    def resume(self):
        self._may_read.set()

    async def stop(self):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def reach(self, number, deadline_s):
        """Whether it has that event or a later one within the deadline."""
        async def wait():
            while self.newest < number:
                self._progress.clear()
                await self._progress.wait()
        try:
            await asyncio.wait_for(wait(), deadline_s)
        except asyncio.TimeoutError:
            return False
        return True

    # What comes.

    def _take(self, text):
        if self.role != "operator" and load.MARK in text:
            self._violate(f"a marker: {text:.300}")
        frame = json.loads(text)
        if frame["kind"] == "event":
            self._take_event(frame["envelope"], ws.member_text(text, "envelope", "payload"))
        elif frame["kind"] == "diagnostic":
            self._take_diagnostic(frame["diagnostic"])
        elif frame["kind"] == "hello":
            self.sessions += 1
            self._ledger.note(f"{self.name} begins a session at {self.newest}")
        else:
            self._cursor = frame["cursor"]

    def _take_event(self, envelope, payload):
        event = json.loads(payload)
        number = event["data"]["n"]
        outcomes = self._ledger.outcomes(self.worker.worker_id, self.role, number)
        if delivered(payload.encode()) not in outcomes:
            self._violate(f"event {number} without its verdict: {payload:.300}; "
                          f"{len(outcomes)} others")
        if number <= self.newest:
            self._violate(f"event {number} after {self.newest}")
        if self._ids.setdefault(envelope["event_id"], number) != number:
            self._violate(f"event {number} has the id of {self._ids[envelope['event_id']]}")
        piece = load.text_of(event)
        if piece is not None:
            self._texts[piece[0]] = self._texts.get(piece[0], "") + piece[1]
        self._cursor = envelope["cursor"]
        self.waits = False
        self.log.append(number)
        self.newest = max(number, self.newest)
        self._progress.set()
        self._ledger.counts["deliveries"] += 1

    def _take_diagnostic(self, diagnostic):
        code, final = diagnostic["code"], diagnostic["final"]
        if code not in TOLD_CODES or (final and code not in PASSING_CODES):
            self._violate(f"told {diagnostic}")
        self._ledger.note(f"{self.name} at {self.newest} is told {code}{' at last' * final}")
        if code == "backend.projection_unavailable":
            self.told += 1
            self.waits = True
        if code == "backend.event_withheld":
            self._cursor = diagnostic["cursor"]
            self.waits = False
            self.log.append(None)
            self._progress.set()

    # At the end.

    def check_complete(self):
        """Every event was delivered, denied, or told to be withheld; once, and in order."""
        expected, told = 0, 0
        for number in self.log:
            if number is None:
                told += 1
                continue
            self._check_gap(expected, number, told)
            expected, told = number + 1, 0
        self._check_gap(expected, self.newest + 1, told)

    def _check_gap(self, first, end, told):
        least = most = 0
        for number in range(first, end):
            is_denied = DENIED in self._ledger.outcomes(self.worker.worker_id, self.role, number)
            may = self._ledger.may_be_withheld(self.worker.worker_id, self.role, number)
            if not (is_denied or may):
                self._violate(f"event {number} was lost: {self._near(number)}")
            least += not is_denied
            most += may
        if not least <= told <= most:
            self._violate(f"{told} told to be withheld of {first} to {end}, not {least} to {most}")

    def _near(self, number):
        return self.worker.payloads[number][:200]

    def check_secrets(self):
        """Put together, what it got holds no part of a secret, also of one with a withheld piece."""
        if self.role == "operator":
            return
        grams = {}
        for secret in self.worker.secrets:
            for at in range(len(secret.text) - GRAM + 1):
                grams[secret.text[at:at + GRAM]] = secret
        for text in self._texts.values():
            for at in range(len(text) - GRAM + 1):
                if text[at:at + GRAM] in grams:
                    self._violate(f"a part of a secret: {text[max(0, at - 40):at + 40]!r}")
                    return
