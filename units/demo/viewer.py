"""Shows in a terminal what two roles see of the same run: side by side where there is room.

Lines are only ever added, so the terminal's own scrolling works and there is nothing to restore.
Rows are put in the order of the operator's stream; an event that the viewer's stream has passed
over is said to be withheld.
"""

import dataclasses
import json
import shutil
import textwrap
import time

SIDE_BY_SIDE_MIN_COLUMNS = 100
# How long a row waits for the other side before it is shown without it.
WAIT_FOR_OTHER_SIDE_S = 0.4
KIND_COLUMNS = 22
WITHHELD = "· withheld from this role"

RESET, DIM, BOLD = "\x1b[0m", "\x1b[2m", "\x1b[1m"
KIND_COLOURS = ("\x1b[36m", "\x1b[32m", "\x1b[33m", "\x1b[35m", "\x1b[34m", "\x1b[96m")


def printable(text):
    """Text of a worker on a terminal: no control character, no escape sequence, one line."""
    return "".join(c if c.isprintable() else " " for c in text)


def gist(payload):
    """One line that says what is in an event, whatever its kind."""
    data = payload.get("data", payload)
    parts = []

    def walk(value, name):
        if isinstance(value, dict):
            for key, member in value.items():
                walk(member, key)
        elif isinstance(value, list):
            for member in value:
                walk(member, name)
        elif isinstance(value, str) and (len(value) > 24 or name in ("text", "content")):
            parts.append(" ".join(value.split()))
        elif value is not None and value != "":
            parts.append(f"{name}={json.dumps(value, ensure_ascii=False)}")

    walk({k: v for k, v in data.items() if k not in ("event", "type", "id")}
         if isinstance(data, dict) else data, "")
    return printable("  ".join(parts))


def streamed_text(payload, kind):
    """The piece of text of an event that streams one text in pieces, else None."""
    data = payload.get("data")
    if not kind.endswith("_delta") or not isinstance(data, dict):
        return None
    texts = [v for k, v in data.items() if isinstance(v, str) and k != "id"]
    return texts[0] if len(texts) == 1 else None


@dataclasses.dataclass
class Line:
    event_id: str
    kind: str
    text: str


class Column:
    """Turns the events of one role into lines; pieces of one text are joined until they fill one."""

    def __init__(self, width):
        self.width = width
        self._kind, self._text = "", ""

    def add(self, event):
        payload, kind = json.loads(event.payload), event.kind
        piece = streamed_text(payload, kind)
        if piece is None:
            return self.flush(event.event_id) + [Line(event.event_id, kind, gist(payload))]
        lines = self.flush(event.event_id) if kind != self._kind else []
        self._kind = kind
        self._text += piece if self._text else piece.lstrip(" ")
        room = max(self.width - KIND_COLUMNS, 20)
        while True:
            head, newline, rest = self._text.partition("\n")
            wrapped = textwrap.wrap(head, room, drop_whitespace=False) or [""]
            if newline:
                lines += [Line(event.event_id, kind, printable(w)) for w in wrapped]
                self._text = rest
            elif len(wrapped) > 1:
                lines.append(Line(event.event_id, kind, printable(wrapped[0])))
                self._text = self._text[len(wrapped[0]) :].lstrip(" ")
            else:
                break
        return [line for line in lines if line.text.strip()]

    def flush(self, event_id):
        """What is left of a streamed text; it belongs to the event that ends it."""
        kind, text = self._kind, self._text
        self._kind, self._text = "", ""
        return [Line(event_id, kind, printable(text))] if text.strip() else []


class Worker:
    """What is waiting to be shown of one worker."""

    def __init__(self, width):
        self.columns = {role: Column(width) for role in ("operator", "viewer")}
        self.order = {}  # event id -> place in the operator's stream
        self.ids = []  # by place
        self.seen_at = []  # by place
        self.lines = {"operator": {}, "viewer": {}}  # place -> [Line]
        self.passed = {"operator": -1, "viewer": -1}  # newest place that this side has reached
        self.viewer_ids = set()
        self.early = []  # events that the viewer had before the operator
        self.shown = 0  # places below are shown


class Terminal:
    """Prints rows of two columns, or alternating lines where the terminal is narrow."""

    def __init__(self, out):
        self.out = out
        self.is_tty = out.isatty()
        self.workers = {}
        self._kind_colours = {}
        self._heading_for = None

    def _style(self, text, *codes):
        return "".join(codes) + text + RESET if self.is_tty and codes else text

    def _geometry(self):
        columns = shutil.get_terminal_size((100, 24)).columns
        side_by_side = columns >= SIDE_BY_SIDE_MIN_COLUMNS
        return side_by_side, (columns - 3) // 2 if side_by_side else columns - 11

    def add(self, worker_id, role, event):
        _, width = self._geometry()
        worker = self.workers.setdefault(worker_id, Worker(width))
        if role == "operator":
            worker.order[event.event_id] = len(worker.ids)
            worker.ids.append(event.event_id)
            worker.seen_at.append(time.monotonic())
        else:
            worker.viewer_ids.add(event.event_id)
        self._add_known(worker, role, event, width)
        if role == "operator":
            early, worker.early = worker.early, []
            for waiting in early:
                self._add_known(worker, "viewer", waiting, width)

    def _add_known(self, worker, role, event, width):
        place = worker.order.get(event.event_id)
        if place is None:
            worker.early.append(event)
            return
        worker.passed[role] = max(worker.passed[role], place)
        worker.columns[role].width = width
        for line in worker.columns[role].add(event):
            worker.lines[role].setdefault(worker.order[line.event_id], []).append(line)

    def tick(self, finish=False):
        """Shows what is due. `finish` shows everything that is there."""
        now = time.monotonic()
        for worker_id, worker in self.workers.items():
            if finish and worker.ids:
                self._finish(worker_id, worker)
            while worker.shown < len(worker.ids):
                place = worker.shown
                waited = now - worker.seen_at[place] > WAIT_FOR_OTHER_SIDE_S
                if not (finish or waited or worker.passed["viewer"] >= place):
                    break
                self._show_place(worker_id, worker, place)
                worker.shown += 1
        self.out.flush()

    def _finish(self, worker_id, worker):
        """The rest of streamed texts, at the newest place."""
        for role, column in worker.columns.items():
            for line in column.flush(worker.ids[-1]):
                worker.lines[role].setdefault(len(worker.ids) - 1, []).append(line)
        if worker.shown == len(worker.ids) and any(worker.lines.values()):
            self._show_place(worker_id, worker, len(worker.ids) - 1)

    def _show_place(self, worker_id, worker, place):
        """One place's rows, and before them what came after its own row was shown."""
        left, right = ([line for p in sorted(lines) if p <= place for line in lines.pop(p)]
                       for lines in (worker.lines["operator"], worker.lines["viewer"]))
        withheld = bool(left) and not right and worker.ids[place] not in worker.viewer_ids
        side_by_side, width = self._geometry()
        self._heading(worker_id, side_by_side, width)
        rows = max(len(left), len(right))  # the newest line of both stands in the same row
        for a, b in zip([None] * (rows - len(left)) + left, [None] * (rows - len(right)) + right):
            if side_by_side:
                self._row(self._cell(a, width), self._cell(b, width, withheld))
            else:
                self._alternating(a, b, width, withheld)

    def _row(self, left, right):
        self.out.write(f"{left} {self._style('│', DIM)} {right}".rstrip() + "\n")

    def _alternating(self, a, b, width, withheld):
        if a is not None and b is not None and (a.kind, a.text) == (b.kind, b.text):
            self._labelled("both", self._cell(a, width))
            return
        if a is not None:
            self._labelled("operator", self._cell(a, width))
        if b is not None or withheld:
            self._labelled("viewer", self._cell(b, width, withheld))

    def _labelled(self, label, cell):
        self.out.write(f"{self._style(f'{label:>8}', DIM)} {self._style('│', DIM)} {cell}".rstrip()
                       + "\n")

    def _cell(self, line, width, withheld=False):
        if line is None:
            text = WITHHELD if withheld else ""
            return self._style(f"{text:<{width}}", DIM)
        kind = printable(line.kind)[: KIND_COLUMNS - 2].ljust(KIND_COLUMNS)
        room = width - KIND_COLUMNS
        text = line.text if len(line.text) <= room else line.text[: room - 1] + "…"
        return self._style(kind, self._colour(line.kind)) + text.ljust(room)

    def _colour(self, kind):
        family = kind.rsplit("_", 1)[0]
        if family not in self._kind_colours:
            self._kind_colours[family] = KIND_COLOURS[len(self._kind_colours) % len(KIND_COLOURS)]
        return self._kind_colours[family]

    def _heading(self, worker_id, side_by_side, width):
        if self._heading_for == (worker_id, side_by_side, width):
            return
        self._heading_for = (worker_id, side_by_side, width)
        name = printable(worker_id)
        if side_by_side:
            self._row(self._style(f"{f'{name} as operator':<{width}}", BOLD),
                      self._style(f"{name} as viewer", BOLD))
        else:
            self.out.write(self._style(f"{name} as operator and as viewer", BOLD) + "\n")

    def say(self, text, *codes):
        self.out.write(self._style(text, *codes) + "\n")
        self.out.flush()
