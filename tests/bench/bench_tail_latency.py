"""Tail latency: from a publisher's send to a reader's receipt, at 10,000 events a second, one event
a frame. `limit` is the same pace through one process in between that only reads and writes again.
"""
import json
import subprocess

import corpus
import peers
from peers import tools

RATE = 10_000
SECONDS = 3
QUANTILES = ("p50_us", "p99_us", "p999_us")


def measure(daemon, path, events):
    reader = subprocess.Popen(
        [tools() / "tail_load", daemon.tail_socket, "-", "newest", "1", str(events), "1"],
        stdout=subprocess.PIPE, text=True)
    if reader.stdout.readline().strip() != "ready":
        raise RuntimeError("the reader could not subscribe")
    peers.load("publish_load", daemon.publish_socket, "bench", path, events, 1, 4096, RATE)
    out, _ = reader.communicate(timeout=peers.DEADLINE_S)
    return json.loads(out)


def run(arguments):
    events = RATE * SECONDS
    with peers.scratch() as directory:
        path = directory / "corpus.jsonl"
        corpus.write_repeated(path, len(corpus.lines()[1]))
        for mode in ("interval", "os", "durable"):
            ours, limits = [], []
            with peers.eventlogd(directory / mode, mode) as daemon:
                for _ in range(arguments.runs):
                    ours.append(measure(daemon, path, events))
                    limits.append(peers.load("hop_limit", events, RATE))
            for quantile in QUANTILES:
                value = sorted(run[quantile] for run in ours)[len(ours) // 2]
                limit = sorted(run[quantile] for run in limits)[len(limits) // 2]
                yield {"case": f"{mode}, {quantile[:-3]}", "value": value, "unit": "us",
                       "ratio": {"limit": limit / value}}
