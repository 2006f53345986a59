"""Append: from a publisher's process to its acknowledgement.

Cases: `interval` and `os` with the events in flight that JetStream is given; both again at smaller
batches; `durable` at batches from 1 to 512, where one batch is acknowledged before the next is
sent, so that every batch pays for the disk. Peers get the same events in the same run, round by
round: Redis (appendfsync everysec, pipelines of 64; always, pipelines of the batch), JetStream
(file store, 4,096 in flight), SQLite (WAL, one transaction a batch: NORMAL in batches of 512; FULL
beside `durable`).
"""
import time

import corpus
import peers

IN_FLIGHT = 4096
REDIS_PIPELINE = 64
TIME_S = 40  # in which as many rounds are made as fit
MODES = ("interval", "os")
FREE_BATCHES = (512, 64, 8, 1)
DURABLE_BATCHES = (1, 8, 64, 512)
DURABLE_REPEATS = 2  # a round: short runs side by side, since the disk's mood changes
DURABLE_S = 0.15  # about, of one run; as many batches as the disk syncs in that time
DURABLE_BATCHES_RUN = (30, 1500)  # at least and at most


def rate(result):
    return result["events"] / result["seconds"]


def ratio(ours, theirs):
    """The median over the rounds: what ran side by side had the same machine."""
    ratios = sorted(rate(mine) / rate(other) for mine, other in zip(ours, theirs))
    return ratios[len(ratios) // 2]


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
        self.durable_count = {}
        self.shared = {"redis": [], "jetstream": [], "sqlite": []}
        cases = [(mode, batch) for mode in MODES for batch in FREE_BATCHES]
        cases += [("durable", batch) for batch in DURABLE_BATCHES]
        names = ("ours", "redis", "sqlite", "limit")
        self.results = {case: {name: [] for name in names} for case in cases}

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

    def sqlite(self, events, batch, synchronous):
        folder = self.fresh()
        folder.mkdir()
        return peers.load("sqlite_load", "append", folder / "db", self.corpus, events, batch,
                          synchronous)

    def limit(self, ours, batch, sync):
        """The bytes that our log wrote, a pwritev for each batch, and a sync where it made one."""
        piece = max(1, ours["log_bytes"] * batch // ours["events"])
        result = peers.load("disk_limit", "append", self.directory, ours["log_bytes"], piece,
                            int(sync))
        return {**result, "events": ours["events"] * result["bytes"] / ours["log_bytes"]}

    def row(self, case, batch, in_flight, results):
        chosen = {name: medians(runs) for name, runs in results.items() if runs}
        ours = chosen.pop("ours")
        ratios = {name: ratio(results["ours"], results[name]) for name in chosen}
        row = {"case": case, "value": rate(ours), "unit": "events/s", "ratio": ratios,
               "peers": {name: rate(theirs) for name, theirs in chosen.items()},
               "rounds": len(results["ours"]), "batch": batch, "in_flight": in_flight,
               "corpus": self.name}
        for quantile in ("p50_us", "p99_us"):
            row["ack_" + quantile] = ours[quantile]
        return row

    def ack_row(self, case, results):
        """How long a batch waits for its ACK at worst, but for one in a hundred."""
        p99 = {name: sorted(run["p99_us"] for run in runs)[len(runs) // 2]
               for name, runs in results.items() if runs}
        ours = p99.pop("ours")
        return {"case": f"{case}, p99 of an ACK", "value": ours, "unit": "us",
                "ratio": {name: theirs / ours for name, theirs in p99.items()}, "peers": p99}

    def round_of(self, mode, batch, results):
        """One run of a mode that acknowledges before the disk does, and of its limit."""
        is_first = batch == FREE_BATCHES[0]
        ours = self.eventlogd(mode, self.events if is_first else self.events // 4, batch,
                              IN_FLIGHT // batch)
        results["ours"].append(ours)
        if is_first:
            results["limit"].append(self.limit(ours, batch, False))

    def peers_round(self):
        if "redis" in self.found:
            self.shared["redis"].append(self.redis("everysec", self.events, REDIS_PIPELINE))
        if "jetstream" in self.found:
            self.shared["jetstream"].append(self.jetstream(self.events // 2))
        if "sqlite" in self.found:
            self.shared["sqlite"].append(self.sqlite(self.events, FREE_BATCHES[0], "normal"))

    def durable_events(self, batch):
        """As many as the disk syncs in a while; the same number in every round."""
        if batch not in self.durable_count:
            probe = peers.load("disk_limit", "append", self.directory, 20 * 200 * batch,
                               200 * batch, 1)
            least, most = DURABLE_BATCHES_RUN
            count = max(least, min(most, int(DURABLE_S * 1e6 / probe["p50_us"])))
            self.durable_count[batch] = batch * count
        return self.durable_count[batch]

    def durable_round(self, batch, results):
        for _ in range(DURABLE_REPEATS):
            self.durable_once(batch, self.durable_events(batch), results)

    def durable_once(self, batch, events, results):
        ours = self.eventlogd("durable", events, batch, 1)
        results["ours"].append(ours)
        results["limit"].append(self.limit(ours, batch, True))
        if "redis" in self.found:
            results["redis"].append(self.redis("always", events, batch))
        if "sqlite" in self.found:
            results["sqlite"].append(self.sqlite(events, batch, "full"))

    def one_round(self):
        for mode, batch in self.results:
            if mode == "durable":
                self.durable_round(batch, self.results[mode, batch])
            else:
                self.round_of(mode, batch, self.results[mode, batch])
            if (mode, batch) == (MODES[0], FREE_BATCHES[0]):
                self.peers_round()

    def rounds(self):
        """As many as were asked for and fit into the time, at least one."""
        began = time.monotonic()
        for number in range(self.runs):
            self.one_round()
            taken = time.monotonic() - began
            if taken + taken / (number + 1) > TIME_S:
                break

    def rows(self):
        for (mode, batch), results in self.results.items():
            is_plain = mode != "durable" and batch == FREE_BATCHES[0]
            in_flight = 1 if mode == "durable" else IN_FLIGHT // batch
            theirs = {} if mode == "durable" else self.shared
            case = mode if is_plain else f"{mode}, batches of {batch}"
            yield self.row(case, batch, in_flight, {**results, **theirs})
            if mode == "durable":
                yield self.ack_row(case, results)


def run(arguments):
    with peers.scratch() as directory:
        bench = Bench(arguments, directory)
        bench.rounds()
        yield from bench.rows()
