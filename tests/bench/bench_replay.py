"""Replay: a retained log to one tail reader, which verifies every record.

`all`: every worker, from the oldest record; beside JetStream's ordered consumer, Redis XRANGE in
pages of 1,000 and SQLite's SELECT in the reader's own process, over the same events. `limit` is sendfile of the log's own bytes over a Unix socket.
`one worker in a hundred`: a worker with 1 % of the records, found through the index; the row tells
what share of the log's bytes was read for it.
"""
import contextlib

import corpus
import peers
from bench_append import IN_FLIGHT, REDIS_PIPELINE, medians, rate, ratio

BATCH = 512
REDIS_PAGE = 1000
SHARE = 100


def page_bytes_touched(daemon):
    """Bytes of the segments that the daemon has mapped in, by its own page tables."""
    total, counts = 0, False
    with open(f"/proc/{daemon.process.pid}/smaps", encoding="ascii") as maps:
        for line in maps:
            if "-" in line.split(" ", 1)[0] and not line.split(" ", 1)[0].endswith(":"):
                counts = line.rstrip().endswith(".seg")
            elif counts and line.startswith("Rss:"):
                total += int(line.split()[1]) * 1024
    return total


def tail(daemon, worker="-"):
    return peers.load("tail_load", daemon.tail_socket, worker, "oldest", 0, 0, 1)


def measure_all(arguments, directory, found, events, path):
    """One row: the log and its peers are filled once and read round by round."""
    results = {"ours": [], "redis": [], "jetstream": [], "sqlite": [], "limit": []}
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(peers.eventlogd(directory / "all", "os"))
        peers.load("publish_load", daemon.publish_socket, "bench", path, events, BATCH,
                   IN_FLIGHT // BATCH)
        if "redis" in found:
            redis = stack.enter_context(peers.redis(directory / "redis", "no"))
            peers.load("redis_load", "append", redis, path, events, 8 * REDIS_PIPELINE)
        if "jetstream" in found:
            url = stack.enter_context(peers.jetstream(directory / "jetstream"))
            peers.load("jetstream_load", "append", url, path, events, IN_FLIGHT)
        if "sqlite" in found:
            peers.load("sqlite_load", "append", directory / "db", path, events, BATCH, "normal")
        segments = sorted(daemon.log_dir.glob("*.seg"))
        for _ in range(arguments.runs):
            ours = tail(daemon)
            if ours["events"] != events or ours["gaps"]:
                raise RuntimeError(f"not all came: {ours}")
            results["ours"].append(ours)
            limit = peers.load("disk_limit", "replay", *segments)
            results["limit"].append({"events": events * limit["bytes"] / ours["bytes"],
                                     "seconds": limit["seconds"]})
            if "redis" in found:
                results["redis"].append(peers.load("redis_load", "replay", redis, events,
                                                   REDIS_PAGE))
            if "jetstream" in found:
                results["jetstream"].append(peers.load("jetstream_load", "replay", url, events))
            if "sqlite" in found:
                results["sqlite"].append(peers.load("sqlite_load", "replay", directory / "db",
                                                    events))
    chosen = {name: medians(runs) for name, runs in results.items() if runs}
    ours = chosen.pop("ours")
    return {"case": "all", "value": rate(ours), "unit": "events/s",
            "ratio": {name: ratio(results["ours"], results[name]) for name in chosen},
            "peers": {name: rate(theirs) for name, theirs in chosen.items()},
            "events": events, "bytes": ours["bytes"]}


def measure_one(arguments, directory, events, path):
    """A worker's records stand in batches among those of the others."""
    with peers.eventlogd(directory / "one", "os") as daemon:
        parts = 10
        for _ in range(parts):
            for worker, share in (("busy", SHARE - 1), ("quiet", 1)):
                peers.load("publish_load", daemon.publish_socket, f"{worker}", path,
                           events * share // SHARE // parts, 64, 64)
        daemon.restart()  # with nothing mapped in
        before = page_bytes_touched(daemon)
        first = tail(daemon, "quiet")
        touched = page_bytes_touched(daemon) - before
        runs = [tail(daemon, "quiet") for _ in range(arguments.runs)]
        whole = tail(daemon)
    ours = medians(runs)
    return {"case": "one worker in a hundred", "value": rate(ours), "unit": "events/s",
            "events": ours["events"], "bytes_sent_share": first["bytes"] / whole["bytes"],
            "bytes_mapped_share": touched / whole["bytes"],
            "time_share": ours["seconds"] / whole["seconds"]}


def run(arguments):
    found = peers.available()
    with peers.scratch() as directory:
        path = directory / "corpus.jsonl"
        corpus.write_repeated(path, len(corpus.lines()[1]))
        yield measure_all(arguments, directory, found, arguments.events, path)
        yield measure_one(arguments, directory, arguments.events, path)
