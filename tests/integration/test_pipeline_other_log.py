"""Cursors after the log behind them is no longer what it was: new, older, shorter, pruned."""

import json
import shutil
import tempfile

import pytest

from codes import check_last_word, check_refused, items_of
from fake_runtime import wait_until
from pipeline import Pipeline

BEFORE, AFTER = 30, 20
PRUNED_BYTES = 1 << 20


def numbered(i, pad=0):
    return json.dumps({"event": "tick", "data": {"n": i, "pad": "x" * pad}}).encode()


@pytest.fixture
def directory():
    path = tempfile.mkdtemp(prefix="sl-")
    yield path
    shutil.rmtree(path)


def runtime(pipeline, **query):
    query = "&".join(f"{name.rstrip('_')}={value}" for name, value in query.items())
    return pipeline.observe_runtime(f"/v1/workers/w/events/ws?{query}")


def history(client):
    with client:
        return client.until_caught_up()


def both_histories(pipeline):
    return history(pipeline.observe("w")), history(runtime(pipeline, from_="oldest"))


def refused(pipeline, event, record, code):
    """Both cursors are; returns the last words of relay and runtime."""
    words = []
    for plain in (False, True):
        with pipeline.observe("w", cursor=event.cursor, plain=plain) as client:
            words.append(check_refused(client, "backend." + code))
    with runtime(pipeline, cursor=record.cursor) as client:
        return words[0], check_refused(client, "runtime." + code)


def honoured(pipeline, event, record, payloads):
    for client in (pipeline.observe("w", cursor=event.cursor),
                   runtime(pipeline, cursor=record.cursor)):
        assert [e.payload_bytes for e in history(client)] == list(payloads)


def lines(first, count):
    return [numbered(i) for i in range(first, first + count)]


def test_a_cursor_of_an_older_log_is_unknown(bin_dir, directory):
    with Pipeline(bin_dir, directory=directory) as pipeline:
        pipeline.publish("w", lines(0, BEFORE))
        events, records = both_histories(pipeline)
    shutil.rmtree(pipeline.dir / "log")
    with Pipeline(bin_dir, directory=directory) as pipeline:
        # Not even the same place is: the same worker, the same events, the same sequences.
        pipeline.publish("w", lines(0, BEFORE))
        for i in (0, 5, BEFORE - 1):
            refused(pipeline, events[i], records[i], "cursor_unknown")
        new_events, new_records = both_histories(pipeline)
        assert not {e.cursor for e in events} & {e.cursor for e in new_events}
        assert not {e.event_id for e in events} & {e.event_id for e in new_events}
        honoured(pipeline, new_events[5], new_records[5], lines(6, BEFORE - 6))


def test_a_cursor_ahead_of_a_log_that_was_restored_is_unknown(bin_dir, directory):
    with Pipeline(bin_dir, directory=directory) as pipeline:
        pipeline.publish("w", lines(0, BEFORE))
    shutil.copytree(pipeline.dir / "log", pipeline.dir / "backup")
    with Pipeline(bin_dir, directory=directory) as pipeline:
        pipeline.publish("w", lines(BEFORE, AFTER))
        events, records = both_histories(pipeline)
    shutil.rmtree(pipeline.dir / "log")
    (pipeline.dir / "backup").rename(pipeline.dir / "log")
    with Pipeline(bin_dir, directory=directory) as pipeline:
        for i in (BEFORE, BEFORE + AFTER - 1):
            refused(pipeline, events[i], records[i], "cursor_unknown")
        for i in (0, BEFORE - 1):
            honoured(pipeline, events[i], records[i], lines(i + 1, BEFORE - 1 - i))


def test_a_cursor_of_lost_events_stays_unknown_when_others_took_their_numbers(bin_dir, directory):
    """The log as a power cut leaves it: what came after some point is gone, and it goes on."""
    with Pipeline(bin_dir, directory=directory) as pipeline:
        pipeline.publish("w", lines(0, BEFORE))
        shutil.copytree(pipeline.dir / "log", pipeline.dir / "torn")
        pipeline.publish("w", lines(BEFORE, AFTER))
        events, records = both_histories(pipeline)
    shutil.rmtree(pipeline.dir / "log")
    (pipeline.dir / "torn").rename(pipeline.dir / "log")
    with Pipeline(bin_dir, directory=directory) as pipeline:
        others = [json.dumps({"event": "other", "data": {"n": i}}).encode()
                  for i in range(2 * AFTER)]
        for published in (0, AFTER, 2 * AFTER):
            for i in (BEFORE, BEFORE + 7, BEFORE + AFTER - 1):
                refused(pipeline, events[i], records[i], "cursor_unknown")
            for i in (0, BEFORE - 1):
                honoured(pipeline, events[i], records[i],
                         lines(i + 1, BEFORE - 1 - i) + others[:published])
            pipeline.publish("w", others[published : published + AFTER])
        again = history(runtime(pipeline, from_="oldest"))
        assert {r.cursor for r in again} & {r.cursor for r in records} == \
            {r.cursor for r in records[:BEFORE]}


def test_a_session_whose_log_falls_back_under_it_is_ended_with_its_code(bin_dir, directory):
    """Only eventlogd is started again, over an older copy; relay and viewers stay."""
    with Pipeline(bin_dir, directory=directory) as pipeline:
        pipeline.publish("w", lines(0, BEFORE))
        shutil.copytree(pipeline.dir / "log", pipeline.dir / "torn")
        pipeline.publish("w", lines(BEFORE, AFTER))
        client, plain = pipeline.observe("w"), pipeline.observe("w", plain=True)
        with client, plain:
            events = client.until_caught_up()
            assert len(events) == len(plain.events(BEFORE + AFTER))
            (pipeline.dir / "log").rename(pipeline.dir / "away")
            (pipeline.dir / "torn").rename(pipeline.dir / "log")
            pipeline.restart("eventlogd")
            for session in (client, plain):
                close_code, _ = session.closed()
                before, _ = check_last_word(items_of(session), close_code,
                                            "backend.cursor_unknown")
                assert [i["envelope"]["event_id"] for i in before if i["kind"] == "event"] == \
                    [e.event_id for e in events]
        pipeline.publish("w", lines(1000, 1))
        with pipeline.observe("w", cursor=events[BEFORE].cursor) as client:
            check_refused(client, "backend.cursor_unknown")
        with pipeline.observe("w", cursor=events[BEFORE - 1].cursor) as client:
            assert [e.payload_bytes for e in client.until_caught_up()] == lines(1000, 1)


# Pruned.

RETENTION = {"eventlogd": {"max_event_bytes": "64KiB", "segment_bytes": "256KiB",
                           "retention": {"bytes": "1MiB", "keyframe_reserve": "0"}}}


def oldest_of(pipeline):
    return json.loads(pipeline.eventlogctl("status", "--json").stdout)["oldest_seq"]


def publish_until_pruned(pipeline, worker_id, sequence):
    """Publishes noise of this worker until everything up to the sequence is gone."""
    def gone():
        pipeline.publish(worker_id, [numbered(i, pad=2000) for i in range(100)])
        return oldest_of(pipeline) > sequence
    wait_until(gone, "pruning")


def between_prunings(pipeline, look):
    """What look() finds; again if a segment went meanwhile, until the limit is met."""
    while True:
        oldest = oldest_of(pipeline)
        try:
            found = look()
        except AssertionError:
            if oldest_of(pipeline) == oldest:
                raise
            continue
        if oldest_of(pipeline) == oldest:
            return found


def sequence(record):
    return int(record.cursor[16:], 16)


def test_a_pruned_cursor_is_expired_and_told_where_the_log_begins(bin_dir):
    with Pipeline(bin_dir, RETENTION) as pipeline:
        pipeline.publish("w", lines(0, BEFORE))
        events, records = both_histories(pipeline)
        publish_until_pruned(pipeline, "w", sequence(records[-1]))

        def histories():
            for i in (0, BEFORE - 1):
                backend, upstream = refused(pipeline, events[i], records[i], "cursor_expired")
                assert upstream["oldest"].startswith("wo_")
                assert "oldest" not in backend or backend["oldest"].startswith("bo_")
            return [[r.cursor for r in history(client)] for client in
                    (runtime(pipeline, cursor=upstream["oldest"]), runtime(pipeline, from_="oldest"))]

        # `oldest` is honoured, and everything that is retained stands behind it.
        behind_oldest, retained = between_prunings(pipeline, histories)
        assert behind_oldest == retained
        fresh = history(pipeline.observe("w"))
        assert fresh and fresh[0].payload_bytes != lines(0, 1)[0]


def test_an_old_cursor_is_good_while_nothing_of_its_own_worker_was_pruned(bin_dir):
    with Pipeline(bin_dir, RETENTION) as pipeline:
        pipeline.publish("w", lines(0, 2))
        events, records = both_histories(pipeline)
        publish_until_pruned(pipeline, "noisy", sequence(records[-1]))
        refused(pipeline, events[0], records[0], "cursor_expired")
        honoured(pipeline, events[1], records[1], [])
        pipeline.publish("w", lines(2, 3))
        refused(pipeline, events[0], records[0], "cursor_expired")
        honoured(pipeline, events[1], records[1], lines(2, 3))


# Much more than sockets and rings hold between the log and a reader that has stopped to read.
OVERTAKING_EVENTS, OVERTAKING_PAD = 1000, 30000
SMALL = {"eventlogd": {"max_event_bytes": "64KiB", "segment_bytes": "2MiB",
                       "retention": {"bytes": "4MiB", "keyframe_reserve": "0"}},
         "backend-relay": {"view_ring_bytes": "64KiB", "stream_ring_bytes": "64KiB",
                           "client_queue_bytes": "64KiB"}}


@pytest.mark.parametrize("side", ["runtime", "relay"])
def test_a_reader_that_pruning_overtakes_is_told_and_never_skips_silently(bin_dir, side):
    with Pipeline(bin_dir, SMALL) as pipeline:
        pipeline.publish("w", lines(0, 1))
        client = pipeline.observe("w") if side == "relay" else runtime(pipeline, from_="oldest")
        with client:
            client.until_caught_up()
            client.pause()
            pipeline.publish("w", [numbered(i, pad=OVERTAKING_PAD)
                                   for i in range(1, OVERTAKING_EVENTS)])
            wait_until(lambda: oldest_of(pipeline) > OVERTAKING_EVENTS * 3 // 4, "pruning")
            client.resume()
            frames = client.until(
                lambda f: f["kind"] == "diagnostic" and f["diagnostic"]["final"] or
                f["kind"] == "event" and
                f["envelope"]["payload"]["data"]["n"] == OVERTAKING_EVENTS - 1)
    expected, gap_is_told, told = 1, False, []
    for frame in frames:
        if frame["kind"] == "diagnostic":
            told.append(frame["diagnostic"]["code"].split(".")[1])
            gap_is_told = gap_is_told or told[-1] in ("cursor_expired", "pruned")
        elif frame["kind"] == "event":
            n = frame["envelope"]["payload"]["data"]["n"]
            assert n == expected or (gap_is_told and n > expected), f"{n} after {expected - 1}"
            expected, gap_is_told = n + 1, False
    assert "cursor_expired" in told or "pruned" in told, told
    assert expected == OVERTAKING_EVENTS or gap_is_told


def test_keys_rotate_and_a_key_that_is_gone_takes_its_cursors_with_it(bin_dir, directory):
    def relay(*keys):
        return Pipeline(bin_dir, {"backend-relay": {"cursor_keys": list(keys)}},
                        directory=directory)

    with relay("cursor.key") as pipeline:
        pipeline.publish("w", lines(0, BEFORE))
        old = history(pipeline.observe("w"))
    new_key = pipeline.dir / "credentials" / "new.key"
    new_key.write_text("5a" * 32 + "\n")
    new_key.chmod(0o600)
    with relay("new.key", "cursor.key") as pipeline:
        with pipeline.observe("w", cursor=old[5].cursor) as client:
            new = client.until_caught_up()
        assert [e.event_id for e in new] == [e.event_id for e in old[6:]]
        assert not {e.cursor for e in new} & {e.cursor for e in old}
    with relay("new.key") as pipeline:
        with pipeline.observe("w", cursor=new[5].cursor) as client:
            assert [e.event_id for e in client.until_caught_up()] == \
                [e.event_id for e in new[6:]]
        with pipeline.observe("w", cursor=old[5].cursor) as client:
            check_refused(client, "backend.cursor_unknown")
