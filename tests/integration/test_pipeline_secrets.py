"""Secrets that are split over events, through the whole pipeline: a viewer sees none of them, and one
who comes back with any cursor gets the same bytes as one who never left.

A failure prints the seed: SIGHTLINE_SEED=N repeats it.
"""

import json
import os
import random

import pytest

import planted
from pipeline import TOP, Pipeline, sample_stream

EVERY_NTH_CURSOR = 5
EXAMPLE = TOP / "units/policy.example.yaml"


@pytest.fixture
def seed():
    return int(os.environ.get("SIGHTLINE_SEED", random.randrange(1 << 32)))


def test_every_cursor_leads_to_the_same_bytes(bin_dir, tmp_path, seed):
    policy = tmp_path / "policy.yaml"
    policy.write_text(planted.POLICY)
    rng = random.Random(seed)
    events, secrets = planted.plant(rng, [json.loads(line) for line in sample_stream()], every=4)
    lines = [planted.encode(event) for event in events]
    with Pipeline(bin_dir, policy=policy) as pipeline:
        with pipeline.publisher("w") as publisher, \
                pipeline.follow("w", role="viewer") as follower:
            publisher.send(*lines)
            live = list(follower.until(len(lines)))
        whole = b"".join(event.payload_bytes for event in live).decode()
        assert not [secret for secret in secrets if json.dumps(secret)[1:-1] in whole], seed
        assert "[redacted]" in whole
        for i in range(0, len(live), EVERY_NTH_CURSOR):
            with pipeline.observe("w", role="viewer", cursor=live[i].cursor) as client:
                rest = client.until_caught_up()
            assert [(e.event_id, e.cursor, e.payload_bytes) for e in rest] == \
                [(e.event_id, e.cursor, e.payload_bytes) for e in live[i + 1:]], (seed, i)
        with pipeline.observe("w") as client:
            assert [e.payload_bytes for e in client.events(len(lines))] == lines


def test_the_demo_viewer_does_not_see_the_key_of_the_sample(bin_dir):
    lines = sample_stream()
    shown = [line.replace(b'"tool_result"', b'"note"') for line in lines]
    with Pipeline(bin_dir, policy=EXAMPLE) as pipeline:
        pipeline.publish("w", lines)
        pipeline.publish("other", shown)
        for worker in ("w", "other"):
            with pipeline.observe(worker, role="viewer") as client:
                whole = b"".join(event.payload_bytes for event in client.until_caught_up())
            assert b"IOSFODNN7" not in whole and b"wJalrXUtnFEMI" not in whole
    assert b"AKIA[redacted]" in whole
