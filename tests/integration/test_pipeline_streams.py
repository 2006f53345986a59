"""What workers publish arrives at an operator complete, in order and byte for byte."""

import threading

import pytest

from pipeline import Pipeline, recorded_streams, sample_stream

STREAMS = {"sample": sample_stream(), **recorded_streams()}


@pytest.fixture(scope="module")
def pipeline(bin_dir):
    with Pipeline(bin_dir) as pipeline:
        yield pipeline


def check_whole(events, lines, worker_id):
    assert [e.payload_bytes for e in events] == lines
    assert len({e.event_id for e in events}) == len(events)
    assert len({e.cursor for e in events}) == len(events)
    assert {e.worker_id for e in events} == {worker_id}


def test_the_recordings_are_there():
    if not recorded_streams():
        pytest.skip("no recorded streams beside the checkout (SIGHTLINE_SHARED): "
                    "the sample run stands for them")


@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_arrives_byte_for_byte(pipeline, name, tmp_path):
    path = tmp_path / f"{name}.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in STREAMS[name]))
    worker_id = f"one.{name}"
    pipeline.publish_file(worker_id, path)
    for plain in (False, True):
        with pipeline.observe(worker_id, plain=plain) as client:
            events = client.events(len(STREAMS[name]))
        check_whole(events, STREAMS[name], worker_id)
        assert {e.envelope["runtime_id"] for e in events} == {pipeline.runtime_id}


def test_a_plain_client_sees_no_kind_but_event_and_diagnostic(pipeline):
    pipeline.publish("plain", STREAMS["sample"])
    with pipeline.observe("plain", plain=True) as client:
        client.events(len(STREAMS["sample"]))
        assert {frame["kind"] for frame in client.frames} <= {"event", "diagnostic"}


def test_streams_published_at_once_do_not_mix(pipeline):
    """Each with a publisher and a viewer of its own, all running at the same time."""
    failures = []

    def publish(worker_id, lines):
        try:
            pipeline.publish(worker_id, lines)
        except BaseException as error:
            failures.append(error)

    workers = {f"all.{name}": lines for name, lines in STREAMS.items()}
    threads = [threading.Thread(target=publish, args=item) for item in workers.items()]
    followers = {worker_id: pipeline.follow(worker_id) for worker_id in workers}
    for thread in threads:
        thread.start()
    for worker_id, lines in workers.items():
        check_whole(followers[worker_id].until(len(lines)), lines, worker_id)
    for thread in threads:
        thread.join()
    assert not failures
    for follower in followers.values():
        follower.drop()


def test_the_same_event_has_the_same_id_for_every_client(pipeline):
    pipeline.publish("ids", STREAMS["sample"])
    seen = []
    for plain in (True, False):
        with pipeline.observe("ids", plain=plain) as client:
            seen.append([e.event_id for e in client.events(len(STREAMS["sample"]))])
    assert seen[0] == seen[1]


def test_the_runtime_serves_all_workers_in_the_order_of_their_append(pipeline):
    """wsgate's own stream: per worker the same events, under its own cursors."""
    for name in ("x", "y"):
        pipeline.publish(f"runtime.{name}", STREAMS["sample"])
    with pipeline.observe_runtime("/v1/events/ws?from=oldest") as client:
        events = client.until_caught_up()
    assert len({e.cursor for e in events}) == len(events)
    assert all(e.event_id == e.cursor for e in events)
    assert [e.cursor for e in events] == sorted(e.cursor for e in events)
    for name in ("x", "y"):
        mine = [e.payload_bytes for e in events if e.worker_id == f"runtime.{name}"]
        assert mine == STREAMS["sample"]
