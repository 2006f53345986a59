"""Secrets that are split over the pieces of a block, as projection answers for them: none is seen,
nothing else changes, and a reader that begins anywhere gets the same bytes.

A failure prints the seed: SIGHTLINE_SEED=N repeats it.
"""

import json
import os
import random

import pytest

import planted
from projection import Projection

AHEAD = 60  # events compared after each resume point


@pytest.fixture(scope="module")
def client(bin_dir, tmp_path_factory):
    projection = Projection(bin_dir, tmp_path_factory.mktemp("p"), planted.POLICY)
    client = projection.client()
    yield client
    client.close()
    assert projection.stop() == 0, projection.stderr()


@pytest.fixture
def seed():
    return int(os.environ.get("SIGHTLINE_SEED", random.randrange(1 << 32)))


class Pass:
    """One reading position: feeds events by their index, which is their ticket."""

    numbers = iter(range(1, 1 << 30))

    def __init__(self, client, payloads):
        self.client, self.payloads, self.id = client, payloads, next(self.numbers)
        verdict, _ = client.open_pass(self.id, "viewer")
        assert verdict == "allow"

    def feed(self, begin, end, warm=False):
        """[(payload as the role sees it, open_since)]; payloads None when warm."""
        answers = []
        for at in range(begin, end, 256):
            part = range(at, min(at + 256, end))
            answers += self.client.judge(
                self.id, [(i, warm, self.payloads[i]) for i in part])
        return [(None if warm else self.payloads[begin + i] if verdict == "pass" else payload,
                 since) for i, (verdict, payload, since) in enumerate(answers)]

    def close(self):
        self.client.close_pass(self.id)


def one(client, *payloads):
    reading = Pass(client, list(payloads))
    answers = reading.feed(0, len(payloads))
    reading.close()
    return answers


def seen(client, text):
    """The text as the viewer sees it when it comes at once."""
    ((payload, since),) = one(client, planted.encode({"event": "note", "data": {"text": text}}))
    assert since is None
    return json.loads(payload)["data"]["text"]


def without_texts(event):
    member, _ = planted.BLOCKS.get(event["event"], (None, None))
    return {**event, "data": {**event["data"], member: None}} if member else event


@pytest.mark.parametrize("name, events", planted.recorded_streams(), ids=lambda v: v if
                         isinstance(v, str) else "")
def test_planted_secrets_are_not_seen_from_any_resume_point(client, seed, name, events):
    rng = random.Random(f"{seed}{name}")
    events, secrets = planted.plant(rng, events)
    payloads = [planted.encode(event) for event in events]
    live = Pass(client, payloads)
    answers = live.feed(0, len(payloads))
    live.close()
    shown = [json.loads(payload) for payload, _ in answers]
    whole = b"".join(payload for payload, _ in answers).decode()
    assert not [secret for secret in secrets if json.dumps(secret)[1:-1] in whole], seed
    assert [event["event"] for event in shown] == [event["event"] for event in events]
    for event, as_seen in zip(events, shown):
        if event["event"] in planted.BLOCKS:
            assert without_texts(as_seen) == without_texts(event)
    texts = planted.blocks_of(shown)
    for block, text in planted.blocks_of(events).items():
        assert texts[block] == seen(client, text), (seed, block)
    for at in range(len(events)):
        since = answers[at][1]
        resumed = Pass(client, payloads)
        if since is not None:
            warm = resumed.feed(since, at + 1, warm=True)
            assert warm[-1][1] == since or warm[-1][1] is not None
        end = min(at + 1 + AHEAD, len(events))
        assert resumed.feed(at + 1, end) == answers[at + 1:end], (seed, at)
        resumed.close()


def delta(text, **more):
    return planted.encode({"event": "text_delta", "data": {"text": text, **more}})


def texts_of(answers):
    return [json.loads(payload)["data"]["text"] for payload, _ in answers]


def test_an_event_that_is_held_whole_goes_out_with_an_empty_string(client):
    answers = one(client, delta("AKIA"), delta("IOSFODNN7"), delta("EXAMP"), delta("LE !"))
    assert texts_of(answers) == ["AKIA", "", "", "[redacted] !"]
    assert [since for _, since in answers] == [0, 0, 0, None]


def test_held_bytes_join_the_next_piece_when_they_are_no_secret(client):
    answers = one(client, delta("AKIAIOS"), delta("FOD"), delta(", so"), delta("!"))
    assert texts_of(answers) == ["AKIA", "", "IOSFOD, so", "!"]
    assert [since for _, since in answers][:2] == [0, 0] and answers[3][1] is None


def test_a_private_key_is_masked_as_it_comes(client):
    pieces = ["-----BEGIN RSA PRIV", "ATE KEY-----\nMIIE", "abcd\n", "efgh\n", "-----END RSA PRIVA",
              "TE KEY-----", "\nbye !"]
    answers = one(client, *map(delta, pieces))
    assert texts_of(answers) == [pieces[0], "ATE KEY-----[redacted]", "", "", "", "", "\nbye !"]
    assert [since for _, since in answers][-2:] == [0, None]


def test_the_end_of_a_block_forgets_what_was_held(client):
    done = planted.encode({"event": "text_done", "data": {"text": "AKIAIOSFODNN7EXAMPLE"}})
    answers = one(client, delta("AKIAIOSFODNN7"), done, delta("EXAMPLE !"))
    assert texts_of(answers) == ["AKIA", "AKIA[redacted]", "EXAMPLE !"]
    assert [since for _, since in answers] == [0, None, None]


def test_blocks_with_other_keys_do_not_mix(client):
    def args(key, text):
        return planted.encode(
            {"event": "tool_call_args_delta", "data": {"id": key, "json": text}})

    answers = one(client, args("a", "AKIAIOSF"), args("b", "ODNN7"), args("a", "ODNN7EXAMPLE !"),
                  args("k" * 100, "AKIAIOSF"), args("k" * 100, "ODNN7EXAMPLE !"))
    shown = [json.loads(payload)["data"]["json"] for payload, _ in answers]
    assert shown == ["AKIA", "ODNN7", "[redacted] !", "AKIA", "[redacted] !"]


def test_a_reader_that_begins_at_a_snapshot_gets_what_the_others_get(client):
    blocks = [{"kind": "text", "text": "key AKIAIOSF"},
              {"kind": "tool_call", "id": "t", "args": "PASSWORD=abc"}]
    payloads = [
        delta("key AKIAIO"), delta("SF"),
        planted.encode({"event": "snapshot", "data": {"in_flight": {"blocks": blocks}}}),
        delta("ODNN7EX"), delta("AMPLE !"),
        planted.encode({"event": "tool_call_args_delta", "data": {"id": "t", "json": "defghi !"}})]
    live = one(client, *payloads)
    assert one(client, *payloads[2:]) == [(payload, since and since - 2) if since != 0 else None
                                          for payload, since in live[2:]]
    whole = b"".join(payload for payload, _ in live)
    assert b"IOSF" not in whole and b"ODNN" not in whole and b"abc" not in whole
    assert b"def" not in whole


def test_pieces_of_a_command_are_one_text(client):
    def piece(text):
        return planted.encode({"event": "command", "data": {"id": "c", "content": text}})

    result = planted.encode({"event": "tool_result", "data": {"id": "c", "output": "ok"}})
    snapshot = planted.encode({"event": "snapshot", "data": {"in_flight": {"commands": [
        {"id": "c", "content": "$ env\nTOKEN=abcd"}]}}})
    answers = one(client, piece("$ env\nTOK"), piece("EN=abcd"), snapshot, piece("efgh12\n"), result,
                  piece("efgh12\n"))
    shown = [json.loads(answers[i][0])["data"]["content"] for i in (0, 1, 3, 5)]
    assert shown == ["$ env\nTOK", "EN=", "[redacted]\n", "efgh12\n"]
    assert b"abcd" not in answers[2][0]


def test_many_open_blocks_give_up_the_one_that_has_been_open_longest(client):
    def args(key, text):
        return planted.encode(
            {"event": "tool_call_args_delta", "data": {"id": key, "json": text}})

    answers = one(client, *[args(f"k{i}", "AKIAIOSF") for i in range(80)])
    assert [since for _, since in answers] == [0] * 64 + list(range(1, 17))


def test_escapes_hide_no_secret_in_pieces(client):
    answers = one(client, b'{"event":"text_delta","data":{"text":"\\u0041KI\\u0041IOS"}}',
                  b'{"\\u0065vent":"text_\\u0064elta","data":{"t\\u0065xt":"FODNN7EXAMPLE\\n"}}')
    assert texts_of(answers) == ["AKIA", "[redacted]\n"]


def test_a_nested_event_is_judged_alone(client):
    nested = planted.encode({"event": "internal_worker", "data": {
        "event": {"event": "text_delta", "data": {"text": "ODNN7EXAMPLE"}}}})
    answers = one(client, delta("AKIAIOSF"), nested, delta("ODNN7EXAMPLE !"))
    assert answers[1][0] == nested
    assert texts_of([answers[2]]) == ["[redacted] !"]
