"""Secret sets against a second implementation: random texts of what patterns are made of, whole and
escaped in random ways, compared byte for byte.

A failure prints the seed: SIGHTLINE_SEED=N repeats it.
"""

import json
import os
import random
import subprocess

import planted
import secrets_oracle

TEXTS = 1500
PARTS = [
    "AKIA", "ASIA", "ABCDEFGHIJKLMNOP", "ghp_", "github_pat_", "glpat-", "glrt-", "xoxb-", "xapp-",
    "https://hooks.slack.com/services/", "AIza", "GOCSPX-", "ya29.", "sk-", "sk-proj-", "sk-admin-",
    "sk-ant-", "T3BlbkFJ", "-----BEGIN ", "RSA ", "PRIVATE KEY", "-----", "-----END ", " BLOCK",
    "eyJ", ".", ".eyJ", "Bearer ", "bearer\t", "password", "PASSWD", "passphrase", "secret", "token",
    "api_key", "apikey", "access-key", "secret_key", "aws_secret_access_key", "SessionToken",
    "=", ":", " : ", "=>", "\"", "'", "\\\"", " ", "\n", "://", "user", "@", "host", "/", "$", "é",
    "😀", "a", "B", "7", "_", "-", "hunter2hunter2", "x" * 20, "Z9" * 20]


def random_text(rng):
    parts = [rng.choice(PARTS) if rng.random() < 0.8 else planted.letters(rng, rng.randint(1, 45))
             for _ in range(rng.randint(1, 14))]
    if rng.random() < 0.3:
        parts += planted.make_secret(rng)
    return "".join(parts)


def write_string(rng, text):
    pieces = []
    for character in text:
        if ord(character) < 0x10000 and rng.random() < 0.05:
            pieces.append(f"\\u{ord(character):04x}")
        else:
            pieces.append(json.dumps(character, ensure_ascii=rng.random() < 0.3)[1:-1])
    return '"' + "".join(pieces) + '"'


def explain(bin_dir, policy, events):
    result = subprocess.run(
        [bin_dir / "projection", "--explain", policy, "--role", "viewer", "--runtime", "r",
         "--worker", "w"], input="\n".join(events).encode() + b"\n", capture_output=True,
        timeout=60)
    assert result.returncode == 0, result.stderr
    return [json.loads(line)["payload"] for line in result.stdout.splitlines()]


def test_both_implementations_mask_the_same_bytes(bin_dir, tmp_path):
    seed = int(os.environ.get("SIGHTLINE_SEED", random.randrange(1 << 32)))
    rng = random.Random(seed)
    policy = tmp_path / "policy.json"
    policy.write_text(planted.POLICY)
    texts = [random_text(rng) for _ in range(TEXTS)]
    events = ['{"event":"note","data":{"n":1.50,"text":' + write_string(rng, text) + "}}"
              for text in texts]
    masked = 0
    for text, event, shown in zip(texts, events, explain(bin_dir, policy, events)):
        expected = secrets_oracle.mask(text)
        assert json.loads(shown)["data"]["text"] == expected, (f"SIGHTLINE_SEED={seed}", text)
        if expected == text:
            assert shown == event, f"SIGHTLINE_SEED={seed}"
        else:
            masked += 1
            outside = event.index('"text":') + len('"text":"')
            assert shown[:outside] == event[:outside]
    assert masked > TEXTS // 10
