"""What projection has said so far, and what a client may therefore have got.

A verdict is known by its worker, role and event number. `released` are those that have been handed
to the relay intact; a delivery is right only when its verdict is among them at that moment.
"""

import collections
import time

DENIED, REFUSED = ("denied",), ("refused",)
DEATHS_MAX = 3
TRACE_MAX = 80


def delivered(payload):
    return ("delivered", payload)


class Ledger:
    def __init__(self, workers):
        self._numbers = {}  # payload → number, by worker
        self._workers = workers
        self._given = {}
        self._released = collections.defaultdict(set)
        self._deaths = collections.Counter()
        self._unknown_deaths = 0
        self.violations = []
        self.counts = collections.Counter()
        self.trace = collections.deque(maxlen=TRACE_MAX)
        self._start = time.monotonic()

    def note(self, what):
        """Something that helps to understand a failure."""
        self.trace.append(f"{time.monotonic() - self._start:8.3f} {what}")

    def violate(self, what):
        self.violations.append(what)

    def number(self, worker_id, payload):
        """Of the event that the relay asks about, None without its bytes; one that nobody published
        is a violation."""
        if not payload:
            return None
        known = self._numbers.setdefault(worker_id, {})
        payloads = self._workers[worker_id].payloads
        for n in range(len(known), len(payloads)):
            known[payloads[n]] = n
        if payload not in known:
            self.violate(f"the relay asks for an event that {worker_id} did not publish")
            return None
        return known[payload]

    def give(self, worker_id, role, number, outcome):
        """A verdict of projection. The same event has the same one, wherever a reader began."""
        before = self._given.setdefault((worker_id, role, number), outcome)
        if before != outcome and not self._has_gap(worker_id):
            self.violate(f"two verdicts on {worker_id}/{number} for {role}: "
                         f"{before!r:.200} {outcome!r:.200}")

    def _has_gap(self, worker_id):
        """Readers may differ in what they were fed: an event that ended projection is left out."""
        return any(worker == worker_id and deaths + self._unknown_deaths >= DEATHS_MAX
                   for (worker, _), deaths in self._deaths.items())

    def release(self, worker_id, role, number, outcome):
        self._released[worker_id, role, number].add(outcome)
        self.counts["verdicts"] += 1

    def outcomes(self, worker_id, role, number):
        return self._released.get((worker_id, role, number), frozenset())

    def note_death(self, worker_id, number):
        """Projection ended with this event alone under way."""
        self._deaths[worker_id, number] += 1

    def note_unknown_death(self):
        """It ended, and what was under way can't be known."""
        self._unknown_deaths += 1
        self.counts["unknown deaths"] += 1

    def may_be_withheld(self, worker_id, role, number):
        return REFUSED in self.outcomes(worker_id, role, number) or \
            self._deaths[worker_id, number] + self._unknown_deaths >= DEATHS_MAX
