"""The final diagnostics of both WebSockets, a second time: code -> (retry, close code).

    check_refused(client, "backend.cursor_unknown")      # that, its close frame, and nothing else
    refusal(lambda: pipeline.observe("w", plain=True))   # (HTTP status, Sightline-Code)
"""

import json

import msgpack

import ws

FINAL = {
    "runtime.cursor_malformed": ("never", 4400),
    "runtime.cursor_unknown": ("from_keyframe", 4409),
    "runtime.cursor_expired": ("from_keyframe", 4410),
    "runtime.worker_not_found": ("later", 4404),
    "runtime.unavailable": ("later", 1013),
    "runtime.observation_only": ("never", 1008),
    "runtime.going_away": ("now", 1001),
    "backend.cursor_malformed": ("never", 4400),
    "backend.cursor_unknown": ("from_keyframe", 4409),
    "backend.cursor_expired": ("from_keyframe", 4410),
    "backend.policy_changed": ("from_keyframe", 4412),
    "backend.unauthorized": ("never", 4401),
    "backend.session_expired": ("never", 4401),
    "backend.worker_not_found": ("later", 4404),
    "backend.runtime_unavailable": ("later", 1013),
    "backend.runtime_auth_failed": ("later", 1013),
    "backend.runtime_timeout": ("later", 1013),
    "backend.runtime_unsupported": ("never", 1013),
    "backend.malformed_frame": ("later", 1013),
    "backend.upstream_disconnect": ("later", 1013),
    "backend.projection_unavailable": ("later", 1013),
    "backend.stalled": ("now", 1013),
    "backend.observation_only": ("never", 1008),
    "backend.too_many_connections": ("later", 1013),
    "backend.going_away": ("now", 1001),
}


def items_of(client):
    """The frames of a session that has ended, those of binary messages unpacked."""
    items = []
    for frame in client.frames:
        if isinstance(frame, bytes):
            items += msgpack.unpackb(frame, raw=False)
        else:
            items.append(frame)
    return items


def check_last_word(items, close_code, code):
    """That the session ended with this diagnostic and its close code; what came before it."""
    retry, close = FINAL[code]
    assert items and items[-1]["kind"] == "diagnostic", items[-3:]
    last = items[-1]["diagnostic"]
    assert (last["code"], last["final"], last["retry"]) == (code, True, retry), last
    assert last["message"] and isinstance(last["message"], str)
    assert close_code == close, f"closed with {close_code} after {code}"
    return items[:-1], last


def check_refused(client, code):
    """A session that heard nothing but (perhaps) hello before its last word, which is returned."""
    close_code, _ = client.closed()
    before, last = check_last_word(items_of(client), close_code, code)
    kinds = [item["kind"] for item in before]
    assert kinds in ([], ["hello"]), kinds
    assert client.subprotocol or not kinds
    return last


def refusal(connect):
    """(HTTP status, Sightline-Code) of a refused upgrade."""
    try:
        client = connect()
    except ws.Refused as refused:
        return refused.status, refused.code
    client.closed()
    raise AssertionError(f"not refused: {json.dumps(items_of(client))[:500]}")
