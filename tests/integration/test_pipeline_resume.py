"""A viewer that was cut off comes back with its last cursor and gets exactly the rest."""

import json
import signal
import threading

import pytest

from pipeline import PROCESSES, Pipeline, recorded_streams, sample_stream

EVENTS = 3000
AFTER_EACH_RESTART = 200
EVERY_NTH_CURSOR = 9


@pytest.fixture
def pipeline(bin_dir):
    with Pipeline(bin_dir) as pipeline:
        yield pipeline


def numbered(i):
    return json.dumps({"event": "tick" if i else "snapshot",
                       "data": {"n": i, "text": "y" * (i % 150)}}).encode()


def test_every_cursor_of_a_stream_leads_to_exactly_the_rest(pipeline):
    streams = recorded_streams() or {"sample": sample_stream()}
    name, lines = max(streams.items(), key=lambda item: -len(item[1]))
    pipeline.publish(name, lines)
    with pipeline.observe(name) as client:
        events = client.events(len(lines))
    for i in [0, *range(1, len(events), EVERY_NTH_CURSOR), len(events) - 1]:
        with pipeline.observe(name, cursor=events[i].cursor) as client:
            rest = client.until_caught_up()
        assert [e.event_id for e in rest] == [e.event_id for e in events[i + 1 :]]
        assert [e.payload_bytes for e in rest] == lines[i + 1 :]


def test_a_viewer_whose_network_is_cut_again_and_again_misses_nothing(pipeline):
    lines = [numbered(i) for i in range(EVENTS)]
    publishing = threading.Thread(target=pipeline.publish, args=("cut", lines))
    publishing.start()
    with pipeline.follow("cut") as follower:
        for count in range(100, EVENTS, 100):
            follower.until(count)
            follower.cut()
        follower.until(EVENTS)
    publishing.join()
    assert [e.payload_bytes for e in follower.events] == lines
    assert follower.sessions >= EVENTS // 100


class Steady:
    """A publisher that goes on through restarts, in step with the viewer."""

    def __init__(self, pipeline, worker_id):
        self._publisher = pipeline.publisher(worker_id)
        self.lines = []

    def send(self, count):
        more = [numbered(len(self.lines) + i) for i in range(count)]
        self.lines += more
        self._publisher.send(*more)

    def explain(self):
        self._publisher.explain()

    def close(self):
        self._publisher.close()


def through_restarts(pipeline, restarts):
    """Publishes before, during and after each restart with a viewer watching; checks the whole."""
    steady = Steady(pipeline, "through")
    with pipeline.follow("through") as follower:
        for restart in restarts:
            steady.send(AFTER_EACH_RESTART)
            follower.until(len(steady.lines) - AFTER_EACH_RESTART // 2)
            steady.send(AFTER_EACH_RESTART)
            restart()
            steady.send(AFTER_EACH_RESTART)
            try:
                follower.until(len(steady.lines))
            except AssertionError:
                steady.explain()
                pipeline.explain()
                raise
        steady.close()
        cursor = follower.cursor
        assert [e.payload_bytes for e in follower.events] == steady.lines
        assert len({e.event_id for e in follower.events}) == len(steady.lines)
    with pipeline.observe("through", cursor=cursor) as client:
        assert client.until_caught_up() == []
    with pipeline.observe("through") as client:
        assert [e.event_id for e in client.until_caught_up()] == \
            [e.event_id for e in follower.events]


@pytest.mark.parametrize("name", PROCESSES)
def test_nothing_is_lost_or_doubled_when_one_process_is_restarted(pipeline, name):
    through_restarts(pipeline, [
        lambda: pipeline.restart(name, signum=signal.SIGKILL),
        lambda: pipeline.restart(name, signum=signal.SIGTERM),
        lambda: pipeline.restart(name, signum=signal.SIGKILL),
    ])


def test_nothing_is_lost_or_doubled_when_all_are_killed_at_once(pipeline):
    through_restarts(pipeline, [pipeline.restart] * 3)


def test_a_cursor_outlives_all_processes_and_their_addresses(bin_dir):
    with Pipeline(bin_dir) as pipeline:
        lines = [numbered(i) for i in range(300)]
        pipeline.publish("w", lines[:200])
        with pipeline.observe("w") as client:
            before = client.events(100)
        pipeline.stop()
        pipeline.start()
        pipeline.publish("w", lines[200:])
        with pipeline.observe("w", cursor=before[-1].cursor) as client:
            rest = client.until_caught_up()
        assert [e.payload_bytes for e in before + rest] == lines
