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


def running(bin_dir, directory, policy):
    projection = Projection(bin_dir, directory, policy)
    client = projection.client()
    yield client
    client.close()
    assert projection.stop() == 0, projection.stderr()


@pytest.fixture(scope="module")
def client(bin_dir, tmp_path_factory):
    yield from running(bin_dir, tmp_path_factory.mktemp("p"), planted.POLICY)


def policy_with(more, **of_blocks):
    policy = json.loads(planted.POLICY)
    blocks = [{**block, **of_blocks} for block in policy["blocks"]]
    return json.dumps({**policy, "blocks": blocks, **more})


@pytest.fixture(scope="module")
def by_name(bin_dir, tmp_path_factory):
    policy = policy_with({"nested_by": ["worker_id", "worker"]})
    yield from running(bin_dir, tmp_path_factory.mktemp("n"), policy)


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


def check_every_resume_point(client, payloads, answers, seed=None):
    for at in range(len(payloads)):
        since = answers[at][1]
        resumed = Pass(client, payloads)
        if since is not None:
            warm = resumed.feed(since, at + 1, warm=True)
            assert warm[-1][1] is not None
        end = min(at + 1 + AHEAD, len(payloads))
        assert resumed.feed(at + 1, end) == answers[at + 1:end], (seed, at)
        resumed.close()


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
    check_every_resume_point(client, payloads, answers, seed)


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


def args(key, text):
    return planted.encode({"event": "tool_call_args_delta", "data": {"id": key, "json": text}})


def test_one_open_block_too_many_masks_every_piece_of_its_rule_until_a_snapshot(client):
    many = [args(f"k{i}", "key AKIAIOSF") for i in range(65)]
    ends = [args(f"k{i}", "ODNN7EXAMPLE !") for i in range(65)]
    snapshot = planted.encode({"event": "snapshot", "data": {"in_flight": {"blocks": [
        {"kind": "tool_call", "id": "k7", "args": "key AKIAIOSF"}]}}})
    payloads = [delta("so far"), *many, delta("AKIAIOSF"), *ends, args("new", "some text"),
                args("new", ""), delta("ODNN7EXAMPLE !"), snapshot,
                args("k7", "ODNN7EXAMPLE !"), args("new", "some words.")]
    answers = one(client, *payloads)
    shown = [json.loads(payload)["data"] for payload, _ in answers]
    assert [data["json"] for data in shown[1:66]] == ["key AKIA"] * 64 + ["[redacted]"]
    assert {data["json"] for data in shown[67:133]} == {"[redacted]"} and shown[133]["json"] == ""
    assert (shown[66]["text"], shown[134]["text"]) == ("AKIA", "[redacted] !")
    assert [data["json"] for data in shown[136:]] == ["[redacted] !", "some words."]
    assert [since for _, since in answers] == [None] + [1] * 134 + [135, None, None]
    check_every_resume_point(client, payloads, answers)


def test_all_blocks_of_a_worker_end_with_its_turn(bin_dir, tmp_path):
    turn_end = {"event": "turn_end", "data": {"turn": 1}}
    payloads = [args("a", "AKIAIOSF"), delta("AKIAIOSF"), nested("a", "AKIAIOSF"),
                nested("b", "AKIAIOSF"), planted.encode(inside("b", turn_end)),
                planted.encode(turn_end), nested("b", "ODNN7EXAMPLE."), nested("a", "ODNN7EXAMPLE."),
                args("a", "ODNN7EXAMPLE."), delta("ODNN7EXAMPLE.")]
    for client in running(bin_dir, tmp_path, policy_with({}, all_done=["x", "turn_*"])):
        answers = one(client, *payloads)
        assert [since for _, since in answers] == [0] * 5 + [2, 2, None, None, None]
        assert [b"[redacted]" in payload for payload, _ in answers[6:]] == [False, True, False, False]
        check_every_resume_point(client, payloads, answers)


def test_blocks_that_end_make_room_for_others(client):
    def done(key):
        return planted.encode({"event": "tool_call_done", "data": {"id": key, "arguments": ""}})

    payloads = [make(f"k{i}") for i in range(300)
                for make in (lambda key: args(key, "AKIAIOSF"), done)]
    answers = one(client, *payloads)
    assert {json.loads(payload)["data"].get("json") for payload, _ in answers} == {"AKIA", None}
    assert [since for _, since in answers] == [None if i % 2 else i for i in range(600)]


@pytest.mark.parametrize("member, held, shown", [
    ("rest", ["AKIAIOSF"], "IOSF"), ("rest", ["the pass", "word: hu\u00e9"], "hu\u00e9"),
    ("rest", ["AKIA", "IOSFODNN7EXAMPLE"], None), ("rest", ["plain"], None),
    ("rest", ["eyJ" + "a" * 5000], None), ("deep.rest", ["AKIAIOSF"], "IOSF"),
    ("missing.rest", ["AKIAIOSF"], None), ("list.rest", ["AKIAIOSF"], None),
    ("there", ["AKIAIOSF"], None), ("masked", ["AKIAIOSF"], None)])
def test_what_was_held_back_goes_where_the_policy_wants_it(bin_dir, tmp_path, member, held, shown):
    policy = json.loads(policy_with({}, rest="data." + member))
    policy["roles"]["viewer"]["redact"].append(
        {"in": ["*"], "path": "**.masked", "action": "truncate", "truncate": 9})
    done = {"event": "text_done", "data": {"there": 1, "list": [], "deep": {}}}
    for client in running(bin_dir, tmp_path, json.dumps(policy)):
        *_, (payload, since) = one(client, *map(delta, held), planted.encode(done))
        assert since is None
        if shown is not None:
            place = done["data"]["deep"] if member.startswith("deep") else done["data"]
            place["rest"] = shown
        assert json.loads(payload) == done
        nested = [planted.encode(inside("a", json.loads(event)))
                  for event in (*map(delta, held), planted.encode({**done, "data": {
                      **done["data"], "deep": {}, "rest": 1}}))]
        *_, (payload, since) = one(client, *nested)
        assert since is None and (b"IOSF" in payload) == (shown == "IOSF" and "deep" in member)


def test_a_rest_is_not_shown_where_another_rule_works_on_the_pieces(bin_dir, tmp_path):
    policy = json.loads(policy_with({}, rest="data.rest"))
    policy["roles"]["viewer"]["redact"].append(
        {"in": ["text_delta"], "path": "data.text", "action": "truncate", "truncate": 3})
    done = planted.encode({"event": "text_done", "data": {}})
    for client in running(bin_dir, tmp_path, json.dumps(policy)):
        assert one(client, delta("AKIAIOSF"), done)[1] == (done, None)


def test_escapes_hide_no_secret_in_pieces(client):
    answers = one(client, b'{"event":"text_delta","data":{"text":"\\u0041KI\\u0041IOS"}}',
                  b'{"\\u0065vent":"text_\\u0064elta","data":{"t\\u0065xt":"FODNN7EXAMPLE\\n"}}')
    assert texts_of(answers) == ["AKIA", "[redacted]\n"]


def inside(worker, event, **more):
    return {"event": "internal_worker", "data": {"worker": worker, **more, "event": event}}


def nested(worker, text, **more):
    return planted.encode(inside(worker, {"event": "text_delta", "data": {"text": text}}, **more))


def nested_texts(answers):
    return [json.loads(payload)["data"]["event"]["data"]["text"] for payload, _ in answers]


def test_pieces_in_nested_events_are_texts_of_their_workers(client, by_name):
    payloads = [nested("a", "AKIAIOSF"), nested("b", "plain, AKIA"), nested("a", "ODNN7"),
                nested("b", "!"), nested("a", "EXAMPLE !"), nested("b", "ODNN7EXAMPLE")]
    for each in (client, by_name):
        answers = one(each, *payloads)
        assert nested_texts(answers) == ["AKIA", "plain, AKIA", "", "!", "[redacted] !",
                                         "ODNN7EXAMPLE"]
        assert [since for _, since in answers] == [0, 0, 0, 0, None, None]
        check_every_resume_point(each, payloads, answers)


def test_a_nested_event_is_of_another_text_than_the_stream(client):
    answers = one(client, delta("AKIAIOSF"), nested("a", "ODNN7EXAMPLE"), delta("ODNN7EXAMPLE !"))
    assert nested_texts(answers[1:2]) == ["ODNN7EXAMPLE"]
    assert texts_of([answers[2]]) == ["[redacted] !"]


def test_a_worker_of_a_worker_is_another_one(client, by_name):
    def twice(text):
        return planted.encode(inside("a", json.loads(nested("a", text))))

    for each in (client, by_name):
        answers = one(each, nested("a", "AKIAIOSF"), twice("AKIAIOSF"), nested("a", "ODNN7EXAMPLE"),
                      twice("ODNN7EXAMPLE"))
        assert [b"[redacted]" in payload for payload, _ in answers] == [False, False, True, True]
        assert not [payload for payload, _ in answers if b"IOSF" in payload or b"ODNN" in payload]


def test_nested_by_looks_at_the_members_that_it_names_alone(client, by_name):
    payloads = [nested("a", "AKIAIOSF", status="busy"), nested("a", "ODNN7EXAMPLE", status="idle")]
    assert nested_texts(one(by_name, *payloads)) == ["AKIA", "[redacted]"]
    assert nested_texts(one(client, *payloads)) == ["AKIA", "ODNN7EXAMPLE"]
    above = [planted.encode({"event": "internal_worker", "worker": 7, "at": at, "data": {
        "list": [{"event": "text_delta", "data": {"text": text}}]}})
        for at, text in (("1", "AKIAIOSF"), ("2", "ODNN7EXAMPLE"))]
    assert b"ODNN" not in one(by_name, *above)[1][0]


def test_the_end_of_a_nested_block_forgets_what_was_held(client):
    done = planted.encode(inside("a", {"event": "text_done", "data": {"text": "AKIAIOSF"}}))
    answers = one(client, nested("a", "AKIAIOSF"), nested("b", "AKIAIOSF"), done,
                  nested("a", "ODNN7EXAMPLE"), nested("b", "ODNN7EXAMPLE"))
    assert nested_texts(answers[3:]) == ["ODNN7EXAMPLE", "[redacted]"]


def test_a_reader_that_begins_at_a_snapshot_of_workers_gets_what_the_others_get(by_name):
    def snapshot_of(worker, text):
        return {"worker": worker, "event": {"event": "snapshot", "data": {
            "in_flight": {"blocks": [{"kind": "text", "text": text}]}}}}

    whole = {"event": "snapshot", "data": {"id": "s", "internal_workers": [
        snapshot_of("a", "key AKIAIOSF"), snapshot_of("b", "none")]}}
    payloads = [nested("a", "key AKIAIO"), nested("a", "SF"), nested("b", "AKIA"),
                planted.encode(whole), nested("a", "ODNN7EX"), nested("b", "ODNN7EXAMPLE"),
                planted.encode(inside("a", snapshot_of("a", "key AKIAIOSFODNN7EX")["event"])),
                nested("a", "AMPLE !")]
    live = one(by_name, *payloads)
    assert nested_texts(live[4:6] + live[7:]) == ["", "ODNN7EXAMPLE", "[redacted] !"]
    assert b"IOSF" not in b"".join(payload for payload, _ in live)
    assert one(by_name, *payloads[3:]) == [(payload, since if since is None else since - 3)
                                           for payload, since in live[3:]]
    check_every_resume_point(by_name, payloads, live)


def test_a_piece_too_many_in_an_event_gives_the_rule_up(client):
    nested = planted.encode({"event": "note", "data": {"list": [
        {"id": f"w{i}", "event": {"event": "text_delta", "data": {"text": "plain"}}}
        for i in range(70)]}})
    twice = b'{"event":"text_delta","data":{' + b",".join([b'"text":"plain"'] * 70) + b"}}"
    snapshot = planted.encode({"event": "snapshot", "data": {}})
    for event, plain in ((nested, 64), (twice, 0)):
        payloads = [event, delta("plain"), args("k", "plain."), snapshot, delta("plain.")]
        answers = one(client, *payloads)
        assert answers[0][0] == event.replace(b"plain", b"[redacted]").replace(
            b"[redacted]", b"plain", plain)
        assert texts_of(answers[1:2] + answers[4:]) == ["[redacted]", "plain."]
        assert [since for _, since in answers] == [0, 0, 0, None, None]
        check_every_resume_point(client, payloads, answers)


def test_nothing_is_shown_of_a_text_that_goes_on_behind_a_missing_event(client):
    snapshot = planted.encode({"event": "snapshot", "data": {}})
    payloads = [delta("key AKIAIO"), b"", delta("ODNN7EXAMPLE"), snapshot, delta("plain")]
    answers = one(client, *payloads)
    assert texts_of([answers[0], answers[2], answers[4]]) == ["key AKIA", "[redacted]", "plain"]
    assert answers[1][0] is None
    check_every_resume_point(client, payloads, answers)


def test_a_kind_that_can_be_read_in_two_ways_is_a_piece(client):
    twice = b'{"event":"note","event":"text_delta","data":{"text":"ODNN7EXAMPLE"}}'
    typed = b'{"event":1,"type":"text_delta","data":{"text":"AKIAIOSF"}}'
    answers = one(client, typed, twice)
    assert b"IOSF" not in answers[0][0] and b"ODNN" not in answers[1][0]


@pytest.mark.parametrize("name, events", planted.recorded_streams()[:4] + planted.recorded_streams(
    )[-1:], ids=lambda v: v if isinstance(v, str) else "")
def test_planted_secrets_of_nested_workers_are_not_seen(client, by_name, seed, name, events):
    rng = random.Random(f"{seed}{name}")
    left, secrets = planted.plant(rng, events[:400])
    right, more = planted.plant(rng, events[:400])
    both = [inside(worker, event) for pair in zip(left, right)
            for worker, event in zip("ab", pair)]
    payloads = [planted.encode(event) for event in both]
    for each in (client, by_name):
        live = Pass(each, payloads)
        answers = live.feed(0, len(payloads))
        live.close()
        whole = b"".join(payload for payload, _ in answers).decode()
        assert not [secret for secret in secrets + more
                    if json.dumps(secret)[1:-1] in whole], seed
        assert "[redacted]" in whole
    check_every_resume_point(by_name, payloads, answers, seed)
