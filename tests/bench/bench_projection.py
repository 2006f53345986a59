"""projection's engine on one core: path rules and secret sets, on tool results of several sizes, on
the recorded corpus, and on texts made to be slow; beside libraries that parse, redact and print.

A library is left out where it is not installed.
"""
import json
import os
import pathlib
import subprocess
import tempfile

import corpus
import hostile
import planted

SECONDS = "0.4"
EXAMPLE = corpus.ROOT / "units/policy.example.yaml"
SIZES = [1_000, 10_000, 100_000]
PEERS = ["jansson", "json_c"]
HOSTILE = 1_000_000
TIMES_SMALLER = 8

def tools():
    return pathlib.Path(os.environ["SIGHTLINE_BIN_DIR"]).parent / "tests"


def measure(arguments, *argv):
    """The median run's {"events", "bytes", "seconds"}; None without that tool."""
    if not (tools() / argv[0]).exists():
        return None
    results = [json.loads(subprocess.run([tools() / argv[0], *argv[1:], SECONDS], check=True,
                                         capture_output=True).stdout)
               for _ in range(arguments.runs)]
    return sorted(results, key=lambda result: rate(result, "bytes"))[len(results) // 2]


def rate(result, what):
    return result[what] / result["seconds"]


def compare(arguments, path, policy, role):
    """(ours, {"peer": ours over theirs})"""
    ours = measure(arguments, "project_events", policy, role, path)
    peers = {peer: measure(arguments, f"redact_{peer}", path) for peer in PEERS}
    return ours, {peer: rate(ours, "bytes") / rate(theirs, "bytes")
                  for peer, theirs in peers.items() if theirs is not None}


def tool_texts(size):
    """Texts of that size, put together from what tools have answered in the corpus."""
    _, events = corpus.lines()
    parts = []
    for event in map(json.loads, events):
        if event["event"] in ("tool_result", "text_done"):
            data = event["data"]
            parts.append(str(data.get("output") or data.get("text") or ""))
    text = "\n".join(parts)
    text *= 1 + 4 * size // len(text)
    return [text[i * size:(i + 1) * size] for i in range(4)]


def write_events(path, texts):
    path.write_bytes(b"".join(planted.encode(
        {"event": "tool_result", "data": {"id": "call_01", "summary": "done", "output": text}}) +
        b"\n" for text in texts))
    return path


def without_secrets(scratch):
    """The example policy with its path rules alone."""
    text = EXAMPLE.read_text()
    path = scratch / "paths.yaml"
    path.write_text(text[:text.index("      # Keys and passwords")])
    return path


def only_secrets(scratch):
    path = scratch / "secrets.yaml"
    path.write_text(planted.POLICY)
    return path


def gigabytes(case, ours, ratio):
    return {"case": case, "value": rate(ours, "bytes") / 1e9, "unit": "GB/s", "ratio": ratio}


def measure_hostile(arguments, scratch, policy, event):
    path = scratch / "events"
    path.write_text(event + "\n")
    return measure(arguments, "project_events", policy, "viewer", path)


def run(arguments):
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        policies = [("path rules", without_secrets(scratch)), ("all secret sets",
                                                               only_secrets(scratch))]
        for size in SIZES:
            path = write_events(scratch / "events", tool_texts(size))
            for name, policy in policies:
                yield gigabytes(f"{name}, tool results of {size // 1000} KB",
                                *compare(arguments, path, policy, "viewer"))
        name, _ = corpus.write_repeated(scratch / "corpus", 20_000)
        for rules, policy in [*policies, ("the example policy", EXAMPLE)]:
            ours, ratio = compare(arguments, scratch / "corpus", policy, "viewer")
            yield {"case": f"{rules}, {name}", "value": rate(ours, "events"), "unit": "events/s",
                   "ratio": ratio}
        for case, text, make in hostile.cases():
            policy = scratch / "hostile.yaml"
            policy.write_text(text)
            small, large = (measure_hostile(arguments, scratch, policy, make(size))
                            for size in (HOSTILE // TIMES_SMALLER, HOSTILE))
            yield {**gigabytes(f"1 MB of {case}", large, {}),
                   "ratio": {f"{TIMES_SMALLER} times smaller": rate(large, "bytes") /
                             rate(small, "bytes")}}
