"""Looking up a cursor in a log of 100 million records, built for this: from the cursor to the
verified record behind it, at random places. `limit` is one read of 4 KiB at a random place of the
same files. Takes some minutes and 8 GB, so it runs only when it is named; --events sets another
number of records in millions of the default.
"""
import peers

ON_DEMAND = True
RECORDS_PER_EVENT = 100  # --events 1,000,000 (the default) builds 100 million
LOOKUPS = 100_000
BATCH, IN_FLIGHT = 4096, 8


def run(arguments):
    records = arguments.events * RECORDS_PER_EVENT
    with peers.scratch() as directory:
        path = directory / "corpus.jsonl"
        path.write_bytes(b"{}\n")
        with peers.eventlogd(directory / "log", "os") as daemon:
            peers.load("publish_load", daemon.publish_socket, "bench", path, records, BATCH,
                       IN_FLIGHT)
            daemon.stop()
            result = peers.load("cursor_load", daemon.log_dir, LOOKUPS)
        for quantile in ("p50_us", "p99_us", "max_us"):
            limit = result["limit_" + quantile]
            yield {"case": f"{result['records']:,} records, {quantile[:-3]}",
                   "value": result[quantile], "unit": "us",
                   "ratio": {"limit": limit / result[quantile]}}
