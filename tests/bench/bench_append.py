"""Append: from a publisher's process to its acknowledgement.

Cases: `interval` and `os` with the events in flight that JetStream is given; both again at smaller
batches; `durable` at batches from 1 to 512, where one batch is acknowledged before the next is
sent, so that every batch pays for the disk. Peers get the same events in the same run, round by
round: Redis (appendfsync everysec, pipelines of 64; always, pipelines of the batch), JetStream
(file store, 4,096 in flight), SQLite (WAL, FULL, one transaction a batch).
"""
import contextlib

import corpus
import peers

IN_FLIGHT = 4096
REDIS_PIPELINE = 64
FREE_BATCHES = (512, 64, 8, 1)
DURABLE_BATCHES = (1, 8, 64, 512)
DURABLE_EVENTS = {1: 300, 8: 2000, 64: 12000, 512: 60000}


def rate(result):
    return result["events"] / result["seconds"]


def medians(results):
    """The run with the median rate."""
    return sorted(results, key=rate)[len(results) // 2]


class Bench:
    def __init__(self, arguments, directory):
        self.runs = arguments.runs
        self.directory = directory
        self.corpus = directory / "corpus.jsonl"
        self.events = arguments.events // 2
        self.found = peers.available()
        self.name, _ = corpus.write_repeated(self.corpus, len(corpus.lines()[1]))
        self.count = 0

    def fresh(self):
        self.count += 1
        return self.directory / str(self.count)

    def eventlogd(self, durability, events, batch, in_flight):
        with peers.eventlogd(self.fresh(), durability) as daemon:
            result = peers.load("publish_load", daemon.publish_socket, "bench", self.corpus, events,
                                batch, in_flight)
            with daemon.reader() as reader:
                result["log_bytes"] = reader.status()["appended_bytes"]
        return result

    def redis(self, fsync, events, pipeline):
        with peers.redis(self.fresh(), fsync) as path:
            return peers.load("redis_load", "append", path, self.corpus, events, pipeline)

    def jetstream(self, events):
        with peers.jetstream(self.fresh()) as url:
            return peers.load("jetstream_load", "append", url, self.corpus, events, IN_FLIGHT)

    def sqlite(self, events, batch):
        folder = self.fresh()
        folder.mkdir()
        return peers.load("sqlite_load", folder / "db", self.corpus, events, batch)

    def limit(self, ours, batch, sync):
        """The bytes that our log wrote, a pwritev for each batch, and a sync where it made one."""
        piece = max(1, ours["log_bytes"] * batch // ours["events"])
        result = peers.load("disk_limit", "append", self.directory, ours["log_bytes"], piece,
                            int(sync))
        return {"events": ours["events"] * result["bytes"] / ours["log_bytes"],
                "seconds": result["seconds"]}

    def row(self, case, batch, in_flight, results):
        chosen = {name: medians(runs) for name, runs in results.items() if runs}
        ours = chosen.pop("ours")
        row = {"case": case, "value": rate(ours), "unit": "events/s",
               "ratio": {name: rate(ours) / rate(theirs) for name, theirs in chosen.items()},
               "peers": {name: rate(theirs) for name, theirs in chosen.items()},
               "batch": batch, "in_flight": in_flight, "corpus": self.name}
        for quantile in ("p50_us", "p99_us"):
            row["ack_" + quantile] = ours[quantile]
        return row

    def free_running(self, durabilities):
        """Rows of the modes that acknowledge before the disk does."""
        shared = {"redis": [], "jetstream": []}
        ours = {(mode, batch): [] for mode in durabilities for batch in FREE_BATCHES}
        limits = {key: [] for key in ours}
        for _ in range(self.runs):
            for mode, batch in ours:
                events = self.events if batch >= 64 else self.events // 4
                result = self.eventlogd(mode, events, batch, IN_FLIGHT // batch)
                ours[mode, batch].append(result)
                if batch == FREE_BATCHES[0]:
                    limits[mode, batch].append(self.limit(result, batch, False))
            if "redis" in self.found:
                shared["redis"].append(self.redis("everysec", self.events, REDIS_PIPELINE))
            if "jetstream" in self.found:
                shared["jetstream"].append(self.jetstream(self.events // 2))
        for (mode, batch), results in ours.items():
            case = mode if batch == FREE_BATCHES[0] else f"{mode}, batches of {batch}"
            yield self.row(case, batch, IN_FLIGHT // batch,
                           {"ours": results, **shared, "limit": limits[mode, batch]})

    def durable(self, batch):
        results = {"ours": [], "redis": [], "sqlite": [], "limit": []}
        events = DURABLE_EVENTS[batch]
        for _ in range(self.runs):
            ours = self.eventlogd("durable", events, batch, 1)
            results["ours"].append(ours)
            results["limit"].append(self.limit(ours, batch, True))
            if "redis" in self.found:
                results["redis"].append(self.redis("always", events, batch))
            if "sqlite" in self.found:
                results["sqlite"].append(self.sqlite(events, batch))
        return self.row(f"durable, batches of {batch}", batch, 1, results)


def run(arguments):
    with contextlib.ExitStack() as stack:
        bench = Bench(arguments, stack.enter_context(peers.scratch()))
        yield from bench.free_running(("interval", "os"))
        for batch in DURABLE_BATCHES:
            yield bench.durable(batch)
