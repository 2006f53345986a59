"""Streams of events with secrets planted in them, split over the pieces of a block."""

import json
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
ALL_SETS = ["aws", "github", "gitlab", "slack", "google", "openai", "anthropic", "private_key",
            "jwt", "bearer", "password_assignment", "url_credentials"]

# Kinds that stream a text in pieces: delta -> (member with the text, done).
BLOCKS = {"text_delta": ("text", "text_done"), "thinking_delta": ("text", "thinking_done"),
          "tool_call_args_delta": ("json", "tool_call_done"),
          "command": ("content", "tool_result")}

POLICY = json.dumps({
    "version": 1,
    "blocks": [
        {"delta": "text_delta", "text": "data.text", "done": "text_done", "snapshot": "snapshot",
         "in_flight": "data.in_flight.blocks.*[kind=text].text"},
        {"delta": "thinking_delta", "text": "data.text", "done": "thinking_done"},
        {"delta": "tool_call_args_delta", "text": "data.json", "key": "data.id",
         "done": "tool_call_done", "snapshot": "snapshot",
         "in_flight": "data.in_flight.blocks.*[kind=tool_call].args"},
        {"delta": "command", "text": "data.content", "key": "data.id", "done": "tool_result",
         "snapshot": "snapshot", "in_flight": "data.in_flight.commands.*.content"}],
    "roles": {
        "operator": {"observe": [{"runtime": "*", "worker": "*"}], "events": {"allow": ["*"]}},
        "viewer": {"observe": [{"runtime": "*", "worker": "*"}], "events": {"allow": ["*"]},
                   "redact": [{"in": ["*"], "secrets": ALL_SETS, "action": "mask"}]}}})


def recorded_streams():
    """[(name, [event])]: the recorded streams where they are, and the demo's sample."""
    shared = pathlib.Path(os.environ.get("SIGHTLINE_SHARED", ROOT.parent / "shared"))
    paths = sorted((shared / "data/workers").glob("*.jsonl"))
    return [(path.stem, [json.loads(line) for line in path.read_bytes().splitlines()])
            for path in [*paths, ROOT / "units/demo/sample.jsonl"]]


def letters(rng, count, alphabet=ALPHABET):
    return "".join(rng.choice(alphabet) for _ in range(count))


def make_secret(rng):
    """(what announces it, what must not be seen, what follows)"""
    body = letters(rng, 40)
    return rng.choice([
        ("AKIA", letters(rng, 16, ALPHABET[:26]), " "),
        ("ghp_", letters(rng, 36), "\n"),
        ("sk-ant-", "api03-" + body, "."),
        ("eyJ", letters(rng, 20) + ".eyJ" + body + "." + body, " "),
        ("Bearer ", body, "\n"),
        ("PASSWORD='", letters(rng, 12), "'"),
        ("postgres://user:", letters(rng, 9), "@host "),
        ("-----BEGIN PRIVATE KEY-----", "\n" + "\n".join(letters(rng, 30) for _ in range(5)) +
         "\n-----END PRIVATE KEY-----", "\n")])


def split(rng, text, count):
    cuts = sorted(rng.randint(0, len(text)) for _ in range(count - 1))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)])]


def plant(rng, events, every=12):
    """(events, secrets): at random places one piece of a block becomes several, with a secret."""
    out, secrets = [], []
    for event in events:
        member, _ = BLOCKS.get(event["event"], (None, None))
        if member is None or rng.randrange(every) != 0:
            out.append(event)
            continue
        before, secret, after = make_secret(rng)
        secrets.append(secret)
        text = event["data"][member] + " " + before + secret + after
        for piece in split(rng, text, rng.randint(2, 5)):
            out.append({**event, "data": {**event["data"], member: piece}})
    return out, secrets


def blocks_of(events):
    """{(delta kind, key, number of the block): text put together}"""
    texts, number = {}, 0
    for event in events:
        if event["event"] in BLOCKS:
            member, _ = BLOCKS[event["event"]]
            name = (event["event"], event["data"].get("id"), number)
            texts[name] = texts.get(name, "") + event["data"][member]
        elif event["event"] in {done for _, done in BLOCKS.values()} | {"snapshot"}:
            number += 1
    return texts


def encode(event):
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
