"""As many workers as there may be, and as many again once the first are finished."""

import time

import pytest

from eventlogd import Eventlogd
from frames import ACK, ERROR, NACK, POSITION, POSITION_REPLY

DEADLINE_S = 120
MAX_WORKERS = 16384  # the default
PIPELINE = 512
SNAPSHOT = b'{"event":"snapshot"}'
NOISE = b'{"event":"note","pad":"' + b"x" * 60000 + b'"}'
# Room for the worker table in a footer, and for all keyframes in the reserve.
CONFIG = {"segment_bytes": "8MiB", "max_event_bytes": "64KiB", "durability": "os",
          "retention": {"bytes": "48MiB"}}


def names(prefix):
    return [f"{prefix}-{n:05}" for n in range(MAX_WORKERS)]


def pipelined(publisher, workers, send):
    """The replies to one frame each."""
    replies = []
    for at in range(0, len(workers), PIPELINE):
        some = workers[at:at + PIPELINE]
        for worker in some:
            send(worker)
        replies += [publisher.receive() for _ in some]
    return replies


def publish(server, workers):
    with server.publisher("p") as publisher:
        return pipelined(publisher, workers,
                         lambda x: publisher.send_publish(x, [SNAPSHOT], producer_seq=1))


def positions(server, workers):
    with server.publisher("p") as publisher:
        replies = pipelined(publisher, workers, lambda x: publisher.send(POSITION, 7, x))
    assert {x[0] for x in replies} == {POSITION_REPLY}
    return [x[2] for x in replies]


def known(server):
    found = []
    with server.reader() as reader:
        while True:
            page = reader.workers(found[-1] if found else None, 1000)
            found += [x["worker_id"] for x in page["workers"]]
            if not page["more"]:
                return found


def refused(server, worker):
    with server.publisher("p") as publisher:
        reply = publisher.publish(worker, [SNAPSHOT])
        return reply[0] == NACK and reply[2] == "quota_exceeded"


def await_status(server, is_right, what_to_do=lambda: None):
    end = time.monotonic() + DEADLINE_S
    with server.reader() as reader:
        while not is_right(status := reader.status()):
            assert time.monotonic() < end, status
            what_to_do()
    return status


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_as_many_again_once_the_first_are_finished(bin_dir, kill):
    with Eventlogd(bin_dir, CONFIG) as server:
        def restart():
            if kill:
                server.kill()
                server.start()
            else:
                server.restart()

        first, second = names("a"), names("b")
        assert {x[0] for x in publish(server, first)} == {ACK}
        for _ in range(2):  # it is the log that knows them
            assert refused(server, "b") and known(server) == first
            assert positions(server, first) == [1] * MAX_WORKERS
            restart()
        with server.publisher("noise") as publisher:  # is one of the first
            await_status(server, lambda x: x["reserve_segments"] > 0 and
                         x["pruned_records"] > 0,
                         lambda: [publisher.acked(first[-1], [NOISE]) for _ in range(20)])
        # Kept by the reserve, each with its keyframe, all of them are still there.
        assert refused(server, "b") and known(server) == first
        assert positions(server, first) == [1] * MAX_WORKERS
        with server.reader() as reader:
            assert reader.subscribe(["oldest"], [first[77]], follow=False)[0] != ERROR
            cursor = reader.cursor(reader.until_caught_up()[0])

        done = server.ctl("forget", "a-*", timeout=DEADLINE_S)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(b" gives back 1 records, ") == MAX_WORKERS - 1
        await_status(server, lambda x: x["reserve_segments"] == 0)
        restart()
        assert {x[0] for x in publish(server, second[:-1])} == {ACK}
        for _ in range(2):
            assert refused(server, second[-1])  # the noise is retained
            assert known(server) == [first[-1]] + second[:-1]
            assert positions(server, second) == [1] * (MAX_WORKERS - 1) + [None]
            assert set(positions(server, first[:-1])) == {None}
            with server.reader() as reader:
                reply = reader.subscribe(["cursor", cursor], [first[77]], follow=False)
                assert reply[0] == ERROR and reply[2] == "cursor_expired"
            with server.reader() as reader:
                reader.subscribe(["keyframe"], [second[77]], follow=False)
                assert [x.payload for x in reader.until_caught_up()] == [SNAPSHOT]
            restart()
        server.stop()
        assert server.ctl("verify", server.log_dir, timeout=DEADLINE_S).returncode == 0
