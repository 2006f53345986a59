"""The recorded corpus, or a stand-in of the same shape where it is absent."""
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def shared_workers():
    """The folder of recorded streams, or None."""
    shared = pathlib.Path(os.environ.get("SIGHTLINE_SHARED", ROOT.parent / "shared"))
    folder = shared / "data" / "workers"
    return folder if folder.is_dir() else None


def lines():
    """(name, events): the recorded events in order, or the sample run of the demo."""
    folder = shared_workers()
    if folder is not None:
        events = []
        for path in sorted(folder.glob("*.jsonl")):
            events += path.read_bytes().splitlines()
        return "recorded corpus", events
    return "sample run", (ROOT / "units/demo/sample.jsonl").read_bytes().splitlines()


def write_repeated(path, count):
    """Writes `count` events, the corpus over and over; returns (name, bytes written)."""
    name, events = lines()
    whole = b"\n".join(events) + b"\n"
    with open(path, "wb") as out:
        for _ in range(count // len(events)):
            out.write(whole)
        rest = events[:count % len(events)]
        if rest:
            out.write(b"\n".join(rest) + b"\n")
        return name, out.tell()
