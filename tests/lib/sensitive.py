"""What a viewer may not see: every sensitive field of the shapes that agent runtimes publish, in
every place where it can stand.

A row is (name, event, marker, kept): the marker must not reach a viewer; what is kept must, unless
it is None.
"""

MARK = "MARKER-7f3a"
KEPT = "kept-5d1c"
PREFIX = "/srv/agents"  # of `cwd`, which is rewritten

# ---- events: (field, kind, data) ----

EVENTS = [
    ("thinking_delta.text", "thinking_delta", {"text": MARK}),
    ("thinking_done.text", "thinking_done", {"text": MARK}),
    ("tool_call_args_delta.json", "tool_call_args_delta", {"id": KEPT, "json": MARK}),
    ("tool_call_done.arguments", "tool_call_done", {"id": KEPT, "name": "bash", "arguments": MARK}),
    ("tool_call_done.arguments, object", "tool_call_done",
     {"id": KEPT, "arguments": {"a": [MARK]}}),
    ("tool_result.summary", "tool_result", {"id": KEPT, "summary": MARK, "is_error": False}),
    ("tool_result.output", "tool_result", {"id": KEPT, "output": MARK}),
    ("tool_result.output, list", "tool_result", {"id": KEPT, "output": [{"text": MARK}]}),
    ("tool_result.content", "tool_result", {"id": KEPT, "content": [{"text": MARK}]}),
    ("command.content", "command", {"id": KEPT, "content": MARK}),
    ("command.output", "command", {"id": KEPT, "output": MARK}),
    ("command_output.content", "command_output", {"id": KEPT, "content": MARK}),
    ("command_output.output.content", "command_output", {"id": KEPT, "output": {"content": MARK}}),
    ("command_output.chunk.content", "command_output", {"id": KEPT, "chunk": {"content": MARK}}),
    ("command_done.output", "command_done", {"id": KEPT, "output": MARK}),
    ("error.message", "error", {"code": KEPT, "message": MARK}),
    ("error.detail.message", "error", {"code": KEPT, "detail": {"message": MARK}}),
    ("error.error.message", "error", {"code": KEPT, "error": {"message": MARK}}),
    ("run_errored.message", "run_errored", {"code": KEPT, "message": MARK}),
    ("run_errored.error", "run_errored", {"code": KEPT, "error": {"message": MARK}}),
    ("segment_start.config", "segment_start", {"id": KEPT, "config": {"x": [MARK]}}),
    ("segment_start.system_prompt", "segment_start", {"id": KEPT, "system_prompt": MARK}),
    ("llm_retry.error", "llm_retry", {"attempt": KEPT, "error": MARK}),
    ("llm_retry.error.message", "llm_retry", {"attempt": KEPT, "error": {"message": MARK}}),
    ("compact_failed.error", "compact_failed", {"id": KEPT, "error": MARK}),
    ("alert.message", "alert", {"level": KEPT, "message": MARK}),
    ("file_ref.path", "file_ref", {"id": KEPT, "path": MARK}),
    ("completions.entries", "completions", {"id": KEPT, "entries": [MARK, {"path": MARK}]}),
]

# ---- objects with a `kind`, as entries, items of histories, and blocks in flight are ----

ITEMS = [
    ("tool_result.output", {"kind": "tool_result", "id": KEPT, "output": MARK}),
    ("tool_result.output, list",
     {"id": KEPT, "output": [{"kind": "text", "text": MARK}], "kind": "tool_result"}),
    ("tool_result.summary", {"kind": "tool_result", "id": KEPT, "summary": MARK}),
    ("tool_result.content", {"id": KEPT, "content": [{"text": MARK}], "kind": "tool_result"}),
    ("tool_call.arguments", {"kind": "tool_call", "name": KEPT, "arguments": MARK}),
    ("tool_call.args", {"name": KEPT, "args": {"path": MARK}, "kind": "tool_call"}),
    ("tool_call.input", {"kind": "tool_call", "name": KEPT, "input": {"path": MARK}}),
    ("tool_call.json", {"kind": "tool_call", "name": KEPT, "json": MARK}),
    ("reasoning.text", {"kind": "reasoning", "id": KEPT, "text": MARK}),
    ("reasoning.content", {"kind": "reasoning", "id": KEPT, "content": [{"text": MARK}]}),
    ("reasoning.summary", {"kind": "reasoning", "id": KEPT, "summary": [MARK]}),
    ("thinking.text", {"kind": "thinking", "id": KEPT, "text": MARK}),
    ("system_item.text", {"kind": "system_item", "id": KEPT, "text": MARK}),
    ("system_item.content", {"kind": "system_item", "id": KEPT, "content": [{"text": MARK}]}),
    ("system_item.message", {"kind": "system_item", "id": KEPT, "message": MARK}),
    ("run_errored.message", {"kind": "run_errored", "id": KEPT, "message": MARK}),
    ("run_errored.error", {"kind": "run_errored", "id": KEPT, "error": {"message": MARK}}),
    ("error.message", {"kind": "error", "id": KEPT, "message": MARK}),
    ("alert.message", {"kind": "alert", "id": KEPT, "message": MARK}),
    ("segment_start.config", {"kind": "segment_start", "id": KEPT, "config": {"x": MARK}}),
    ("command.content", {"kind": "command", "id": KEPT, "content": MARK}),
    ("command.output", {"kind": "command", "id": KEPT, "output": MARK}),
    ("user_input file_ref", {"kind": "user_input", "id": KEPT,
                             "segments": [{"kind": "file_ref", "path": MARK}]}),
    ("completions.entries", {"kind": "completions", "id": KEPT, "entries": [{"path": MARK}]}),
    ("member completions", {"kind": "user_input", "id": KEPT, "completions": {"entries": [MARK]}}),
]

# ---- members that are sensitive whatever they stand in ----

MEMBERS = [
    ("encrypted_content", MARK), ("signature", MARK), ("system_prompt", MARK),
    ("system_prompt", [{"kind": "text", "text": MARK}]), ("provider", MARK), ("model", MARK),
    ("model", {"name": MARK}), ("error", MARK), ("error", {"message": MARK}),
    ("scope_summary", "rw:/srv/" + MARK), ("file_ref", {"path": MARK}), ("socket_path", MARK),
    ("sub_socket", MARK)]
HOLDERS = [
    ("an entry", {"kind": "user_input", "id": KEPT}),
    ("a segment_start", {"kind": "segment_start", "id": KEPT}),
    ("a reasoning", {"kind": "reasoning", "id": KEPT}),
    ("no kind", {"id": KEPT}),
]


def member_rows():
    for name, value in MEMBERS:
        for holder, members in HOLDERS:
            yield f"{name} of {holder}", {**members, name: value}, MARK
    for holder, members in HOLDERS:
        yield f"cwd of {holder}", {**members, "cwd": PREFIX + "/w"}, PREFIX


# ---- where such objects stand: events around an object ----

def event(kind, data):
    return {"event": kind, "data": data}


WRAPPINGS = [
    ("", lambda item: item),
    (" in assistant_item", lambda item: {"kind": "assistant_item", "item": item}),
    (" in history", lambda item: {"kind": "segment_start", "history": [item]}),
    (" in message of history", lambda item: {
        "kind": "segment_start", "history": [{"kind": "message", "content": [item]}]}),
]
ENTRIES = [
    ("snapshot.entries", lambda item: event("snapshot", {"entries": [item]})),
    ("segment_rotated.entry", lambda item: event("segment_rotated", {"entry": item})),
    ("rewind_applied.entries",
     lambda item: event("rewind_applied", {"entries": [{"kind": "text"}, item]})),
]
OTHER_PLACES = [
    ("in_flight.blocks", lambda item: event("snapshot", {"in_flight": {"blocks": [item]}})),
    ("in_flight.commands", lambda item: event("snapshot", {"in_flight": {"commands": [item]}})),
    ("greeting", lambda item: event("snapshot", {"greeting": item})),
    ("segments", lambda item: event("user_message", {"segments": [item]})),
    ("data", lambda item: event("worker_started", item)),
]
PLACES = [(place + wrapping, lambda item, put=put, wrap=wrap: put(wrap(item)))
          for place, put in ENTRIES for wrapping, wrap in WRAPPINGS] + OTHER_PLACES
COMMANDS = [{"id": KEPT, "content": MARK}, {"id": KEPT, "output": MARK},
            {"id": KEPT, "output": [{"content": MARK}]},
            {"id": KEPT, "chunks": [{"content": MARK}]}]

# ---- where events stand: themselves and nested in others ----


def inside(nested):
    return event("internal_worker", {"worker": KEPT, "event": nested})


def among(nested):
    return event("snapshot", {"worker_name": KEPT, "internal_workers": [
        {"worker": KEPT, "event": event("status", {})}, {"worker": KEPT, "event": nested}]})


CONTEXTS = [
    ("", lambda it: it),
    (" in internal_worker", inside),
    (" in internal_workers", among),
    (" in internal_worker of internal_worker", lambda it: inside(inside(it))),
    (" in internal_workers of a snapshot in internal_worker", lambda it: inside(among(it))),
    (" in internal_worker in internal_workers", lambda it: among(inside(it))),
]


def live_rows():
    for name, kind, data in EVENTS:
        yield name, event(kind, data), MARK, None if kind.startswith("thinking_") else KEPT
    for place, put in PLACES:
        for name, item in ITEMS:
            yield f"{name}, {place}", put(item), MARK, KEPT
        for name, item, marker in member_rows():
            yield f"{name}, {place}", put(item), marker, KEPT
    for command in COMMANDS:
        yield (f"in_flight.commands {sorted(command)}",
               event("snapshot", {"in_flight": {"commands": [command]}}), MARK, KEPT)


def rows():
    for name, it, marker, kept in live_rows():
        for context, put in CONTEXTS:
            yield name + context, put(it), marker, KEPT if context else kept
