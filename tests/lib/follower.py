"""A viewer that never gives up: it comes back with its last cursor, and keeps what it got.

    follower = Follower(lambda cursor: pipeline.observe("w-1", cursor=cursor))
    follower.until(1000)         # events in all, over as many sessions as it takes
    follower.events, follower.diagnostics, follower.sessions
"""

import collections
import time

import websockets

import ws

RETRY_S = 0.05
DEADLINE_S = 60
# A session that was refused or ended for these reasons is tried again with the same cursor.
PASSING_STATUS = {404, 502, 503}


class Follower:
    def __init__(self, connect, cursor=None):
        self._connect, self.cursor = connect, cursor
        self._client = None
        self.events, self.diagnostics = [], []
        self.ends = []  # of its sessions: (events by then, close code, reason)
        self.failures = collections.Counter()  # of its attempts: what was raised
        self.sessions = self.seams = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.drop()

    def drop(self):
        """Ends the session; the next until() begins one with the last cursor."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def cut(self):
        """As drop(), but without a word to the other side."""
        if self._client is not None:
            self._client.abort()
            self._client = None

    def until(self, count, deadline_s=DEADLINE_S):
        """Follows until it has `count` events in all."""
        self.follow(lambda: len(self.events) >= count, deadline_s)
        return self.events

    def follow(self, condition, deadline_s=DEADLINE_S):
        end = time.monotonic() + deadline_s
        while not condition():
            left = end - time.monotonic()
            assert left > 0, self._summary()
            if self._client is None and not self._open():
                time.sleep(RETRY_S)  # what a viewer does whose backend is not there
                continue
            self._take(min(left, 1.0))

    def _summary(self):
        current = self._client.summary() if self._client is not None else "none"
        return (f"{len(self.events)} events in {self.sessions} sessions, ended {self.ends}, "
                f"diagnostics {self.diagnostics}, failed attempts {dict(self.failures)}; "
                f"the current session: {current}")

    def _open(self):
        try:
            self._client = self._connect(self.cursor)
        except ws.Refused as refused:
            assert refused.status in PASSING_STATUS, refused
            self.failures[str(refused)] += 1
            return False
        except (OSError, websockets.exceptions.WebSocketException) as error:
            self.failures[repr(error)] += 1
            return False
        self.sessions += 1
        return True

    def _take(self, patience_s):
        try:
            frame = self._client.frame(patience_s)
        except AssertionError:
            return  # nothing came; the deadline is follow()'s
        if frame is None:
            self.ends.append((len(self.events), self._client.close_code,
                              self._client.close_reason))
            self._client = None
        elif frame["kind"] == "event":
            event = self._client.last_event()
            self.events.append(event)
            self.cursor = event.cursor
        elif frame["kind"] in ("caught_up", "bookmark"):
            self.cursor = frame["cursor"]
            self.seams += frame["kind"] == "caught_up"
        elif frame["kind"] == "diagnostic":
            self.diagnostics.append(frame["diagnostic"])
