"""backend-relay: fail closed. Nothing without a verdict, whatever projection does; then all of it."""

import threading

import pytest

import ws
from fake_runtime import wait_until
from relay import Stage, event

QUICK = {"projection_timeout": "1s"}


@pytest.fixture
def stage(bin_dir):
    with Stage(bin_dir, QUICK) as stage:
        yield stage
        assert stage.relay.is_alive()


def told(client):
    diagnostic = client.diagnostic("backend.projection_unavailable")
    assert not diagnostic["final"] and diagnostic["retry"] == "later"


def test_killed_mid_stream_nothing_is_lost_doubled_or_let_through(stage):
    payloads = stage.fill("w", 200)
    with stage.relay.observe("w") as client:
        client.events(20)
        for round_ in range(10):
            stage.projection.kill()
            more = [event("text_delta", n=1000 * round_ + i) for i in range(50)]
            stage.runtime.append_many("w", more)
            payloads += more
        events = client.events(len(payloads) - 20)
        assert [e.payload_bytes for e in client.all_events()] == payloads
        assert len(events) == len(payloads) - 20
        told_codes = {f["diagnostic"]["code"] for f in client.frames if f["kind"] == "diagnostic"}
        assert told_codes <= {"backend.projection_unavailable"}
        judged = set(stage.projection.payloads)
        assert all(e.payload_bytes in judged for e in client.all_events())


def test_while_it_is_away_nothing_is_delivered_and_clients_are_told(stage):
    stage.fill("w", 5)
    with stage.relay.observe("w") as client, stage.relay.observe("w", "viewer") as viewer:
        client.until_caught_up()
        viewer.until_caught_up()
        stage.projection.stop()
        told(client)
        told(viewer)
        stage.runtime.append("w", event("text_delta", n=9))
        wait_until(lambda: stage.relay.metric("upstream_events_total") >= 6, "the event")
        assert len(client.all_events()) == 5
        stage.projection.start()
        assert client.events(1)[0].payload["data"] == {"n": 9}
        assert viewer.events(1)[0].payload["data"] == {"n": 9}


def test_hung_projection_is_left_for_a_new_one(stage):
    stage.fill("w", 5)
    with stage.relay.observe("w") as client:
        client.until_caught_up()
        stage.projection.holds.clear()
        stage.runtime.append("w", event("text_delta", n=9))
        told(client)
        assert len(client.all_events()) == 5
        stage.projection.holds.set()
        assert client.events(1)[0].payload["data"] == {"n": 9}


def swap(message):
    if message[0] == 35 and len(message[2]) > 1:
        message[2][0], message[2][1] = message[2][1], message[2][0]
    return [message]


def change(**fields):
    """A tampering that replaces parts of each PROJECTED."""
    def tamper(message):
        if message[0] == 35:
            for row in message[2]:
                for index, value in fields.items():
                    row[int(index[1:])] = value
        return [message]
    return tamper


TAMPERINGS = {
    "verdicts in another order": swap,
    "one verdict missing": lambda m: [[m[0], m[1], m[2][:-1]] if m[0] == 35 else m],
    "one too many": lambda m: [[m[0], m[1], m[2] + m[2][-1:]] if m[0] == 35 else m],
    "each twice": lambda m: [m, m] if m[0] == 35 else [m],
    "of another pass": lambda m: [[m[0], m[1] + 1, m[2]] if m[0] == 35 else m],
    "tickets of others": change(_0=77),
    "an unknown verdict": change(_1="perhaps"),
    "a rewrite without a payload": change(_1="rewrite"),
    "a payload with pass": change(_2=b"{}"),
    "a payload that is no text": change(_1="rewrite", _2=b"\xff\xfe"),
    "state in the future": change(_3=1 << 40),
    "not msgpack": lambda m: [b"\xc1"] if m[0] == 35 else [m],
    "a bomb": lambda m: [b"\x91" * 1000] if m[0] == 35 else [m],
    "an error": lambda m: [[15, None, "protocol_error", "no", None]] if m[0] == 35 else [m],
    "a frame of the other direction": lambda m: [[34, 1, []]] if m[0] == 35 else [m],
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_answers_that_can_not_be_right_deliver_nothing(stage, name):
    payloads = stage.fill("w", 5)
    with stage.relay.observe("w") as client:
        client.until_caught_up()
        stage.projection.tamper = TAMPERINGS[name]
        more = [event("text_delta", n=100 + i) for i in range(8)]
        stage.runtime.append_many("w", more)
        told(client)
        heard = [e.payload_bytes for e in client.all_events()]
        assert heard == (payloads + more)[:len(heard)]
        stage.projection.tamper = None
        wait_until(lambda: len(client.all_events()) == 13, "the rest")
        assert [e.payload_bytes for e in client.all_events()] == payloads + more


def test_poisonous_event_is_withheld_after_three_deaths_and_the_stream_goes_on(stage):
    payloads = stage.fill("w", 5)
    stage.projection.die_on = b"poison"
    with stage.relay.observe("w") as client:
        client.until_caught_up()
        with stage.relay.observe("w", "viewer") as viewer:
            viewer.until_caught_up()
            more = [event("text_delta", n=i) for i in range(20)]
            stage.runtime.append_many("w", more[:10] + [event("text_delta", poison=1)] + more[10:])
            withheld = client.diagnostic("backend.event_withheld")
            assert not withheld["final"] and withheld["cursor"].startswith("bo_")
            viewer.diagnostic("backend.event_withheld")
        wait_until(lambda: len(client.all_events()) == 25, "the rest")
        assert [e.payload_bytes for e in client.all_events()] == payloads + more
        at = withheld["cursor"]
    deaths = stage.projection.deaths
    with stage.relay.observe("w", cursor=at) as client:
        assert [e.payload_bytes for e in client.events(10)] == more[10:]
    with stage.relay.observe("w") as late:  # another pass comes to the same event
        late.diagnostic("backend.event_withheld")
        late.until_caught_up()
        assert [e.payload_bytes for e in late.all_events()] == payloads + more
    assert stage.projection.deaths == deaths <= 5
    assert stage.relay.metric("events_poisonous_total") >= 1
    assert "poison" not in stage.relay.output()


def test_stream_that_kills_projection_does_not_hold_up_another(stage):
    stage.fill("bad", 2)
    stage.fill("good", 2)
    stage.projection.die_on = b"poison"
    with stage.relay.observe("bad") as bad, stage.relay.observe("good") as good:
        bad.until_caught_up()
        good.until_caught_up()
        stage.runtime.append("bad", event("text_delta", poison=1))
        told(bad)
        for i in range(10):
            stage.runtime.append("good", event("text_delta", n=i))
            good.events(1)
        bad.diagnostic("backend.event_withheld")


def test_refused_event_is_withheld_and_told(stage):
    stage.fill("w", 2)
    stage.projection.judge = lambda role, payload: \
        ("refused" if b"odd" in payload else "pass", None)
    with stage.relay.observe("w") as client:
        client.until_caught_up()
        stage.runtime.append("w", event("odd"))
        stage.runtime.append("w", event("text_delta", n=9))
        client.diagnostic("backend.event_withheld")
        assert client.events(1)[0].payload["data"] == {"n": 9}


def test_session_without_projection_is_refused_at_once(stage):
    stage.fill("w", 2)
    stage.projection.stop()
    wait_until(lambda: stage.relay.metric("projection_up") == 0, "the loss")
    with stage.relay.observe("w") as client:
        diagnostic = client.diagnostic()
        assert diagnostic["code"] == "backend.projection_unavailable" and diagnostic["final"]
        assert client.closed()[0] == 1013
    with pytest.raises(ws.Refused) as error:
        stage.relay.observe("w", plain=True)
    assert (error.value.status, error.value.code) == (503, "backend.projection_unavailable")
    assert stage.relay.get("/api/runtimes")[:2] == (503, "backend.projection_unavailable")
    stage.projection.start()
    wait_until(lambda: stage.relay.metric("projection_up") == 1, "its return")
    with stage.relay.observe("w") as client:
        client.until_caught_up()


def test_given_up_session_ends(bin_dir):
    with Stage(bin_dir, {**QUICK, "projection_give_up": "500ms"}) as stage:
        stage.fill("w", 2)
        with stage.relay.observe("w") as client:
            client.until_caught_up()
            stage.projection.stop()
            told(client)
            assert client.diagnostic("backend.projection_unavailable")["final"]
            assert client.closed()[0] == 1013


def test_what_a_role_may_not_observe_is_answered_like_what_is_not_there(stage):
    stage.fill("private-1", 2)
    answers = []
    for worker in ("private-1", "nobody"):
        with stage.relay.observe(worker, "viewer") as client:
            client.closed()
            answers.append((client.raw, client.close_code, client.close_reason))
        with pytest.raises(ws.Refused) as error:
            stage.relay.observe(worker, "viewer", plain=True)
        answers.append((error.value.status, error.value.code))
    assert answers[:2] == answers[2:]
    assert stage.runtime.upgrades("private-1") == []  # the runtime was not asked
    with stage.relay.observe("private-1", "nobody") as client:
        assert client.diagnostic()["code"] == "backend.worker_not_found"


def test_role_that_loses_the_stream_mid_session(stage):
    stage.fill("w", 2)
    with stage.relay.observe("w", "viewer") as client, stage.relay.observe("w") as other:
        client.until_caught_up()
        other.until_caught_up()
        stage.projection.may_observe = lambda role, worker_id: role == "operator"
        stage.projection.kill()
        assert client.diagnostic("backend.policy_changed")["final"]
        stage.runtime.append("w", event("text_delta", n=9))
        other.events(1)


def test_open_state_lost_with_projection_is_rebuilt_from_the_log(stage):
    payloads = stage.fill("w", 30)
    first = {}

    def open_since(pass_id, ticket, payload):
        return first.setdefault(pass_id, ticket) if payloads.index(payload) >= 10 else None

    stage.projection.open_since = open_since
    with stage.relay.observe("w") as client, stage.relay.observe("w") as second:
        client.until_caught_up()
        second.until_caught_up()
        stage.projection.kill()
        payloads.append(event("text_delta", n=999))
        stage.runtime.append("w", payloads[-1])
        client.events(1)
        second.events(1)
        for each in (client, second):
            assert [e.payload_bytes for e in each.all_events()] == payloads
        assert payloads[10] in stage.projection.warm


def open_from(payloads, first_open):
    """A fake's open_since: from that event on a block is open in every pass."""
    first = {}

    def open_since(pass_id, ticket, payload):
        is_open = payload not in payloads[:first_open]
        return first.setdefault(pass_id, ticket) if is_open else None
    return open_since


def test_an_answer_that_is_wrong_for_its_payload_leaves_the_state_as_it_was(stage):
    payloads = stage.fill("w", 5)
    stage.projection.open_since = open_from(payloads, 2)
    with stage.relay.observe("w", "viewer") as client:
        client.until_caught_up()

        def tamper(message):  # nothing is open any more, it says, and what it says is no verdict
            if message[0] == 35:
                stage.projection.tamper = None
                message[2][0][1:] = ["rewrite", None, None]
            return [message]
        stage.projection.tamper = tamper
        payloads.append(event("text_delta", n=99))
        stage.runtime.append("w", payloads[-1])
        client.events(1)
        assert [e.payload_bytes for e in client.all_events()] == payloads
        # It goes on in the middle of the block: projection has to know the beginning again.
        assert stage.projection.warm == payloads[2:5]


def test_a_feed_that_begins_in_an_outage_tells_of_the_next_one(stage):
    payloads = stage.fill("w", 5)
    stage.projection.open_since = open_from(payloads, 2)
    with stage.relay.observe("w") as client:
        client.until_caught_up()

        def tamper(message):  # the state is lost, and so is the connection after that
            if message[0] == 33:
                stage.projection.tamper = None
                return [message, b""]
            return [message]
        stage.projection.tamper = tamper
        for n in (100, 101):
            stage.projection.kill()
            told(client)
            stage.runtime.append("w", event("text_delta", n=n))
            client.events(1)


def test_answers_that_change_places_between_two_views_fit_neither(stage):
    stage.fill("w", 5)
    with stage.relay.observe("w") as client, stage.relay.observe("w", "viewer") as viewer:
        client.until_caught_up()
        viewer.until_caught_up()
        kept = []

        def tamper(message):
            if message[0] != 35:
                return [message]
            kept.append(message)
            if len(kept) < 2:
                return []
            stage.projection.tamper = None
            kept[0][2], kept[1][2] = kept[1][2], kept[0][2]
            return kept
        stage.projection.tamper = tamper
        payload = event("tool_result", output="not for a viewer")
        stage.runtime.append("w", payload)
        told(client)
        assert client.events(1)[0].payload_bytes == payload
        assert viewer.events(1)[0].payload["data"]["output"] == "[redacted]"
        assert "not for a viewer" not in "".join(viewer.raw)


def test_a_poisonous_event_is_found_whatever_else_is_asked_meanwhile(stage):
    stage.fill("bad", 2)
    stage.fill("good", 2)
    stage.projection.die_on = b"poison"
    over = threading.Event()

    def publish():
        while not over.wait(0.002):
            stage.runtime.append("good", event("text_delta", n=0))

    def ask():
        while not over.is_set():
            stage.relay.get("/api/runtimes/r0/workers")

    with stage.relay.observe("bad") as bad, stage.relay.observe("good") as good, \
            stage.relay.observe("good", "viewer") as other:
        for client in (bad, good, other):
            client.until_caught_up()
        busy = [threading.Thread(target=work) for work in (publish, ask, ask)]
        for thread in busy:
            thread.start()
        try:
            stage.runtime.append("bad", event("text_delta", poison=1))
            bad.diagnostic("backend.event_withheld")
        finally:
            over.set()
            for thread in busy:
                thread.join()
        # Once among others, and three times alone.
        assert stage.projection.deaths <= 4
        for worker in ("bad", "good"):
            stage.runtime.append(worker, event("status", state="the last"))
        for client in (bad, good, other):
            client.until(lambda f: "status" in str(f.get("envelope")))
