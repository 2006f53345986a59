"""backend-relay: what a client gets, in which order, and from how many upstreams."""

import json

import pytest

from fake_runtime import FakeRuntime, wait_until
from relay import Relay, Stage, event


@pytest.fixture
def stage(bin_dir):
    with Stage(bin_dir) as stage:
        yield stage


def payloads_of(events):
    return [e.payload_bytes for e in events]


def test_late_client_starts_at_the_keyframe_then_hears_the_seam_once(stage):
    stage.fill("w", 5)
    second = stage.fill("w", 20, first=100)
    stage.fill("other", 5)
    with stage.relay.observe("w") as client:
        assert client.frame()["kind"] == "hello"
        history = client.until_caught_up()
        assert payloads_of(history) == second
        live = [event("text_delta", n=i) for i in range(500, 520)]
        stage.runtime.append_many("w", live)
        assert payloads_of(client.events(20)) == live
        assert [f["kind"] for f in client.frames].count("caught_up") == 1
        assert {e.worker_id for e in client.all_events()} == {"w"}
        assert all(f["envelope"]["runtime_id"] == "r0"
                   for f in client.frames if f["kind"] == "event")
        everything = client.all_events()
        assert len({e.event_id for e in everything}) == len({e.cursor for e in everything}) == 40


def test_seam_while_publishing_goes_on_has_no_gap_and_no_repeat(stage):
    payloads = stage.fill("w", 200)
    clients = []
    for i in range(6):
        clients.append(stage.relay.observe("w"))
        more = [event("text_delta", n=1000 * i + j) for j in range(150)]
        stage.runtime.append_many("w", more)
        payloads += more
    for client in clients:
        assert payloads_of(client.events(len(payloads))) == payloads
        client.close()


def live_upstream(stage):
    """The stream's own one, when every catch-up has met it and gone."""
    wait_until(lambda: ["from=newest" in c.path for c in stage.runtime.connections] == [True],
               "one upstream, the live one")
    return stage.runtime.connections[0]


def observe_held(stage):
    """A second client of the stream, whose upstream is still held; (client, upstream)."""
    runtime = stage.runtime
    live_upstream(stage)
    runtime.holds_next = True
    client = stage.relay.observe("w")
    runtime.wait_for(lambda r: len(r.connections) == 2, "the second upstream")
    runtime.holds_next = False
    return client, runtime.connections[1]


def test_client_that_meets_a_live_ring_ahead_of_it_gets_what_is_between(stage):
    payloads = stage.fill("w", 5)
    with stage.relay.observe("w") as first:
        assert payloads_of(first.until_caught_up()) == payloads
        second, upstream = observe_held(stage)
        more = [event("text_delta", n=n) for n in range(100, 110)]
        stage.runtime.append_many("w", more)
        assert payloads_of(first.events(10)) == more
        with second:
            stage.runtime.send_on(upstream, through=8)
            assert payloads_of(second.until_caught_up()) == payloads + more[:3]
            assert payloads_of(second.events(7)) == more[3:]  # its upstream sends no more
            live_upstream(stage)  # alone again
            stage.runtime.append("w", event("text_delta", n=1))
            for client in (first, second):
                assert payloads_of(client.events(1)) == [event("text_delta", n=1)]


def test_client_that_meets_a_live_ring_behind_it_hears_nothing_twice(stage):
    payloads = stage.fill("w", 5)
    with stage.relay.observe("w") as first:
        first.until_caught_up()
        stage.runtime.hold(live_upstream(stage))
        more = [event("text_delta", n=n) for n in range(100, 110)]
        stage.runtime.append_many("w", more)
        with stage.relay.observe("w") as second:
            assert payloads_of(second.until_caught_up()) == payloads + more
            live_upstream(stage)  # alone again: the second one has joined it
            stage.runtime.release()
            stage.runtime.append("w", event("text_delta", n=1))
            assert payloads_of(first.events(11)) == [*more, event("text_delta", n=1)]
            assert payloads_of(second.events(1)) == [event("text_delta", n=1)]


def test_a_live_upstream_that_was_refused_and_is_made_again_leaves_nothing_out(stage):
    """A client that still catches up meets a ring whose upstream has begun anew behind its place."""
    payloads = stage.fill("w", 5)
    runtime = stage.runtime
    with stage.relay.observe("w") as first:
        first.until_caught_up()
        second, upstream = observe_held(stage)
        with second:
            runtime.refuse = (501, {})
            runtime.cut_one(live_of(runtime))
            first.diagnostic("backend.runtime_unsupported")
            runtime.refuse = None
            more = [event("text_delta", n=n) for n in (6, 7)]
            runtime.append_many("w", more)
            with stage.relay.observe("w") as third:
                assert payloads_of(third.until_caught_up()) == payloads + more
                runtime.wait_for(lambda r: live_of(r) is not None, "the new live upstream")
                runtime.send_on(upstream, through=5)
                assert payloads_of(second.until_caught_up()) == payloads
                runtime.release()
                runtime.append("w", event("text_delta", n=8))
                assert payloads_of(second.events(3)) == [*more, event("text_delta", n=8)]
                assert payloads_of(third.events(1)) == [event("text_delta", n=8)]


def live_of(runtime):
    return next((c for c in runtime.connections if "from=newest" in c.path), None)


def test_what_a_hello_calls_newest_need_not_be_where_a_stream_begins(stage):
    """A runtime may look where its log ends, and begin the stream behind what came meanwhile."""
    payloads = stage.fill("w", 5)
    runtime = stage.runtime
    runtime.hello_behind = 2
    runtime.holds_next = True
    with stage.relay.observe("w") as client:
        runtime.wait_for(lambda r: len(r.connections) == 2, "both upstreams")
        live, catch_up = sorted(runtime.connections, key=lambda c: "from=newest" not in c.path)
        runtime.send_on(live)
        runtime.send_on(catch_up, through=3)
        assert payloads_of(client.until_caught_up()) == payloads[:3]
        runtime.release()
        runtime.append("w", event("text_delta", n=1))
        assert payloads_of(client.events(3)) == payloads[3:] + [event("text_delta", n=1)]


def test_all_clients_of_a_stream_share_one_live_upstream(stage):
    stage.fill("w", 10)
    clients = [stage.relay.observe("w", role) for role in ("operator", "viewer", "operator")]
    for client in clients:
        client.until_caught_up()
    stage.runtime.append("w", event("text_delta", n=99))
    for client in clients:
        client.events(1)
    live_upstream(stage)
    newest = [path for path in stage.runtime.upgrades() if "from=newest" in path]
    assert len(newest) == 1
    for client in clients:
        client.close()
    wait_until(lambda: not stage.runtime.connections, "no upstream without clients")


def test_same_event_has_the_same_id_and_cursor_for_every_client_of_a_role(stage):
    stage.fill("w", 10)
    heard = []
    for role in ("operator", "operator", "viewer"):
        with stage.relay.observe("w", role) as client:
            heard.append(client.until_caught_up())
    ids = [[e.event_id for e in events] for events in heard]
    assert ids[0] == ids[1] == ids[2]
    cursors = [[e.cursor for e in events] for events in heard]
    assert cursors[0] == cursors[1]
    assert all(c.startswith("bo_") and len(c) <= 123 for c in cursors[0])
    assert all(i.startswith("be_") for i in ids[0])


def test_ids_and_cursors_outlive_the_relay_and_hold_at_another_one(stage, bin_dir):
    payloads = stage.fill("w", 10)
    with stage.relay.observe("w") as client:
        before = client.until_caught_up()
    other = Relay(bin_dir, stage.projection.path, [stage.runtime], directory=stage.dir)
    with other, other.observe("w", cursor=before[3].cursor) as client:
        after = client.until_caught_up()
    assert payloads_of(after) == payloads[4:]
    assert [(e.event_id, e.cursor) for e in after] == \
        [(e.event_id, e.cursor) for e in before[4:]]


def test_viewer_gets_what_projection_leaves_and_nothing_else(stage):
    stage.runtime.append("w", event("snapshot"), keyframe=True)
    stage.runtime.append("w", event("thinking_delta", text="SECRET"))
    stage.runtime.append("w", event("tool_result", output="SECRET"))
    stage.runtime.append("w", event("text_delta"))
    with stage.relay.observe("w", "viewer") as viewer:
        events = viewer.until_caught_up()
        assert [e.payload["event"] for e in events] == ["snapshot", "tool_result", "text_delta"]
        assert events[1].payload["data"]["output"] == "[redacted]"
        stage.runtime.append("w", event("tool_result", output="SECRET"))
        viewer.events(1)
        assert "SECRET" not in "".join(viewer.raw)
    with stage.relay.observe("w") as operator:
        assert len(operator.until_caught_up()) == 5


def test_plain_client_sees_events_and_diagnostics_only(bin_dir):
    with Stage(bin_dir, {"bookmark_interval": "100ms"}) as stage:
        payloads = stage.fill("w", 5)
        with stage.relay.observe("w") as other, stage.relay.observe("w", plain=True) as client:
            assert client.subprotocol is None
            assert payloads_of(client.events(5)) == payloads
            other.until(lambda frame: frame["kind"] == "bookmark")
            stage.projection.kill()
            client.diagnostic("backend.projection_unavailable")
            stage.runtime.append("w", event("text_delta", n=6))
            client.events(1)
            assert {frame["kind"] for frame in client.frames} == {"event", "diagnostic"}


def bookmark(client):
    return client.until(lambda f: f["kind"] == "bookmark")[-1]["cursor"]


def place_of(stage, cursor):
    """Where a viewer with this cursor, alone at its stream, goes on at the runtime."""
    before = len(stage.runtime.upgrades("w"))
    with stage.relay.observe("w", "viewer", cursor=cursor) as client:
        client.until_caught_up()
    asked = [path for path in stage.runtime.upgrades("w")[before:] if "cursor=" in path]
    return asked[0].split("cursor=")[1].split("&")[0]


def test_bookmarks_move_the_cursor_past_denied_events_and_never_past_an_unjudged_one(bin_dir):
    with Stage(bin_dir, {"bookmark_interval": "100ms"}) as stage:
        stage.fill("w", 1)
        with stage.relay.observe("w", "viewer") as viewer:
            viewer.until_caught_up()
            stage.projection.holds.clear()
            denied = stage.runtime.append("w", event("thinking_delta"))
            stage.runtime.wait_for(lambda r: True)
            held = [bookmark(viewer) for _ in range(3)]
            stage.projection.holds.set()
            wait_until(lambda: stage.relay.metric("events_denied_total") == 1, "the verdict")
            moved = [bookmark(viewer) for _ in range(9)]
        assert {place_of(stage, cursor) for cursor in held} == {stage.runtime.cursor_at(denied - 1)}
        assert place_of(stage, moved[-1]) == stage.runtime.cursor_at(denied)
        stage.runtime.append("w", event("text_delta", n=7))
        for cursor in (held[0], moved[-1]):
            with stage.relay.observe("w", "viewer", cursor=cursor) as viewer:
                assert [e.payload["data"] for e in viewer.events(1)] == [{"n": 7}]


def test_no_two_cursors_show_whether_other_workers_have_published(bin_dir):
    """A place of the log moves with all workers of a runtime, also with those that are hidden."""
    with Stage(bin_dir, {"bookmark_interval": "100ms"}) as stage:
        stage.fill("w", 3)
        places, events = [], []
        for _ in range(2):
            with stage.relay.observe("w", "viewer") as viewer:
                events.append([e.cursor for e in viewer.until_caught_up()])
                places += [f["cursor"] for f in viewer.frames if f["kind"] == "caught_up"]
                places += [bookmark(viewer) for _ in range(3)]
        assert events[0] == events[1]
        assert len(places) == len(set(places)) == 8


def test_many_and_large_events_arrive_unchanged(stage):
    payloads = stage.fill("w", 3000)
    for size in (1000, 70_000, 2_000_000, 8_000_000):
        payloads.append(event("tool_result", output="é" * (size // 2)))
        stage.runtime.append("w", payloads[-1])
    with stage.relay.observe("w") as client:
        assert payloads_of(client.until_caught_up()) == payloads
        payloads.append(event("tool_result", output="x" * 3_000_000))
        stage.runtime.append("w", payloads[-1])
        assert payloads_of(client.events(1)) == payloads[-1:]


def test_odd_but_valid_payloads_are_passed_byte_by_byte(stage):
    odd = [b' {"a":1e400,"a":-0,"\\u0063wd":"\\ud83d\\ude00"}\n', b'{"n":9007199254740993}',
           '{"k":"\u2028 \U0001F600"}'.encode(), b'{ }']
    stage.fill("w", 1)
    for payload in odd:
        stage.runtime.append("w", payload)
    with stage.relay.observe("w") as client:
        client.until_caught_up()
        frames = [raw for raw, frame in zip(client.raw, client.frames) if frame["kind"] == "event"]
    for raw, payload in zip(frames[1:], odd):
        assert raw.encode().endswith(b'"payload":' + payload + b"}}")
        json.loads(raw)


def test_runtime_on_a_unix_socket(bin_dir, tmp_path):
    runtime = FakeRuntime(unix_path=tmp_path / "rt.sock")
    with Stage(bin_dir, runtime=runtime) as stage:
        payloads = stage.fill("w", 3)
        with stage.relay.observe("w") as client:
            assert payloads_of(client.until_caught_up()) == payloads


def test_runtime_by_name(bin_dir):
    with FakeRuntime(token="t") as runtime:
        registry = [{"runtime_id": "here", "url": f"ws://localhost:{runtime.port}/"}]
        runtime.token = None
        with Stage(bin_dir, registry=registry) as stage:
            runtime.append("w", event("snapshot"), keyframe=True)
            with stage.relay.observe("w", runtime_id="here") as client:
                assert payloads_of(client.until_caught_up()) == [event("snapshot")]
            wait_until(lambda: stage.relay.get("/api/runtimes/here/workers/w")[0] == 200, "it")


def test_worker_ids_with_every_allowed_character(stage):
    worker = "aZ09_.:-" + "x" * 120
    payloads = stage.fill(worker, 2)
    for spelling in (worker, worker.replace(":", "%3A").replace("a", "%61")):
        with stage.relay.observe(spelling) as client:
            assert payloads_of(client.until_caught_up()) == payloads


def test_ranges_that_are_missing_are_told_in_their_place(stage):
    stage.fill("w", 3)
    with stage.relay.observe("w") as client:
        client.until_caught_up()
        stage.runtime.append("other", event("text_delta"))
        at = stage.runtime.newest
        stage.runtime.diagnostic("runtime.corrupt", **{"from": stage.runtime.cursor_at(at),
                                                       "to": stage.runtime.cursor_at(at)})
        told = client.diagnostic()
        assert told["code"] == "backend.corrupt" and not told["final"]
        assert told["from"].startswith("bo_") and told["to"].startswith("bo_")
        assert b"" in stage.projection.payloads, "projection has to know that something is missing"
        stage.runtime.append("w", event("text_delta", n=4))
        assert client.events(1)[0].payload["data"] == {"n": 4}
        stage.runtime.diagnostic("runtime.news_of_tomorrow")
        stage.runtime.append("w", event("text_delta", n=5))
        assert client.events(1)[0].payload["data"] == {"n": 5}
        assert "news_of_tomorrow" in stage.relay.output()
    with stage.relay.observe("w", cursor=told["to"]) as client:
        assert [e.payload["data"]["n"] for e in client.events(2)] == [4, 5]
