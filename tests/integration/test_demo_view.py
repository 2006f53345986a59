"""What ./demo shows and how --once judges: without processes."""

import io
import json
import sys

import pytest

from pipeline import TOP, sample_stream

sys.path.insert(0, str(TOP / "units/demo"))

from observe import Event, member_text  # noqa: E402
from viewer import WITHHELD, Terminal  # noqa: E402
from whole import operator_complaints, viewer_complaints  # noqa: E402

LINES = sample_stream()


def events(lines):
    return [Event(f"be_{i}", f"bo_{i}", line.decode()) for i, line in enumerate(lines)]


def shown(monkeypatch, columns, operator, viewer):
    monkeypatch.setenv("COLUMNS", str(columns))
    out = io.StringIO()
    terminal = Terminal(out)
    seen_by_viewer = {event.event_id: event for event in viewer}
    for event in operator:
        terminal.add("w", "operator", event)
        if event.event_id in seen_by_viewer:
            terminal.add("w", "viewer", seen_by_viewer[event.event_id])
        terminal.tick()
    terminal.tick(finish=True)
    return out.getvalue()


def words(text):
    return "".join(text.split())


def test_the_sample_run_is_json_with_a_snapshot_first():
    assert 100 <= len(LINES) <= 200
    kinds = [json.loads(line)["event"] for line in LINES]
    assert kinds[0] == "snapshot"
    assert {"thinking_delta", "tool_call_args_delta", "tool_result", "text_done"} <= set(kinds)
    assert any(b"AKIAIOSFODNN7EXAMPLE" in line for line in LINES)


@pytest.mark.parametrize("columns", [160, 100, 99, 60])
def test_both_sides_are_shown_whole_and_within_the_terminal(monkeypatch, columns):
    operator = events(LINES)
    text = shown(monkeypatch, columns, operator, operator)
    assert max(map(len, text.splitlines())) <= columns
    halves = [line.split("│")[-1][22:] for line in text.splitlines()[1:]]
    streamed = "".join(json.loads(line)["data"]["text"] for line in LINES
                       if json.loads(line)["event"] == "text_delta")
    for sentence in streamed.split("."):
        assert words(sentence) in words("".join(halves))


def test_what_a_role_may_not_see_is_said_to_be_withheld(monkeypatch):
    operator = events(LINES)
    viewer = [e for e in operator if not e.kind.startswith("thinking")]
    text = shown(monkeypatch, 160, operator, viewer)
    thinking = [line for line in text.splitlines() if line.startswith("thinking")]
    assert thinking and all(line.endswith(WITHHELD) for line in thinking)
    assert not any(WITHHELD in line for line in text.splitlines() if line.startswith("text"))


def test_a_narrow_terminal_says_once_what_is_the_same_for_both(monkeypatch):
    operator = events(LINES[:3])
    lines = shown(monkeypatch, 80, operator, operator).splitlines()
    assert [line.split("│")[0].strip() for line in lines[1:]] == ["both"] * 3


def test_a_worker_cannot_send_escape_sequences_to_the_terminal(monkeypatch):
    hostile = [b'{"event":"text_delta","data":{"text":"a\\u001b[31mb\\u0007c\\nd"}}',
               b'{"event":"x\\u001b]0;t\\u0007","data":{"n":"\\u001b[2J and more than 24 of it"}}']
    text = shown(monkeypatch, 160, events(hostile), [])
    assert not any(ord(c) < 32 and c != "\n" for c in text)


def test_the_exact_text_of_a_member_is_found_wherever_it_stands():
    payload = '{ "a": [1.10,"}\\"{"], "a":\t2e5 }'
    for text in ('{"envelope":{"payload":%s,"cursor":"c"},"kind":"event"}',
                 ' { "kind" : "event" , "envelope" : {"cursor":"c", "payload" : %s } }'):
        assert member_text(text % payload, "envelope", "payload") == payload


@pytest.mark.parametrize("spoil, word", [
    (lambda lines: lines[:5] + lines[6:], "lost"),
    (lambda lines: lines[:5] + lines[4:], "doubled"),
    (lambda lines: lines[:4] + [lines[5], lines[4]] + lines[6:], "reordered"),
    (lambda lines: lines[:4] + [lines[4].replace(b":", b": ", 1)] + lines[5:], "changed"),
])
def test_once_says_what_became_of_a_run_that_is_not_whole(spoil, word):
    assert operator_complaints(LINES, events(LINES)) == []
    complaints = operator_complaints(LINES, events(spoil(LINES)))
    assert complaints and word in " ".join(complaints)


def test_once_compares_a_viewer_with_what_the_policy_leaves():
    operator = events(LINES)
    expected = [None if b"thinking" in line else line for line in LINES]
    viewer = [e for e in operator if "thinking" not in e.payload]
    assert viewer_complaints(expected, operator, viewer) == []
    assert viewer_complaints(expected, operator, viewer[:-1])
    assert viewer_complaints(expected, operator, operator)
    assert viewer_complaints(expected, operator, viewer[1::-1] + viewer[2:])
    leaked = [Event(e.event_id, e.cursor, e.payload + " ") for e in viewer]
    assert "other bytes" in " ".join(viewer_complaints(expected, operator, leaked))
