"""backend-relay: resuming gives exactly the rest, and a cursor that can't be honoured is told."""

import random
import secrets

import pytest

from fake_runtime import wait_until
from relay import Stage, event


@pytest.fixture
def stage(bin_dir):
    with Stage(bin_dir) as stage:
        yield stage


def refused(stage, cursor, role="operator", worker="w", runtime="r0"):
    """The one diagnostic and the close code that a session with this cursor ends with."""
    with stage.relay.observe(worker, role, runtime_id=runtime, cursor=cursor) as client:
        code, reason = client.closed()
        frames = [f for f in client.frames if f["kind"] != "hello"]
        assert len(frames) == 1, frames
        diagnostic = frames[0]["diagnostic"]
        assert diagnostic["final"] and reason == diagnostic["code"]
        return diagnostic["code"], diagnostic["retry"], code


def cursors_of(stage, worker="w", role="operator"):
    with stage.relay.observe(worker, role) as client:
        return [e.cursor for e in client.until_caught_up()]


def test_resuming_anywhere_gives_exactly_the_rest(stage):
    payloads = stage.fill("w", 60)
    cursors = cursors_of(stage)
    with stage.relay.observe("w") as resident:  # so that the live ring is there for some of them
        resident.until_caught_up()
        for i in range(0, 60, 7):
            with stage.relay.observe("w", cursor=cursors[i]) as client:
                rest = client.until_caught_up()
                assert [e.payload_bytes for e in rest] == payloads[i + 1:]
                assert [e.cursor for e in rest] == cursors[i + 1:]


def test_client_cut_off_at_random_points_misses_and_repeats_nothing(stage):
    seed = secrets.randbits(32)
    print("seed", seed)
    choose = random.Random(seed)
    expected = stage.fill("w", 50)
    heard, cursor = [], None
    while len(heard) < len(expected):
        client = stage.relay.observe("w", cursor=cursor)
        events = client.events(min(choose.randrange(1, 12), len(expected) - len(heard)))
        heard += [e.payload_bytes for e in events]
        cursor = events[-1].cursor
        client.abort()
        if len(expected) < 300:
            more = [event("text_delta", n=len(expected) + i) for i in range(9)]
            stage.runtime.append_many("w", more)
            expected += more
        if choose.randrange(8) == 0:
            stage.runtime.cut()
    assert heard == expected


def test_restart_of_the_relay_costs_nothing(stage, bin_dir):
    payloads = stage.fill("w", 10)
    with stage.relay.observe("w") as client:
        cursor = client.events(4)[-1].cursor
        stage.relay.stop(9)
    stage.relay.start()
    with stage.relay.observe("w", cursor=cursor) as client:
        assert [e.payload_bytes for e in client.until_caught_up()] == payloads[4:]


def test_malformed_cursors(stage):
    stage.fill("w", 3)
    for cursor in ("x", "wo_5eed00010001_0000000000000001", "bo_%00", "bo_a%20b", "bo_a/b",
                   "bo_" + "a" * 121, "BO_abc", "", "%ff", "bo_%zz"):
        assert refused(stage, cursor) == ("backend.cursor_malformed", "never", 4400), cursor


def test_made_up_and_tampered_cursors_are_unknown(stage):
    stage.fill("w", 3)
    good = cursors_of(stage)[1]
    flipped = good[:40] + ("A" if good[40] != "A" else "B") + good[41:]
    for cursor in ("bo_", "bo_abc", "bo_" + "a" * 102, "bo_" + "a" * 120, flipped, good[:-1],
                   good + "A", good[:-1] + ("A" if good[-1] != "A" else "B")):
        assert refused(stage, cursor) == ("backend.cursor_unknown", "from_keyframe", 4409), cursor


def test_cursor_of_another_worker_or_runtime_is_unknown(bin_dir):
    with Stage(bin_dir) as stage:
        registry = stage.dir / "registry.yaml"
        stage.relay.stop()
        registry.write_text(registry.read_text().replace(
            '"runtimes": [', '"runtimes": [{"runtime_id": "r9", "url": "%s", "token_file": '
            '"r0.token"},' % stage.runtime.url))
        stage.relay.start()
        stage.fill("w", 3)
        stage.fill("v", 3)
        cursor = cursors_of(stage)[0]
        unknown = ("backend.cursor_unknown", "from_keyframe", 4409)
        assert refused(stage, cursor, worker="v") == unknown
        assert refused(stage, cursor, runtime="r9") == unknown
        with stage.relay.observe("w", cursor=cursor) as client:
            assert len(client.until_caught_up()) == 2


def test_pruned_position_is_expired(stage):
    stage.fill("w", 20)
    cursors = cursors_of(stage)
    stage.runtime.prune(10)
    assert refused(stage, cursors[4]) == ("backend.cursor_expired", "from_keyframe", 4410)
    with stage.relay.observe("w", cursor=cursors[9]) as client:
        assert len(client.until_caught_up()) == 10


def test_positions_of_another_log_ahead_of_it_and_of_lost_records_are_unknown(stage):
    stage.fill("w", 20)
    cursors = cursors_of(stage)
    unknown = ("backend.cursor_unknown", "from_keyframe", 4409)
    stage.runtime.lose(10)
    assert refused(stage, cursors[15]) == unknown  # ahead
    stage.fill("w", 20)
    assert refused(stage, cursors[15]) == unknown  # numbered again since
    with stage.relay.observe("w", cursor=cursors[5]) as client:
        assert len(client.until_caught_up()) == 24
    stage.runtime.renew()
    stage.fill("w", 40)
    assert refused(stage, cursors[5]) == unknown


def test_lost_records_end_the_sessions_that_have_seen_them_and_no_other(stage):
    stage.fill("w", 10)
    with stage.relay.observe("w") as ahead:
        ahead.until_caught_up()
        stage.runtime.lose(6)
        stage.runtime.append("w", event("text_delta", n=77))
        stage.runtime.cut()
        assert ahead.diagnostic("backend.cursor_unknown")["final"]
        assert ahead.closed()[0] == 4409
    with stage.relay.observe("w") as client:
        assert client.until_caught_up()[-1].payload["data"] == {"n": 77}


def test_cursor_of_a_rotated_key_is_honoured_until_the_key_is_gone(stage):
    stage.fill("w", 10)
    old = cursors_of(stage)[3]

    def restart_with(keys):
        stage.relay.stop()
        config = stage.dir / "backend-relay.yaml"
        text = config.read_text()
        start = text.index('"cursor_keys"')
        end = text.index("]", start) + 1
        config.write_text(text[:start] + f'"cursor_keys": {keys}'.replace("'", '"') + text[end:])
        stage.relay.start()

    (stage.dir / "new.key").write_text(secrets.token_hex(32) + "\n")
    restart_with(["new.key", "cursor.key"])
    with stage.relay.observe("w", cursor=old) as client:
        new = client.until_caught_up()[0].cursor
    restart_with(["new.key"])
    with stage.relay.observe("w", cursor=new) as client:
        assert len(client.until_caught_up()) == 5
    assert refused(stage, old) == ("backend.cursor_unknown", "from_keyframe", 4409)


def test_cursor_of_another_view_is_policy_changed(stage):
    stage.fill("w", 10)
    cursor = cursors_of(stage)[3]
    stage.projection.revision = "revision-2"
    stage.projection.kill()
    wait_until(lambda: stage.relay.metric("projection_connects_total") == 2, "a new connection")
    assert refused(stage, cursor) == ("backend.policy_changed", "from_keyframe", 4412)


def test_sessions_whose_view_changed_end_when_projection_is_back(stage):
    stage.fill("w", 10)
    with stage.relay.observe("w") as client:
        client.until_caught_up()
        stage.projection.revision = "revision-2"
        stage.projection.kill()
        assert client.diagnostic("backend.policy_changed")["retry"] == "from_keyframe"
        assert client.closed()[0] == 4412


def test_open_state_is_fed_again_as_warm_after_a_resume(stage):
    payloads = stage.fill("w", 30)
    block = {}

    def open_since(pass_id, ticket, payload):
        """A block is open from the 11th to the 20th event."""
        number = payloads.index(payload)
        if number == 10:
            block[pass_id] = ticket
        return block.get(pass_id) if 10 <= number < 20 else None

    stage.projection.open_since = open_since
    cursors = cursors_of(stage)
    for i in (5, 9, 10, 15, 18, 19, 20):
        stage.projection.warm.clear()
        with stage.relay.observe("w", cursor=cursors[i]) as client:
            rest = client.until_caught_up()
        assert [e.payload_bytes for e in rest] == payloads[i + 1:]
        assert stage.projection.warm == (payloads[10:i + 1] if 10 <= i < 20 else []), i
    stage.runtime.prune(13)
    with stage.relay.observe("w", cursor=cursors[15]) as client:
        assert client.diagnostic()["code"] == "backend.cursor_expired"
