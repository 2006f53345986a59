"""A viewer that comes without a cursor starts at the newest keyframe and meets the live stream."""

import json
import threading

import pytest

from pipeline import Pipeline

SNAPSHOT_EVERY = 200
BATCH = 20
VIEWERS = 12
LIVE_EVENTS = 150


@pytest.fixture(scope="module")
def pipeline(bin_dir):
    with Pipeline(bin_dir) as pipeline:
        yield pipeline


def numbered(i):
    kind = "snapshot" if i % SNAPSHOT_EVERY == 0 else "tick"
    return json.dumps({"event": kind, "data": {"n": i, "text": "x" * (i % 90)}}).encode()


def numbers(events):
    return [e.payload["data"]["n"] for e in events]


class Counting:
    """Publishes numbered events for as long as a test lasts."""

    def __init__(self, pipeline, worker_id):
        self._publisher = pipeline.publisher(worker_id)
        self._stop = threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.wait(0.005):  # a pace, not a wait for something
            self._publisher.send(*map(numbered, range(self.sent, self.sent + BATCH)))
            self.sent += BATCH

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._publisher.close()


def test_a_fresh_viewer_gets_keyframe_then_all_then_live_while_publishing_goes_on(pipeline):
    with Counting(pipeline, "seam") as counting, pipeline.follow("seam") as first:
        first.until(2 * SNAPSHOT_EVERY)
        for _ in range(VIEWERS):
            before = counting.sent
            with pipeline.observe("seam") as client:
                history = client.until_caught_up()
                after = counting.sent
                live = client.events(LIVE_EVENTS)
                assert sum(f["kind"] == "caught_up" for f in client.frames) == 1
            got = numbers(history + live)
            assert got == list(range(got[0], got[0] + len(got))), "a gap or a repeat"
            assert history and history[0].payload["event"] == "snapshot"
            # The newest one: published and perhaps not yet appended when the viewer came.
            assert before - 2 * SNAPSHOT_EVERY <= got[0] <= after
    with pipeline.observe("seam") as client:
        last = counting.sent - 1
        got = numbers(client.until_caught_up())
        assert got == list(range(last - last % SNAPSHOT_EVERY, last + 1))


def test_a_worker_without_a_keyframe_is_given_from_its_oldest_event(pipeline):
    lines = [numbered(i) for i in range(1, 50)]
    pipeline.publish("no-keyframe", lines)
    with pipeline.observe("no-keyframe") as client:
        assert [e.payload_bytes for e in client.until_caught_up()] == lines


def test_many_viewers_of_one_stream_get_the_same(pipeline):
    lines = [numbered(i) for i in range(1000)]
    pipeline.publish("many", lines[:500])
    clients = [pipeline.observe("many") for _ in range(20)]
    for client in clients:
        assert client.frame()["kind"] == "hello"  # from here on its beginning is fixed
    pipeline.publish("many", lines[500:])
    newest = [numbers(client.events(1))[0] for client in clients]
    assert set(newest) == {400}
    for client in clients:
        events = client.events(599)
        assert numbers(events) == list(range(401, 1000))
        client.close()
