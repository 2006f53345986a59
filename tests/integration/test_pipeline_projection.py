"""No event reaches a client without projection's answer, and its death costs nothing but time."""

import json
import signal

import pytest

from pipeline import Pipeline

SECRET = "the-marker-that-no-viewer-may-see"
POLICY = """
version: 1
roles:
  operator:
    observe: [{runtime: "*", worker: "*"}]
    events: {allow: ["*"]}
  viewer:
    observe: [{runtime: "*", worker: "*"}]
    events:
      allow: ["*"]
      deny: ["thinking_*"]
    redact:
      - {in: ["tool_result"], path: "data.output", action: mask}
"""
STEP = 300
KINDS = ("snapshot", "text_delta", "thinking_delta", "tool_result")
RESTARTS = 6


@pytest.fixture
def pipeline(bin_dir, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    overrides = {"watchdog_s": 2.0, "backend-relay": {"projection_timeout": "500ms"}}
    with Pipeline(bin_dir, policy=policy, overrides=overrides) as pipeline:
        yield pipeline


def line(i):
    kind = KINDS[0] if i == 0 else KINDS[1 + i % 3]
    data = {"n": i}
    if kind == "thinking_delta":
        data["text"] = SECRET
    elif kind == "tool_result":
        data["output"] = f"{SECRET} {i}"
    return json.dumps({"event": kind, "data": data}, separators=(",", ":")).encode()


def as_viewer(payload):
    """What POLICY leaves, made without our code; None when it is withheld."""
    event = json.loads(payload)
    if event["event"].startswith("thinking"):
        return None
    if event["event"] == "tool_result":
        event["data"]["output"] = "[redacted]"
    return json.dumps(event, separators=(",", ":")).encode()


def check(operator, viewer, lines):
    assert [e.payload_bytes for e in operator.events] == lines
    expected = [(e.event_id, as_viewer(e.payload_bytes)) for e in operator.events]
    assert [(e.event_id, e.payload_bytes) for e in viewer.events] == \
        [(i, p) for i, p in expected if p is not None]


def through_failures(pipeline, fail):
    """Publishes around each failure with both roles watching; returns both, complete."""
    lines = []
    with pipeline.publisher("w") as publisher, pipeline.follow("w") as operator, \
            pipeline.follow("w", role="viewer") as viewer:

        def publish():
            more = [line(len(lines) + i) for i in range(STEP)]
            lines.extend(more)
            publisher.send(*more)

        def both_complete():
            operator.until(len(lines))
            viewer.until(sum(as_viewer(l) is not None for l in lines))

        publish()
        both_complete()
        for follower in (operator, viewer):  # coming before the worker existed is not the matter
            follower.diagnostics.clear()
            follower.sessions = 1
        for _ in range(RESTARTS):
            publish()
            fail(publish)
            publish()
            both_complete()
        check(operator, viewer, lines)
    return operator, viewer


def test_killed_mid_stream_nothing_unprojected_is_delivered_and_nothing_is_lost(pipeline):
    def kill(publish):
        old = pipeline.kill("projection")
        publish()
        pipeline.wait_restarted("projection", old)

    operator, viewer = through_failures(pipeline, kill)
    for follower in (operator, viewer):
        codes = {d["code"] for d in follower.diagnostics}
        assert "backend.projection_unavailable" in codes
        assert [d for d in follower.diagnostics if d.get("final")] == []
        assert follower.sessions == 1  # told, and gone on with


def test_hung_mid_stream_it_is_given_up_and_the_stream_goes_on(pipeline):
    def hang(publish):
        old = pipeline.kill("projection", signal.SIGSTOP)
        publish()
        pipeline.wait_restarted("projection", old)

    operator, viewer = through_failures(pipeline, hang)
    assert any(d["code"] == "backend.projection_unavailable" for d in viewer.diagnostics)
    assert any(d["code"] == "backend.projection_unavailable" for d in operator.diagnostics)


def test_a_viewer_that_comes_back_during_a_failure_gets_exactly_the_rest(pipeline):
    lines = [line(i) for i in range(STEP)]
    pipeline.publish("back", lines)
    with pipeline.follow("back", role="viewer") as viewer:
        viewer.until(50)
        viewer.cut()
        old = pipeline.kill("projection")
        viewer.until(sum(as_viewer(l) is not None for l in lines))
        pipeline.wait_restarted("projection", old)
    assert [e.payload_bytes for e in viewer.events] == \
        [p for p in map(as_viewer, lines) if p is not None]
    assert SECRET.encode() not in b"".join(e.payload_bytes for e in viewer.events)
