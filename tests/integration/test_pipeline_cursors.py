"""A cursor is honoured exactly or answered with its code; it is never quietly another position."""

import json
import re
import string

import pytest

from codes import check_refused
from pipeline import Pipeline
from ws import Client

URL_SAFE = string.ascii_letters + string.digits + "-_"
OTHER = "other"
EVENTS = 40


def numbered(i, pad=0):
    return json.dumps({"event": "tick" if i else "snapshot",
                       "data": {"n": i, "pad": "x" * pad}}).encode()


@pytest.fixture(scope="module")
def both(bin_dir):
    """A pipeline whose relay also knows the runtime of a second one."""
    with Pipeline(bin_dir, {"runtime_id": OTHER}) as other:
        entry = {"runtime_id": OTHER, "url": other.info["runtime_url"].replace("http", "ws"),
                 "token_file": str(other.dir / "credentials/runtime.token")}
        with Pipeline(bin_dir, {"runtimes": [entry]}) as pipeline:
            for worker_id in ("w", "v"):
                pipeline.publish(worker_id, map(numbered, range(EVENTS)))
            other.publish("w", map(numbered, range(EVENTS)))
            yield pipeline, other


@pytest.fixture(scope="module")
def pipeline(both):
    return both[0]


@pytest.fixture(scope="module")
def events(pipeline):
    """The stream of "w" as an operator gets it."""
    with pipeline.observe("w") as client:
        return client.until_caught_up()


@pytest.fixture(scope="module")
def records(pipeline):
    """The same at the runtime."""
    with observe_runtime(pipeline, from_="oldest") as client:
        return client.until_caught_up()


def observe_runtime(pipeline, worker_id="w", plain=False, subprotocol="sightline.v1", **query):
    query = "&".join(f"{name.rstrip('_')}={value}" for name, value in query.items())
    return pipeline.observe_runtime(f"/v1/workers/{worker_id}/events/ws?{query}", plain=plain,
                                    subprotocol=subprotocol)


def refused(pipeline, cursor, code, worker_id="w", runtime_id=None, role="operator"):
    """By the relay, in every form of session."""
    for plain in (False, True):
        url = pipeline.client_url(worker_id, runtime_id=runtime_id) + f"?cursor={cursor}"
        with Client(url, token=pipeline.info["tokens"][role],
                    subprotocols=[] if plain else ["sightline.v1"]) as client:
            last = check_refused(client, "backend." + code)
            assert not re.search("wo_[0-9a-f]{8}", json.dumps(last))
    return last


def runtime_refused(pipeline, cursor, code, worker_id="w"):
    for form in ({"plain": True}, {}, {"subprotocol": "sightline.v1.msgpack"}):
        with observe_runtime(pipeline, worker_id, cursor=cursor, **form) as client:
            last = check_refused(client, "runtime." + code)
    return last


def gives(client, payloads):
    with client:
        assert [e.payload_bytes for e in client.until_caught_up()] == list(payloads)


# What is no cursor at all.

NEVER_A_CURSOR = ["", "x", "null", "0", "wo", "%00", "%20", "%C3%BC", "x" * 4000, "%ff%fe", "../..",
                  "%zz", "%2"]


@pytest.mark.parametrize("text", NEVER_A_CURSOR)
def test_what_is_no_cursor_is_malformed_on_both_sides(pipeline, text):
    refused(pipeline, text, "cursor_malformed")
    runtime_refused(pipeline, text, "cursor_malformed")


def test_what_is_almost_a_cursor_of_the_runtime_is_malformed(pipeline, records):
    good = records[5].cursor
    for text in (good[:-1], good + "0", good.upper(), "WO_" + good[3:], good + "%00", good + "%0A",
                 "%20" + good, good.replace("_", "-"), "bo_" + good[3:], good + "," + good,
                 good[:16] + "+" + good[17:], good[:16] + "0x" + good[18:], "be_" + good[3:]):
        runtime_refused(pipeline, text, "cursor_malformed")
    runtime_refused(pipeline, f"{good}&cursor={records[6].cursor}", "cursor_malformed")


def test_what_is_almost_a_cursor_of_a_client_is_malformed(pipeline, events, records):
    good = events[5].cursor
    for text in (good[1:], "BO_" + good[3:], "b" + good[2:], "bo-" + good[3:], good + "=",
                 good + "%3D", good + "%00", good + "%0A", "%20" + good, "bo_" + "A" * 121,
                 "bo_" + "A" * 5000, good[:50] + "%2B" + good[51:], good[:50] + "/" + good[51:],
                 events[5].event_id, records[5].cursor):
        refused(pipeline, text, "cursor_malformed")
    refused(pipeline, f"{good}&cursor={events[6].cursor}", "cursor_malformed")


def test_escapes_of_a_url_do_not_change_a_cursor(pipeline, events, records):
    rest = [e.payload_bytes for e in events[6:]]
    escaped = "".join(f"%{ord(c):02x}" for c in events[5].cursor)
    gives(pipeline.observe("w", cursor=escaped), rest)
    escaped = "".join(f"%{ord(c):02X}" for c in records[5].cursor)
    gives(observe_runtime(pipeline, cursor=escaped), rest)


# Made up and tampered with.

def test_a_made_up_client_cursor_is_unknown(pipeline, events):
    good = events[5].cursor
    for text in ("bo_", "bo_A", "bo_" + "A" * 102, "bo_" + "A" * 120, "bo_" + "_" * 102,
                 good[:-1], good[:-2], good + "A", good[:3] + good[4:],
                 "bo_" + good[3:][::-1]):
        refused(pipeline, text, "cursor_unknown")


@pytest.mark.parametrize("offset", [1, 17, 32, 63])
def test_a_client_cursor_with_any_character_changed_is_unknown(pipeline, events, offset):
    """Offset 1 differs in one bit, in the last character in one that encodes nothing."""
    good = events[7].cursor
    assert re.fullmatch(r"bo_[A-Za-z0-9_-]{1,120}", good)
    for at in range(3, len(good)):
        other = URL_SAFE[(URL_SAFE.index(good[at]) ^ offset) % len(URL_SAFE)]
        url = pipeline.client_url("w", good[:at] + other + good[at + 1 :])
        with Client(url, token=pipeline.info["tokens"]["operator"],
                    subprotocols=["sightline.v1"]) as client:
            check_refused(client, "backend.cursor_unknown")


def test_a_runtime_cursor_with_any_character_changed_is_refused_or_that_position(pipeline, records):
    """It is not sealed: what is another position of the same log is honoured as just that."""
    good = records[-3].cursor
    newest = json.loads(pipeline.eventlogctl("status", "--json").stdout)["newest_seq"]
    for at, c in enumerate(good):
        for other in "0123456789abcdef" + "gG_ ":
            if other == c:
                continue
            text = good[:at] + other + good[at + 1 :]
            with observe_runtime(pipeline, cursor=text.replace(" ", "%20")) as client:
                if not re.fullmatch(r"wo_[0-9a-f]{12}_[0-9a-f]{16}", text):
                    check_refused(client, "runtime.cursor_malformed")
                elif text[:16] != good[:16] or int(text[16:], 16) > newest:
                    check_refused(client, "runtime.cursor_unknown")
                else:
                    assert [e.cursor for e in client.until_caught_up()] == \
                        [r.cursor for r in records if r.cursor > text]


# Of somewhere else.

def test_a_client_cursor_of_another_worker_is_unknown(pipeline, events):
    refused(pipeline, events[5].cursor, "cursor_unknown", worker_id="v")
    with pipeline.observe("v") as client:
        refused(pipeline, client.events(1)[0].cursor, "cursor_unknown")


def test_a_client_cursor_of_another_runtime_is_unknown(both, events):
    pipeline, other = both
    refused(pipeline, events[5].cursor, "cursor_unknown", runtime_id=OTHER)
    with pipeline.observe("w", runtime_id=OTHER) as client:
        theirs = client.until_caught_up()
    refused(pipeline, theirs[5].cursor, "cursor_unknown")
    # The same stream, sealed by another relay with other keys.
    refused(other, theirs[5].cursor, "cursor_unknown")
    gives(pipeline.observe("w", runtime_id=OTHER, cursor=theirs[5].cursor),
          [e.payload_bytes for e in theirs[6:]])


def test_a_runtime_cursor_of_another_log_is_unknown(both, records):
    pipeline, other = both
    runtime_refused(other, records[5].cursor, "cursor_unknown")
    with observe_runtime(other, from_="oldest") as client:
        runtime_refused(pipeline, client.events(1)[0].cursor, "cursor_unknown")


def test_a_runtime_cursor_is_a_place_in_the_whole_log(pipeline, records):
    """That of another worker's event stands before everything of this one that came after."""
    with observe_runtime(pipeline, "v", from_="oldest") as client:
        theirs = client.until_caught_up()
    assert theirs[0].cursor > records[-1].cursor
    gives(observe_runtime(pipeline, "v", cursor=records[5].cursor),
          [e.payload_bytes for e in theirs])
    gives(observe_runtime(pipeline, "w", cursor=theirs[5].cursor), [])


def test_a_cursor_of_another_roles_view_is_told_as_such(pipeline, events):
    refused(pipeline, events[5].cursor, "policy_changed", role="viewer")
    with pipeline.observe("w", role="viewer") as client:
        refused(pipeline, client.events(1)[0].cursor, "policy_changed")


def test_a_refused_cursor_ends_no_other_session(pipeline, events):
    with pipeline.observe("w") as neighbour:
        neighbour.until_caught_up()
        refused(pipeline, events[5].cursor[:-1] + "!", "cursor_malformed")
        refused(pipeline, events[5].cursor[:-1], "cursor_unknown")
        refused(pipeline, events[5].cursor, "cursor_unknown", worker_id="v")
        line = b'{"event":"still here","data":{}}'
        pipeline.publish("w", [line])
        assert neighbour.events(1)[0].payload_bytes == line
        assert all(f["kind"] != "diagnostic" for f in neighbour.frames)
