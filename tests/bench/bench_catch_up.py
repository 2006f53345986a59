"""1, 10 and 100 readers that catch up at once while publishing goes on: the publisher's rate and
99th percentile, the readers' rate, and eventlogd's memory. `limit` is the publisher alone; of the
readers' rate, the same bytes through one sendfile after the other.
"""
import json
import pathlib
import signal
import subprocess
import time

import corpus
import peers
from peers import tools

READERS = (1, 10, 100)
FOR_EVER = 1 << 40
BATCH, IN_FLIGHT = 64, 64
ALONE_S = 1


def memory_kib(daemon):
    """(all, without the mapped segments, which are the page cache's)"""
    fields = {}
    for line in pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "RssAnon"):
            fields[name] = int(value.split()[0])
    return fields["VmRSS"], fields["RssAnon"]


def publisher(daemon, path, stderr=None):
    return subprocess.Popen(
        [tools() / "publish_load", daemon.publish_socket, "live", path, str(FOR_EVER), str(BATCH),
         str(IN_FLIGHT)], stdout=subprocess.PIPE, stderr=stderr, text=True)


def finish(process):
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=peers.DEADLINE_S)
    return json.loads(out)


def catch_up(daemon, path, events, readers):
    """(publisher's result, readers' result, memory while they read)"""
    live = publisher(daemon, path)
    reading = subprocess.Popen(
        [tools() / "tail_load", daemon.tail_socket, "-", "oldest", "1", str(events), str(readers)],
        stdout=subprocess.PIPE, text=True)
    most = (0, 0)
    while reading.poll() is None:
        most = max(most, memory_kib(daemon), key=lambda kib: kib[1])
        time.sleep(0.02)  # between two looks
    result = json.loads(reading.stdout.read().splitlines()[-1])
    return finish(live), result, most


def run(arguments):
    events = arguments.events * 3 // 10
    with peers.scratch() as directory:
        path = directory / "corpus.jsonl"
        corpus.write_repeated(path, len(corpus.lines()[1]))
        with peers.eventlogd(directory / "log") as daemon:
            peers.load("publish_load", daemon.publish_socket, "bench", path, events, 512, 8)
            live = publisher(daemon, path)
            time.sleep(ALONE_S)  # how long it is measured
            alone = finish(live)
            rate_alone = alone["events"] / alone["seconds"]
            segments = sorted(daemon.log_dir.glob("*.seg"))
            sent = peers.load("disk_limit", "replay", *segments)
            for readers in READERS:
                live, reading, (rss, own) = catch_up(daemon, path, events, readers)
                rate = live["events"] / live["seconds"]
                case = f"{readers} reader{'s' if readers > 1 else ''}"
                yield {"case": f"{case}, publisher", "value": rate, "unit": "events/s",
                       "ratio": {"limit": rate / rate_alone}, "ack_p99_us": live["p99_us"]}
                yield {"case": f"{case}, publisher's p99", "value": live["p99_us"], "unit": "us",
                       "ratio": {"limit": alone["p99_us"] / live["p99_us"]}}
                share = reading["bytes"] / reading["seconds"] / (sent["bytes"] / sent["seconds"])
                yield {"case": f"{case}, all of them",
                       "value": reading["events"] / reading["seconds"], "unit": "events/s",
                       "ratio": {"limit": share}}
                yield {"case": f"{case}, memory of eventlogd's own", "value": own, "unit": "KiB",
                       "rss_kib": rss}
