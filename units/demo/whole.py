"""Decides whether a run has passed through whole. Pure: lines and events in, complaints out."""

import json
import subprocess


def operator_complaints(lines, events):
    """An operator gets every line: byte-identical, in order, once."""
    complaints = _repeated(events)
    got = [event.payload.encode() for event in events]
    for number, (line, payload) in enumerate(zip(lines, got), 1):
        if payload != line:
            complaints.append(_difference(number, line, payload, lines))
            break
    if len(got) < len(lines):
        complaints.append(f"lost: {len(got)} of {len(lines)} events arrived")
    elif len(got) > len(lines):
        complaints.append(f"doubled: {len(got)} events arrived for {len(lines)} lines")
    return complaints


def _difference(number, line, payload, lines):
    if payload in lines:
        return f"reordered, lost or doubled: event {number} is line {lines.index(payload) + 1}"
    return f"changed: event {number} is not the bytes of line {number}"


def _repeated(events):
    complaints = []
    for name in ("event_id", "cursor"):
        values = [getattr(event, name) for event in events]
        if len(set(values)) != len(values):
            complaints.append(f"doubled: an {name} came twice")
    return complaints


def viewer_complaints(expected, operator_events, viewer_events):
    """A redacted viewer gets what the policy leaves of the same events, in the same order."""
    complaints = _repeated(viewer_events)
    ids = [event.event_id for event in operator_events]
    wanted = [(ids[i], payload) for i, payload in enumerate(expected[: len(ids)])
              if payload is not None]
    got = [(event.event_id, event.payload.encode()) for event in viewer_events]
    if got == wanted:
        return complaints
    if [event_id for event_id, _ in got] != [event_id for event_id, _ in wanted]:
        complaints.append(f"the viewer got {len(got)} events where the policy allows "
                          f"{len(wanted)}, or in another order")
    else:
        complaints.append("the viewer got other bytes than the policy leaves")
    return complaints


def projected(layout, role, worker_id, lines):
    """What the policy leaves of each line: bytes, or None when it is withheld."""
    result = subprocess.run(
        [layout.program("projection"), "--explain", str(layout.policy), "--role", role,
         "--runtime", layout.runtime_id, "--worker", worker_id],
        input=b"".join(line + b"\n" for line in lines), capture_output=True, check=True)
    answers = [json.loads(line)["payload"] for line in result.stdout.splitlines()]
    return [None if payload is None else payload.encode() for payload in answers]
