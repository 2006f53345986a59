"""The keyframe reserve of a running daemon, giving it back, and what retention would do."""

import json
import os
import time

import pytest

from eventlogd import Eventlogd
from frames import ERROR

DEADLINE_S = 30
CONFIG = {"segment_bytes": "256KiB", "max_event_bytes": "64KiB",
          "retention": {"bytes": "2MiB"}}
FORGET = 25


def event(kind, size=0):
    return json.dumps({"event": kind, "data": {"pad": "x" * size}}).encode()


def await_status(server, is_right):
    end = time.monotonic() + DEADLINE_S
    with server.reader() as reader:
        while not is_right(status := reader.status()):
            assert time.monotonic() < end, status
    return status


def publish_noise(server, rounds):
    with server.publisher("noise") as p:
        for _ in range(rounds):
            p.acked("noisy", [event("note", 1000)] * 50)


def cat(server, *arguments):
    """(worker, sequence) of each event that is shown."""
    done = server.ctl("cat", "--json", server.log_dir, *arguments)
    assert done.returncode == 0, done.stderr
    return [(x["worker_id"], x["sequence"]) for x in map(json.loads, done.stdout.splitlines())]


def cats(server, *selections):
    """What cat shows of each, all of one state of the log: retention may still be at work."""
    end = time.monotonic() + DEADLINE_S
    while True:
        before = cat(server)
        shown = [cat(server, *selection) for selection in selections]
        if cat(server) == before:
            return shown
        assert time.monotonic() < end, "the log does not come to rest"


@pytest.fixture(name="server")
def fixture_server(bin_dir):
    with Eventlogd(bin_dir, CONFIG) as running:
        yield running


def test_a_quiet_worker_is_kept_until_it_is_forgotten(server):
    with server.publisher() as p:
        p.acked("quiet", [event("snapshot"), event("note")])
    publish_noise(server, 120)
    status = await_status(server, lambda x: x["reserve_segments"] > 0 and
                          x["allocated_bytes"] <= 2 * 1024 * 1024)
    assert 0 < status["reserve_bytes"] <= status["reserve_bytes_max"] == 512 * 1024
    with server.reader() as reader:
        assert reader.subscribe(["keyframe"], ["quiet"], follow=False)[0] == 1
        assert [x.sequence for x in reader.until_caught_up(verify=True)] == [1, 2]
    everything, both, noisy, quiet = cats(server, [], ["-w", "quiet", "-w", "noisy"],
                                          ["-w", "noisy"], ["-w", "quiet"])
    assert quiet == [("quiet", 1), ("quiet", 2)]
    assert {x[0] for x in noisy} == {"noisy"} and noisy == sorted(noisy, key=lambda x: x[1])
    assert everything == both == quiet + noisy

    done = server.ctl("forget", "quiet", text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("quiet gives back 2 records, ")
    await_status(server, lambda x: x["reserve_segments"] == 0)
    done = server.ctl("forget", "--json", "quiet", text=True)
    assert json.loads(done.stdout) == {
        "worker_id": "quiet", "reserve_records": 0, "reserve_bytes": 0}
    server.stop()
    done = server.ctl("verify", server.log_dir, text=True)
    assert done.returncode == 0, done.stdout


def test_who_is_not_known_and_what_is_no_worker(server):
    done = server.ctl("forget", "nobody", text=True)
    assert done.returncode == 1 and "does not know" in done.stderr
    assert server.ctl("forget").returncode == 2
    assert server.ctl("forget", "not a worker").returncode == 2


def test_several_and_globs(server):
    names = ["build-1", "build-2", "build-20", "test-1", "test-2", "x.y"]
    with server.publisher() as p:
        for name in names:
            p.acked(name, [event("snapshot")])

    def forgotten(*arguments):
        done = server.ctl("forget", "--json", *arguments, text=True)
        assert done.returncode == 0, done.stderr
        return [json.loads(x)["worker_id"] for x in done.stdout.splitlines()]

    assert forgotten("test-2", "build-1") == ["test-2", "build-1"]
    assert forgotten("build-?") == ["build-1", "build-2"]
    assert forgotten("x.y", "*-2") == ["build-2", "test-2", "x.y"]
    assert forgotten("*") == names
    done = server.ctl("forget", "nobody-*", text=True)
    assert done.returncode == 1 and "no such worker" in done.stderr
    assert server.ctl("forget", "build-*", "not a worker").returncode == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to connect as someone else")
def test_only_operators_may_forget(server):
    with server.publisher() as p:
        p.acked("quiet", [event("snapshot")])
    os.chmod(server.tail_socket, 0o666)
    os.seteuid(65534)
    try:
        reader = server.reader()
    finally:
        os.seteuid(0)
    with reader:
        reader.send(FORGET, 7, "quiet")
        reply = reader.receive()
        assert reply[:3] == [ERROR, 7, "permission_denied"], reply
        assert reader.status()["workers"] == 1


def test_a_dry_run_shows_what_would_go_and_changes_nothing(bin_dir):
    with Eventlogd(bin_dir, {**CONFIG, "retention": {}}) as server:
        with server.publisher() as p:
            p.acked("quiet", [event("snapshot"), event("note")])
        publish_noise(server, 60)
        before = server.reader().status()["segments"]
        done = server.ctl("prune", "--dry-run", "--json", "--bytes", "2MiB", server.log_dir,
                          text=True)
        assert done.returncode == 0, done.stderr
        gone = [json.loads(x) for x in done.stdout.splitlines()]
        assert 0 < len(gone) < before and gone[0]["first_seq"] == 1
        assert [x["kept_workers"] for x in gone] == [1] + [0] * (len(gone) - 1)
        assert server.reader().status()["segments"] == before
        done = server.ctl("prune", "-n", "--age", "1d", server.log_dir, text=True)
        assert done.stdout == "0 segments, 0 records, 0 bytes would go\n"
        for arguments in (["--bytes", "2MiB"], ["-n"], ["-n", "--bytes", "much"]):
            assert server.ctl("prune", *arguments, server.log_dir).returncode == 2
