"""backend-relay: what the log has lost or damaged is told, wherever a client's position and the
state that belongs to it reach back to."""

import pytest

import planted
from fake_runtime import FakeRuntime, wait_until
from projection import Projection
from relay import Relay, Stage, event

LOST = ("backend.cursor_unknown", 4409)


@pytest.fixture
def stage(bin_dir):
    with Stage(bin_dir) as stage:
        yield stage


def delta(n):
    return event("text_delta", n=n)


def numbers(events):
    return [e.payload["data"]["n"] for e in events]


def open_for_ever(stage):
    """A block is open from the first event of each pass on."""
    begun = {}
    stage.projection.open_since = lambda pass_id, ticket, _: begun.setdefault(pass_id, ticket)


def ends_lost(client):
    diagnostic = client.diagnostic("backend.cursor_unknown")
    assert diagnostic["final"] and (diagnostic["code"], client.closed()[0]) == LOST


def live_alone(stage):
    wait_until(lambda: ["from=newest" in c.path for c in stage.runtime.connections] == [True],
               "one upstream, the live one")
    return stage.runtime.connections[0]


def lose_and_write(stage, after, count):
    """A power loss, behind which others stand in the place of what was lost."""
    stage.runtime.stop()
    stage.runtime.lose(after)
    stage.runtime.append_many("w", [delta(100 + i) for i in range(count)])
    stage.runtime.start()


@pytest.mark.parametrize("written", [0, 3, 7])
def test_a_lost_position_is_unknown_also_when_its_block_began_before_the_loss(stage, written):
    open_for_ever(stage)
    stage.fill("w", 10)
    with stage.relay.observe("w") as client:
        cursor = client.until_caught_up()[-1].cursor
    lose_and_write(stage, 5, written)
    with stage.relay.observe("w", cursor=cursor) as client:
        ends_lost(client)
        assert client.all_events() == []


def test_a_live_client_whose_block_is_open_hears_of_the_loss(stage):
    open_for_ever(stage)
    stage.fill("w", 10)
    with stage.relay.observe("w") as client:
        client.until_caught_up()
        live_alone(stage)
        lose_and_write(stage, 5, 7)
        ends_lost(client)
        assert len(client.all_events()) == 10


def test_a_catch_up_ahead_of_the_live_upstream_hears_of_a_loss_between_them(stage):
    runtime = stage.runtime
    stage.fill("w", 5)
    runtime.holds_next = True
    with stage.relay.observe("w") as client:
        runtime.wait_for(lambda r: len(r.connections) == 2, "both upstreams")
        runtime.holds_next = False
        live, catch_up = sorted(runtime.connections, key=lambda c: "from=newest" not in c.path)
        runtime.send_on(live)
        runtime.append_many("w", [delta(n) for n in range(5, 10)])
        runtime.send_on(catch_up)
        assert numbers(client.until_caught_up()) == list(range(10))
        live_alone(stage)  # the live upstream stands at 5, and the view has 10
        lose_and_write(stage, 5, 7)
        ends_lost(client)
        assert numbers(client.all_events()) == list(range(10))


def test_a_client_that_joined_ahead_hears_of_the_loss_and_the_others_go_on(stage):
    stage.fill("w", 5)
    with stage.relay.observe("w") as behind:
        behind.until_caught_up()
        stage.runtime.hold(live_alone(stage))
        stage.runtime.append_many("w", [delta(n) for n in range(5, 10)])
        with stage.relay.observe("w") as ahead:
            assert numbers(ahead.until_caught_up()) == list(range(10))
            live_alone(stage)
            lose_and_write(stage, 5, 7)
            ends_lost(ahead)
            assert numbers(ahead.all_events()) == list(range(10))
            assert numbers(behind.events(7)) == list(range(100, 107))


def test_damage_within_what_a_resume_feeds_again_stays_between_its_positions(stage):
    """A ring that begins with such a resume does not reach back over the damage."""
    payloads = stage.fill("w", 12)
    begun = {}

    def open_since(pass_id, ticket, payload):
        """From the third event to the eleventh; damage says nothing of it."""
        number = payloads.index(payload) if payload else 5
        if number == 2:
            begun[pass_id] = ticket
        return begun.get(pass_id) if 2 <= number < 11 else None

    stage.projection.open_since = open_since
    with stage.relay.observe("w") as client:
        events = client.until_caught_up()
    wait_until(lambda: not stage.runtime.connections, "no upstream without clients")
    stage.runtime.damage(7, 10)
    stage.projection.warm.clear()
    with stage.relay.observe("w", cursor=events[9].cursor) as late:
        assert [e.payload_bytes for e in late.until_caught_up()] == payloads[10:]
        assert stage.projection.warm == [*payloads[2:6], b"", b"", b"", b""]
        live_alone(stage)
        with stage.relay.observe("w", cursor=events[5].cursor) as early:
            assert early.diagnostic("backend.corrupt")["final"] is False
            assert [e.payload_bytes for e in early.events(2)] == payloads[10:]


def test_a_secret_whose_beginning_is_damaged_is_hidden_from_a_resume_too(bin_dir, tmp_path):
    texts = ["hello ", "-----BEGIN PRIVATE KEY-----\nAAAA", "KEYBODY1", "KEYBODY2", "KEYBODY3"]
    with FakeRuntime() as runtime:
        runtime.append("w", event("snapshot"), keyframe=True)
        for text in texts:
            runtime.append("w", event("text_delta", text=text))
        runtime.damage(3, 3)
        projection = Projection(bin_dir, tmp_path, planted.POLICY)
        projection.client().close()
        relay = Relay(bin_dir, projection.path, [runtime]).start()
        try:
            with relay.observe("w", "viewer") as client:
                whole = client.until_caught_up()
            for i in range(1, len(whole)):
                with relay.observe("w", "viewer", cursor=whole[i].cursor) as client:
                    rest = client.until_caught_up()
                assert [e.payload_bytes for e in rest] == [e.payload_bytes for e in whole[i + 1:]]
            assert b"KEYBODY" not in b"".join(e.payload_bytes for e in whole)
        finally:
            relay.stop()
            projection.stop()
