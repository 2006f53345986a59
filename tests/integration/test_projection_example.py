"""The example policy: no marker planted in a sensitive place reaches a viewer, in any of the places
where that value occurs; an operator gets every byte."""

import json
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "units" / "policy.example.yaml"
MARK = "MARKER-7f3a"
KEPT = "kept-5d1c"

# Events of which nothing marked may be left: (name, event).
EVENTS = [
    ("thinking_delta.text", "thinking_delta", {"text": MARK}),
    ("thinking_done.text", "thinking_done", {"text": MARK}),
    ("tool_call_args_delta.json", "tool_call_args_delta", {"id": KEPT, "json": MARK}),
    ("tool_call_done.arguments", "tool_call_done", {"id": KEPT, "arguments": MARK}),
    ("tool_call_done.arguments object", "tool_call_done", {"id": KEPT, "arguments": {"a": MARK}}),
    ("tool_result.summary", "tool_result", {"id": KEPT, "summary": MARK}),
    ("tool_result.output", "tool_result", {"id": KEPT, "output": MARK}),
    ("tool_result.output list", "tool_result", {"id": KEPT, "output": [{"text": MARK}]}),
    ("command.content", "command", {"id": KEPT, "content": MARK}),
    ("command_output.content", "command_output", {"id": KEPT, "content": MARK}),
    ("command_output nested", "command_output", {"id": KEPT, "output": {"content": MARK}}),
    ("error.message", "error", {"code": KEPT, "message": MARK}),
    ("error.error.message", "error", {"code": KEPT, "error": {"message": MARK}}),
    ("llm_retry.error", "llm_retry", {"attempt": KEPT, "error": MARK}),
    ("llm_retry.error object", "llm_retry", {"attempt": KEPT, "error": {"message": MARK}}),
    ("compact_failed.error", "compact_failed", {"id": KEPT, "error": MARK}),
    ("alert.message", "alert", {"level": KEPT, "message": MARK}),
    ("greeting.scope_summary", "snapshot", {"greeting": {"worker_name": KEPT,
                                                         "scope_summary": "rw:/srv/" + MARK}}),
    ("greeting.provider", "snapshot", {"greeting": {"worker_name": KEPT, "provider": MARK}}),
    ("greeting.model", "snapshot", {"greeting": {"worker_name": KEPT, "model": MARK}}),
    ("provider", "llm_call_start", {"id": KEPT, "provider": MARK}),
    ("model", "llm_call_start", {"id": KEPT, "model": MARK}),
    ("file_ref.path", "file_ref", {"id": KEPT, "path": MARK}),
    ("file_ref segment", "user_message", {"segments": [{"kind": "text", "content": KEPT},
                                                       {"kind": "file_ref", "path": MARK}]}),
    ("file_ref member", "user_message", {"id": KEPT, "file_ref": {"path": MARK}}),
    ("completions.entries", "completions", {"id": KEPT, "entries": [MARK, {"path": MARK}]}),
    ("socket_path", "worker_started", {"id": KEPT, "socket_path": MARK}),
    ("sub_socket", "worker_started", {"id": KEPT, "sub_socket": MARK}),
]

# Objects with `kind` as they stand in snapshots and histories.
ITEMS = [
    ("tool_result.output", {"kind": "tool_result", "id": KEPT, "output": MARK}),
    ("tool_result.summary", {"kind": "tool_result", "id": KEPT, "summary": MARK}),
    ("tool_result.content", {"id": KEPT, "content": [{"text": MARK}], "kind": "tool_result"}),
    ("tool_call.arguments", {"kind": "tool_call", "name": KEPT, "arguments": MARK}),
    ("tool_call.args", {"name": KEPT, "args": {"path": MARK}, "kind": "tool_call"}),
    ("reasoning.text", {"kind": "reasoning", "id": KEPT, "text": MARK}),
    ("reasoning.encrypted_content",
     {"kind": "reasoning", "id": KEPT, "encrypted_content": MARK}),
    ("reasoning.signature", {"kind": "reasoning", "id": KEPT, "signature": MARK}),
    ("thinking.text", {"kind": "thinking", "id": KEPT, "text": MARK}),
    ("system_item", {"kind": "system_item", "id": KEPT, "text": MARK, "content": MARK}),
    ("run_errored.message", {"kind": "run_errored", "id": KEPT, "message": MARK}),
    ("run_errored.error", {"kind": "run_errored", "id": KEPT, "error": {"message": MARK}}),
    ("segment_start.system_prompt",
     {"kind": "segment_start", "id": KEPT, "system_prompt": MARK}),
    ("segment_start.config",
     {"kind": "segment_start", "id": KEPT, "config": {"model": MARK, "x": MARK}}),
    ("file_ref.path", {"kind": "user_input", "id": KEPT,
                       "segments": [{"kind": "file_ref", "path": MARK}]}),
]
WRAPPINGS = [
    ("itself", lambda item: item),
    ("assistant_item", lambda item: {"kind": "assistant_item", "item": item}),
    ("history", lambda item: {"kind": "segment_start", "history": [item]}),
    ("message", lambda item: {"kind": "segment_start",
                              "history": [{"kind": "message", "content": [item]}]}),
]
PLACES = [
    ("snapshot.entries", "snapshot", lambda item: {"entries": [item]}),
    ("segment_rotated.entry", "segment_rotated", lambda item: {"entry": item}),
    ("rewind_applied.entries", "rewind_applied", lambda item: {"entries": [item, item]}),
    ("in_flight.blocks", "snapshot", lambda item: {"in_flight": {"blocks": [item]}}),
]
IN_FLIGHT = [
    ("blocks thinking", {"blocks": [{"kind": "thinking", "id": KEPT, "text": MARK}]}),
    ("blocks tool_call", {"blocks": [{"kind": "tool_call", "id": KEPT, "args": MARK}]}),
    ("commands", {"commands": [{"id": KEPT, "content": MARK}]}),
    ("commands output", {"commands": [{"id": KEPT, "output": {"content": MARK}}]}),
    ("commands kind", {"commands": [{"kind": "command", "id": KEPT, "content": MARK}]}),
]


def event(kind, data):
    return {"event": kind, "data": data}


def table():
    """(name, event, whether what is kept must still be there)."""
    live = [(name, event(kind, data)) for name, kind, data in EVENTS]
    live += [(f"in_flight {name}", event("snapshot", {"in_flight": data}))
             for name, data in IN_FLIGHT]
    live += [(f"{place}, {wrapping}: {name}", event(kind, put(wrap(item))))
             for place, kind, put in PLACES for wrapping, wrap in WRAPPINGS
             for name, item in ITEMS]
    nested = [(f"{name} in internal_worker",
               event("internal_worker", {"worker": KEPT, "event": inner}))
              for name, inner in live]
    nested += [(f"{name} in internal_workers",
                event("snapshot", {"id": KEPT, "internal_workers": [{"id": KEPT, "event": inner}]}))
               for name, inner in live]
    return live + nested


def explain(bin_dir, role, lines):
    result = subprocess.run(
        [bin_dir / "projection", "--explain", EXAMPLE, "--role", role, "--runtime", "r",
         "--worker", "w"], input=b"".join(line + b"\n" for line in lines), capture_output=True,
        timeout=60, check=True)
    return [json.loads(line) for line in result.stdout.splitlines()]


def escape_all(text):
    return "".join(f"\\u{ord(c):04x}" for c in text)


def spellings(value):
    """The same event as JSON in more than one way."""
    compact = json.dumps(value, separators=(",", ":"))
    yield compact
    yield json.dumps(value, indent=1).replace("\n", " ")
    escaped = compact
    for word in ("kind", "text", "output", "args", "message", "event", "data"):
        escaped = escaped.replace(f'"{word}"', f'"{escape_all(word)}"')
    yield escaped


def test_no_marker_reaches_a_viewer(bin_dir):
    rows = [(name, text.encode()) for name, value in table() for text in spellings(value)]
    answers = explain(bin_dir, "viewer", [text for _, text in rows])
    assert len(answers) == len(rows)
    for (name, text), answer in zip(rows, answers):
        assert answer["verdict"] in ("rewrite", "deny"), (name, text)
        if answer["payload"] is None:
            continue
        projected = json.loads(answer["payload"])
        assert MARK not in json.dumps(projected), (name, answer["payload"])
        denied_within = "thinking_" in text.decode()
        assert denied_within or KEPT in json.dumps(projected), (name, answer["payload"])


def test_an_operator_gets_every_byte(bin_dir):
    lines = [text.encode() for _, value in table() for text in spellings(value)]
    answers = explain(bin_dir, "operator", lines)
    assert [answer["payload"].encode() for answer in answers] == lines


@pytest.mark.parametrize("path, expected", [
    ("/srv/agents/a/b", "/workspace/a/b"), ("/srv/agents", "/workspace"),
    ("/srv/agents-x", "/srv/agents-x")])
def test_cwd_is_rewritten(bin_dir, path, expected):
    (answer,) = explain(bin_dir, "viewer", [
        json.dumps(event("snapshot", {"greeting": {"cwd": path}})).encode()])
    assert json.loads(answer["payload"])["data"]["greeting"]["cwd"] == expected
