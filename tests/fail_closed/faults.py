"""What goes wrong between the relay and projection: one fault a round, chosen by FAULTS.

A fault is set on the gate, waits for its moment (a connection, a request, an answer), happens once,
and says so in `fired`. What spoils an answer is a function of the table ANSWERS: it gets an answer
and gives a Spoilt, or None when this answer does not fit; the next one may.
"""

import asyncio
import copy
import signal
import struct

from gate import Cut, Spoilt, frame, pack, place_of
from projection import (AUTHORIZE, CLOSE_PASS, ERROR, HELLO, PASS, PROJECT, PROJECTED, VERDICT,
                        WELCOME)

LONG_BYTES = 0x7FFFFFFF
SLOW_S = 0.1


class Fault:
    """`loads` names what is published besides."""
    loads = None

    def __init__(self, name, rng, gate):
        self.name, self.rng, self.gate = name, rng, gate
        self.fired = asyncio.Event()

    def __str__(self):
        return self.name

    def begin(self):
        """The round begins."""

    async def on_connect(self, connection):
        """The relay has connected; projection has not been asked for anything."""

    async def on_request(self, connection, message):
        """Before it goes on to projection."""

    async def on_answer(self, connection, message, data, rows):
        """A Spoilt, or None: it goes on as it is."""

    def end(self):
        """It is time for another."""


class Nothing(Fault):
    def begin(self):
        self.fired.set()


class Spoil(Fault):
    """One answer is spoilt."""

    def __init__(self, name, rng, gate, kind, spoil):
        super().__init__(name, rng, gate)
        self._kind, self._spoil = kind, spoil
        self._skips = rng.randrange(3)

    def begin(self):
        if self._kind in (PASS, WELCOME):  # there is one at the beginning of a connection
            self.gate.hang_up()

    async def on_answer(self, connection, message, data, rows):
        if connection.kept:
            return Spoilt(data + connection.kept.pop())
        if self.fired.is_set() or message[0] != self._kind:
            return None
        if self._skips > 0 and self._kind != WELCOME:
            self._skips -= 1
            return None
        spoilt = self._spoil(self.rng, connection, copy.deepcopy(message), data, rows)
        if spoilt is not None:
            self.fired.set()
        return spoilt


# ---- answers that are not messages ----

def cut_within(rng, connection, message, data, rows):
    return Spoilt(data[:rng.randrange(1, len(data))], cut=True)


def cut_before(rng, connection, message, data, rows):
    return Spoilt(cut=True)


def cut_behind(rng, connection, message, data, rows):
    return Spoilt(data, len(rows), cut=True)


def never(rng, connection, message, data, rows):
    return Spoilt()


def stuck_within(rng, connection, message, data, rows):
    return Spoilt(data[:rng.randrange(1, len(data))])


def garbage(rng, connection, message, data, rows):
    return Spoilt(frame(rng.choice((b"\xc1", b"\x91" * 1000, b"\xdd\xff\xff\xff\xff",
                                    rng.randbytes(40), b"\x80", b"\xff" * 9))))


def truncated_body(rng, connection, message, data, rows):
    return Spoilt(frame(data[4:rng.randrange(5, len(data))]))


def left_over(rng, connection, message, data, rows):
    return Spoilt(frame(data[4:] + b"\xc0"))


def empty_frame(rng, connection, message, data, rows):
    return Spoilt(frame(b"") + data)


def frame_too_long(rng, connection, message, data, rows):
    return Spoilt(struct.pack("<I", LONG_BYTES) + data)


def frame_without_end(rng, connection, message, data, rows):
    return Spoilt(struct.pack("<I", len(data) + 5000) + data)


def zeros(rng, connection, message, data, rows):
    return Spoilt(bytes(rng.choice((1, 4, 100))) + data)


# ---- answers of the wrong shape, place or name ----

def another_type(rng, connection, message, data, rows):
    others = {HELLO, WELCOME, PASS, PROJECT, PROJECTED, AUTHORIZE, VERDICT, CLOSE_PASS, 0, 77, -1,
              None, "projected"} - {message[0]}
    message[0] = rng.choice(sorted(others, key=str))
    return Spoilt(pack(message))


def another_arity(rng, connection, message, data, rows):
    return Spoilt(pack(rng.choice((message[:-1], message + [None], [message[0]], []))))


def an_error(rng, connection, message, data, rows):
    return Spoilt(pack([ERROR, None, "protocol_error", "no", None]))


def another_id(rng, connection, message, data, rows):
    message[1] = rng.choice((message[1] + 1, message[1] - 1, 0, 1 << 40, -1, None, "1", 1.0))
    return Spoilt(pack(message))


def of_another_pass(rng, connection, message, data, rows):
    """What is right for one view, as the answer for another."""
    others = sorted(connection.passes.keys() - {message[1]})
    if not others:
        return None
    message[1] = rng.choice(others)
    return Spoilt(pack(message))


def twice(rng, connection, message, data, rows):
    return Spoilt(data + data, len(rows))


def swapped_answers(rng, connection, message, data, rows):
    """The next answer first; when there is none, it never comes."""
    connection.kept.append(data)
    return Spoilt(must_end=False)


def before_it_was_asked(rng, connection, message, data, rows):
    message[1] += 1
    return Spoilt(data + pack(message), len(rows))


# ---- verdicts ----

def no_rows(rng, connection, message, data, rows):
    return Spoilt(pack([message[0], message[1], rng.choice(([], None, {}, "rows"))]))


def row_missing(rng, connection, message, data, rows):
    message[2].pop(rng.choice((0, -1)))
    return Spoilt(pack(message))


def row_too_many(rng, connection, message, data, rows):
    message[2].insert(rng.choice((0, len(rows))), rng.choice(message[2]))
    return Spoilt(pack(message))


def rows_reversed(rng, connection, message, data, rows):
    if len(rows) < 2:
        return None
    message[2].reverse()
    return Spoilt(pack(message))


def rows_swapped(rng, connection, message, data, rows):
    if len(rows) < 2:
        return None
    k = rng.randrange(len(rows) - 1)
    message[2][k], message[2][k + 1] = message[2][k + 1], message[2][k]
    return Spoilt(pack(message), valid=k)


def rows_of_another_pass(rng, connection, message, data, rows):
    """What was said of the same places in another pass, best; else of any. Tickets are as said."""
    places = [place_of(row) for row in message[2]]
    others = [said for pass_id, said in connection.verdicts.items() if pass_id != message[1]]
    alike = [said for said in others if all(place in said for place in places)]
    if not rows or None in rows or not others or not (alike or rng.random() < 0.1):
        return None
    said = rng.choice(alike or others)
    message[2] = [said[place] for place in places] if alike \
        else rng.choices(list(said.values()), k=len(rows))
    return Spoilt(pack(message))


def in_a_row(change, cold=False):
    """A spoiling of one row, at random; change(rng, row) → row or None. Those before are right."""
    def spoil(rng, connection, message, data, rows):
        choice = [k for k, row in enumerate(rows) if row is not None or not cold]
        if not choice:
            return None
        k = rng.choice(choice)
        row = change(rng, message[2][k])
        if row is None:
            return None
        message[2][k] = row
        return Spoilt(pack(message), valid=k)
    return spoil


def another_ticket(rng, row):
    return [rng.choice((row[0] + 1, row[0] - 1, 1 << 50, -1, None, "7", 7.5)), *row[1:]]


def another_verdict(rng, row):
    return [row[0], rng.choice(("perhaps", "", "PASS", "pass\0", "allow", None, 1, True, b"pass",
                                "p" * 300)), None, row[3]]


def rewrite_of_nothing(rng, row):
    return [row[0], "rewrite", None, row[3]]


def payload_where_none_is(rng, row):
    return [row[0], rng.choice(("pass", "deny", "refused")), row[2] or b'{"n":-1}', row[3]]


def payload_that_is_no_text(rng, row):
    return [row[0], "rewrite", rng.choice((b"\xff\xfe", b"{\"a\":\"\xc3\"}", 7, [], {})), row[3]]


def state_in_the_future(rng, row):
    return [*row[:3], rng.choice((row[0] + 1, 1 << 60, -1, "1", 1.5, []))]


def another_row_length(rng, row):
    return rng.choice((row[:3], row + [None], [], None, 7, "row")) if row else row


# ---- WELCOME and PASS ----

def another_version(rng, connection, message, data, rows):
    message[1] = rng.choice((0, 2, -1, None, "1"))
    return Spoilt(pack(message))


def pass_without_verdict(rng, connection, message, data, rows):
    message[2] = rng.choice(("perhaps", "", None, True, "ALLOW"))
    return Spoilt(pack(message))


def pass_without_revision(rng, connection, message, data, rows):
    message[3] = rng.choice((None, 7, b"x" * 257, []))
    return Spoilt(pack(message))


NOT_MESSAGES = (cut_within, cut_before, cut_behind, never, stuck_within, garbage, truncated_body,
                left_over, empty_frame, frame_too_long, frame_without_end, zeros, another_type,
                another_arity, an_error)
ANSWERS = {
    PROJECTED: (*NOT_MESSAGES, another_id, of_another_pass, twice, swapped_answers,
                before_it_was_asked, no_rows, row_missing, row_too_many, rows_reversed,
                rows_swapped, rows_of_another_pass),
    PASS: (*NOT_MESSAGES, another_id, twice, pass_without_verdict, pass_without_revision),
    WELCOME: (*NOT_MESSAGES, twice, another_version),
}
ROWS = ((another_ticket, False), (another_verdict, False), (rewrite_of_nothing, True),
        (payload_where_none_is, False), (payload_that_is_no_text, True),
        (state_in_the_future, False), (another_row_length, False))
MORE_OFTEN = {rows_of_another_pass: 3}  # weights; not every moment has other rows that would fit
KIND_NAMES = {PROJECTED: "verdicts", PASS: "a pass", WELCOME: "welcome"}


# ---- the process ----

class Signal(Fault):
    """At a request, at an answer, or at any time."""

    def __init__(self, name, rng, gate, number):
        super().__init__(name, rng, gate)
        self._number = number
        self._moment = rng.choice(("now", "request", "answer"))
        self._skips = rng.randrange(4)

    def __str__(self):
        return f"{self.name} ({self._moment})"

    def begin(self):
        if self._moment == "now":
            self._happen()

    def _happen(self):
        if self._skips > 0 and self._moment != "now":
            self._skips -= 1
        elif not self.fired.is_set():
            self.gate.backend.signal(self._number)
            self.fired.set()

    async def on_request(self, connection, message):
        if self._moment == "request" and message[0] == PROJECT:
            self._happen()

    async def on_answer(self, connection, message, data, rows):
        if self._moment == "answer" and message[0] == PROJECTED:
            self._happen()


class Stop(Signal):
    """It hangs until the relay gives it up; then it is killed, or goes on as if nothing were."""

    def __init__(self, name, rng, gate):
        super().__init__(name, rng, gate, signal.SIGSTOP)
        self._goes_on = rng.random() < 0.5

    async def on_connect(self, connection):
        if self.fired.is_set():
            self.gate.backend.signal(signal.SIGCONT if self._goes_on else signal.SIGKILL)

    def end(self):
        self.gate.backend.signal(signal.SIGCONT)


class Starve(Fault):
    """No memory is left for it."""
    loads = "huge"

    def __init__(self, name, rng, gate):
        super().__init__(name, rng, gate)
        self._connections = rng.randint(1, 4)

    def begin(self):
        self.gate.backend.ensure()
        self.gate.backend.starve()
        self.fired.set()

    async def on_connect(self, connection):
        """What lives through it has still no memory."""
        self._connections -= 1
        if self._connections == 0:
            self.gate.backend.signal(signal.SIGKILL)

    def end(self):
        self.gate.backend.signal(signal.SIGKILL)


class Poison(Fault):
    """An event ends it every time."""
    loads = "poison"

    def begin(self):
        self.fired.set()


# ---- time ----

class Late(Fault):
    """Answers come after the relay has given up, on the connection that came after."""

    def __init__(self, name, rng, gate):
        super().__init__(name, rng, gate)
        self._moment = rng.choice(("first", "behind WELCOME", "behind PASS", "with verdicts"))
        self._kept, self._from = [], None

    def __str__(self):
        return f"{self.name} ({self._moment})"

    async def on_connect(self, connection):
        if self._kept and self._moment == "first" and not self.fired.is_set():
            self.fired.set()
            await connection.send(b"".join(self._kept))
            connection.silent = True
            self.gate.expect_end(connection)

    async def on_answer(self, connection, message, data, rows):
        if self.fired.is_set():
            return None
        if self._from in (None, connection):
            if message[0] != PROJECTED:
                return None
            self._from = connection
            self._kept.append(data)
            return Spoilt(must_end=False)
        if message[0] != {"behind WELCOME": WELCOME, "behind PASS": PASS,
                          "with verdicts": PROJECTED}[self._moment]:
            return None
        self.fired.set()
        return Spoilt(data + b"".join(self._kept), len(rows)) if self._moment != "with verdicts" \
            else Spoilt(b"".join(self._kept) + data)


class Slow(Fault):
    """Answers take their time, in pieces; nothing is wrong with them."""

    async def on_answer(self, connection, message, data, rows):
        if self.fired.is_set() or message[0] != PROJECTED:
            return None
        self.fired.set()
        connection.release(rows)
        step = max(1, len(data) // self.rng.randint(2, 9))
        for at in range(0, len(data), step):
            connection.writer.write(data[at:at + step])
            await asyncio.sleep(SLOW_S / 9)
        return Spoilt(must_end=False)


class Deaf(Fault):
    """It reads nothing any more, until the relay has given it up."""

    def __init__(self, name, rng, gate):
        super().__init__(name, rng, gate)
        self._over = asyncio.Event()

    async def on_connect(self, connection):
        self._over.set()

    async def on_request(self, connection, message):
        if message[0] == PROJECT and not self.fired.is_set():
            self.fired.set()
            self._over.clear()
            connection.silent = True
            await self._over.wait()
            raise Cut()

    def end(self):
        self._over.set()


class Refuse(Fault):
    """Nobody is there, several times."""

    def __init__(self, name, rng, gate):
        super().__init__(name, rng, gate)
        self._times = rng.randint(1, 4)

    def begin(self):
        self.gate.backend.signal(signal.SIGKILL)
        self.gate.hang_up()

    async def on_connect(self, connection):
        if self._times > 0:
            self._times -= 1
            raise Cut()
        self.fired.set()


def make_table():
    """[(name, weight, rng, gate → Fault)]"""
    table = [
        ("killed", 12, lambda n, r, g: Signal(n, r, g, signal.SIGKILL)),
        ("ended", 3, lambda n, r, g: Signal(n, r, g, signal.SIGTERM)),
        ("stopped", 6, Stop), ("starved", 5, Starve), ("poisoned", 3, Poison),
        ("late", 6, Late), ("slow", 3, Slow), ("deaf", 3, Deaf), ("refused", 3, Refuse),
        ("nothing", 2, Nothing)]
    for kind, spoils in ANSWERS.items():
        for spoil in spoils:
            table.append(_spoil(kind, spoil.__name__, spoil))
    for change, cold in ROWS:
        table.append(_spoil(PROJECTED, change.__name__, in_a_row(change, cold)))
    return table


def _spoil(kind, name, spoil):
    name = f"{KIND_NAMES[kind]}: {name.replace('_', ' ')}"
    weight = MORE_OFTEN.get(spoil, 1 if kind == PROJECTED else 0.4)
    return name, weight, lambda n, r, g: Spoil(n, r, g, kind, spoil)


FAULTS = make_table()


def choose(rng, gate, only=None):
    rows = [row for row in FAULTS if only is None or only in row[0]]
    name, _, make = rng.choices(rows, [row[1] for row in rows])[0]
    return make(name, rng, gate)
