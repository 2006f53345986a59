"""What each secret set takes for a secret in the recorded corpus, which holds none that is one, in
texts that come at once and in pieces: how often, and (with --json) behind which words.
"""
import json
import os
import pathlib
import subprocess
import tempfile

import corpus
import planted

MARK = "\u2588"  # stands in no recording
WORDS = 24


def policy_for(secrets):
    blocks = json.loads(planted.POLICY)["blocks"]
    return json.dumps({"version": 1, "blocks": blocks, "roles": {"viewer": {
        "observe": [{"runtime": "*", "worker": "*"}], "events": {"allow": ["*"]},
        "redact": [{"in": ["*"], "secrets": [secrets], "action": "mask", "with": MARK}]}}})


def hits(scratch, secrets, events):
    """The words before each mask."""
    path = pathlib.Path(scratch) / "policy.json"
    path.write_text(policy_for(secrets))
    result = subprocess.run(
        [pathlib.Path(os.environ["SIGHTLINE_BIN_DIR"]) / "projection", "--explain", path,
         "--role", "viewer", "--runtime", "r", "--worker", "w"], input=b"\n".join(events) + b"\n",
        capture_output=True, check=True)
    found = []
    for line in result.stdout.splitlines():
        pieces = json.loads(line)["payload"].split(MARK)
        found += [piece[-WORDS:] for piece in pieces[:-1]]
    return found


def run(arguments):
    name, events = corpus.lines()
    with tempfile.TemporaryDirectory() as scratch:
        for secrets in planted.ALL_SETS:
            found = hits(scratch, secrets, events)
            yield {"case": f"{secrets}, {name} of {len(events):,} events", "value": len(found),
                   "unit": "hits", "behind": found}
