"""The whole pipeline: publisher -> eventlogd -> wsgate -> backend-relay (projection) -> client.

Measures from the publisher's start to the client's last event, all real processes, one worker, one
client who sees everything; and how much each process's own memory grew over the runs, after a first
tenth has warmed it up.
"""
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time
import urllib.parse

import corpus
import limit
from pipeline import Pipeline

DEADLINE_S = 600


def anonymous_kib(pid):
    """Memory of its own: without the mapped log segments, which are the page cache's."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    return 0


def run_sink(pipeline, tools, worker, role, events):
    url = urllib.parse.urlsplit(pipeline.info["client_url"])
    path = f"/api/runtimes/{pipeline.info['runtime_id']}/workers/{worker}/events/ws"
    sink = subprocess.Popen(
        [tools / "ws_sink", url.hostname, str(url.port), path, pipeline.info["tokens"][role],
         str(events)], stdout=subprocess.PIPE, text=True)
    if sink.stdout.readline().strip() != "connected":
        raise RuntimeError("the sink could not connect")
    return sink


def publish(pipeline, binaries, worker, path):
    subprocess.run(
        [binaries / "eventlogctl", "publish", "--socket", pipeline.info["publish_socket"],
         "--worker", worker, path], check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, timeout=DEADLINE_S)


def measure(pipeline, binaries, worker, role, path, events):
    """(seconds, bytes received by the client)"""
    first = pathlib.Path(path).with_suffix(".first")
    first.write_bytes(b'{"event":"snapshot","data":{}}\n')
    publish(pipeline, binaries, worker, first)
    sink = run_sink(pipeline, binaries.parent / "tests", worker, role, events + 1)
    started = time.monotonic_ns()
    publish(pipeline, binaries, worker, path)
    out, _ = sink.communicate(timeout=DEADLINE_S)
    result = json.loads(out)
    if result["events"] != events + 1 or result["diagnostics"] != 0:
        raise RuntimeError(f"not all arrived, or not undisturbed: {result}")
    return (result["last_ns"] - started) / 1e9, result["bytes"]


def run(arguments):
    binaries = pathlib.Path(os.environ["SIGHTLINE_BIN_DIR"])
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        name, size = corpus.write_repeated(scratch / "all.jsonl", arguments.events)
        corpus.write_repeated(scratch / "tenth.jsonl", arguments.events // 10)
        with Pipeline(binaries) as pipeline:
            measure(pipeline, binaries, "warm", "operator", scratch / "tenth.jsonl",
                    arguments.events // 10)
            before = {n: anonymous_kib(pid) for n, pid in pipeline.info["pids"].items()}
            seconds, received = [], 0
            for i in range(arguments.runs):
                taken, received = measure(pipeline, binaries, f"bench-{i}", "operator",
                                          scratch / "all.jsonl", arguments.events)
                seconds.append(taken)
            after = {n: anonymous_kib(pid) for n, pid in pipeline.info["pids"].items()}
            limit_s = statistics.median(limit.loopback_seconds(received) for _ in range(3))
            median = statistics.median(seconds)
            yield {"case": f"operator, {name} to {arguments.events:,}",
                   "value": arguments.events / median, "unit": "events/s",
                   "ratio": {"limit": limit_s / median}, "seconds": seconds, "bytes": received}
            for process in before:
                yield {"case": f"memory growth of {process} over {arguments.runs} runs",
                       "value": after[process] - before[process], "unit": "KiB",
                       "from_kib": before[process], "to_kib": after[process]}
