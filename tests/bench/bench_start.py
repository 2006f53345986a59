"""Start after kill -9 in the middle of publishing, with 1 GiB and 10 GiB in the log, mode interval:
from spawning to READY=1, and the memory that it has then. `limit` is what spawning alone takes
(--version).
"""
import os
import pathlib
import statistics
import subprocess
import time

import corpus
import peers
from bench_catch_up import memory_kib, publisher

SIZES_GIB = (1, 10)
BATCH, IN_FLIGHT = 512, 8
WORKERS = 16
EVENTS_BEFORE_KILL = 10_000


def log_bytes(daemon):
    with daemon.reader() as reader:
        return reader.status()["allocated_bytes"]


def newest_seq(daemon):
    with daemon.reader() as reader:
        return reader.status()["newest_seq"]


def fill(daemon, path, target):
    """Publishes until the log has so many bytes, in turn for each of the workers."""
    piece, worker = 1_000_000, 0
    while log_bytes(daemon) < target:
        peers.load("publish_load", daemon.publish_socket, f"worker-{worker % WORKERS}", path, piece,
                   BATCH, IN_FLIGHT)
        worker += 1


def start_after_kill(daemon, path):
    before = newest_seq(daemon)
    live = publisher(daemon, path, subprocess.DEVNULL)
    while newest_seq(daemon) < before + EVENTS_BEFORE_KILL:  # into the middle of it
        assert live.poll() is None, "the publisher ended"
    daemon.kill()
    live.kill()
    live.communicate()
    begun = time.monotonic()
    daemon.start()
    return time.monotonic() - begun


def spawn_seconds():
    binary = pathlib.Path(os.environ["SIGHTLINE_BIN_DIR"]) / "eventlogd"
    begun = time.monotonic()
    subprocess.run([binary, "--version"], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun


def run(arguments):
    with peers.scratch() as directory:
        path = directory / "corpus.jsonl"
        corpus.write_repeated(path, len(corpus.lines()[1]))
        with peers.eventlogd(directory / "log") as daemon:
            for size in SIZES_GIB:
                fill(daemon, path, size << 30)
                taken = statistics.median(
                    start_after_kill(daemon, path) for _ in range(arguments.runs))
                spawn = statistics.median(spawn_seconds() for _ in range(arguments.runs))
                rss, own = memory_kib(daemon)
                yield {"case": f"after kill -9, {size} GiB", "value": taken * 1000, "unit": "ms",
                       "ratio": {"limit": spawn / taken}, "log_bytes": log_bytes(daemon)}
                yield {"case": f"memory of its own then, {size} GiB", "value": own, "unit": "KiB",
                       "rss_kib": rss}
