"""projection against a second, slow and simple implementation of the policy language: random
policies over random events, compared byte for byte.

A failure prints the seed: SIGHTLINE_SEED=N repeats it alone.
"""

import hashlib
import json
import os
import random
import re
import subprocess

ROUNDS = 150
EVENTS_A_ROUND = 60
MASK, REMOVE, HASH, REWRITE, TRUNCATE = "mask", "remove", "hash", "rewrite_prefix", "truncate"
STRENGTH = [REMOVE, MASK, HASH, REWRITE, TRUNCATE]
SECRET = b"a secret for hash"
SPACE = re.compile(r"[ \t\r\n]*")
SCALAR = re.compile(r'"(?:[^"\\]|\\.)*"|[-+.0-9A-Za-z]+')


# ---- documents with the place of everything ----

class Node:
    """A value with its place; `children` are (key or None, where key or element begins, value)."""

    def __init__(self, start):
        self.start, self.end, self.children, self.value, self.is_object = start, None, [], None, False

    def strings(self, name):
        return [child.value for key, _, child in self.children
                if self.is_object and key == name and isinstance(child.value, str)]


def parse(text, at=0):
    at = SPACE.match(text, at).end()
    node = Node(at)
    if text[at] not in "{[":
        node.end = SCALAR.match(text, at).end()
        node.value = json.loads(text[at:node.end])
        return node
    node.is_object = text[at] == "{"
    at = SPACE.match(text, at + 1).end()
    while text[at] not in "}]":
        key, begin = None, at
        if node.is_object:
            end = SCALAR.match(text, at).end()
            key = json.loads(text[at:end])
            at = text.index(":", end) + 1
        child = parse(text, at)
        node.children.append((key, begin, child))
        at = SPACE.match(text, child.end).end()
        if text[at] == ",":
            at = SPACE.match(text, at + 1).end()
    node.end = at + 1
    return node


# ---- the language, as its manual says it ----

def matches(glob, text):
    pattern = re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def holds(step, node):
    return step[1] is None or any(matches(step[2], text) for text in node.strings(step[1]))


def targets(steps, node):
    if not steps:
        yield node
        return
    step = steps[0]
    if step[0] == "**":
        if holds(step, node):
            yield from targets(steps[1:], node)
        for _, _, child in node.children:
            yield from targets(steps, child)
        return
    for key, _, child in node.children:
        if (step[0] == "*" or (key is not None and key == step[0])) and holds(step, child):
            yield from targets(steps[1:], child)


def everything_in(node):
    yield node
    for _, _, child in node.children:
        yield from everything_in(child)


def kinds_of(node, is_root):
    names = {"event": [], "type": []}
    for key, _, child in node.children:
        if key in names:
            names[key].append(child.value if isinstance(child.value, str) else None)
    kinds = [kind for kind in names["event"] if kind is not None]
    if is_root and (not names["event"] or names["event"][0] is None):
        kinds += [kind for kind in names["type"] if kind is not None]
        if not names["type"] or names["type"][0] is None:
            kinds.append("")
    return kinds


def is_event(node):
    return bool(node.strings("event")) and any(
        key == "data" and child.is_object for key, _, child in node.children)


def digest(text, node):
    def with_length(data):
        return len(data).to_bytes(8, "little") + data

    kind = "{[\"".find(text[node.start])
    if kind < 0:
        kind = {"t": 4, "f": 5, "n": 6}.get(text[node.start], 3)
    value = node.value if kind == 2 else text[node.start:node.end]
    key = hashlib.blake2b(SECRET, digest_size=32).digest()
    return hashlib.blake2b(
        b"\x01" + with_length(b"value") + kind.to_bytes(8, "little") + with_length(value.encode()),
        key=key, digest_size=16).hexdigest()


def denied(policy, kind):
    return any(matches(glob, kind) for glob in policy["deny"])


def project(policy, text):
    """("deny", None) or (verdict, text)."""
    root = parse(text)
    hits, removed = {}, set()
    for node in everything_in(root):
        if node is not root and not (node.is_object and is_event(node)):
            continue
        kinds = kinds_of(node, node is root)
        if any(denied(policy, kind) for kind in kinds):
            removed.add(id(node))
        for rule in policy["rules"]:
            if not any(matches(glob, kind) for glob in rule["in"] for kind in kinds):
                continue
            for target in targets(rule["steps"], node):
                deep = rule["action"] in (REWRITE, TRUNCATE)
                for hit in everything_in(target) if deep else [target]:
                    hits.setdefault(id(hit), []).append(rule)
    edits = []

    def act(node):
        """Whether the node stays."""
        rules = hits.get(id(node), [])
        strongest = min((STRENGTH.index(rule["action"]) for rule in rules), default=None)
        gone = strongest == 0 or (strongest in (1, 2) and node is root)
        if id(node) in removed or gone:
            return False
        if strongest == 1:
            first = next(rule for rule in policy["rules"]
                         if rule in rules and rule["action"] == MASK)
            edits.append((node.start, node.end, json.dumps(first["with"])))
        elif strongest == 2:
            edits.append((node.start, node.end, json.dumps(digest(text, node))))
        elif strongest is not None and isinstance(node.value, str):
            change(node, rules)
        elif node.children:
            visit_children(node)
        return True

    def change(node, rules):
        value = node.value
        for rule in policy["rules"]:
            if rule in rules and rule["action"] == REWRITE:
                if value == "/a/b" or value.startswith("/a/b/"):
                    value = "/c" + value[4:]
        for rule in policy["rules"]:
            if rule in rules and rule["action"] == TRUNCATE and len(value) > rule["keep"]:
                value = value[:rule["keep"]] + "…"
        if value != node.value:
            edits.append((node.start, node.end, json.dumps(value, ensure_ascii=False)))

    def visit_children(node):
        kept = False
        for index, (_, begin, child) in enumerate(node.children):
            if act(child):
                kept = True
            elif kept:
                edits.append((node.children[index - 1][2].end, child.end, ""))
            elif index + 1 < len(node.children):
                edits.append((begin, node.children[index + 1][1], ""))
            else:
                edits.append((begin, child.end, ""))

    if not act(root):
        return "deny", None
    out, at = "", 0
    for start, end, new in edits:
        out += text[at:start] + new
        at = end
    return ("rewrite" if edits else "pass"), out + text[at:]


# ---- random policies and events over few names, so that they meet ----

NAMES = ["a", "b", "k", "event", "data", "type", "é"]
KINDS = ["t", "tt", "u", "s", "s1"]
TEXTS = ["", "t", "u", "/a/b", "/a/b/c", "/a/bc", "long text é 😀", 'quote " and \\', "s"]


def random_rule(rng):
    steps = []
    for _ in range(rng.randint(1, 4)):
        member = rng.choice(["k", "a"]) if rng.random() < 0.25 else None
        steps.append((rng.choice(NAMES + ["*", "**", "**"]), member,
                      rng.choice(["t", "u", "*", "t*", "?"]) if member else None))
    return {"in": rng.choice([["*"], ["t"], ["t*", "u"], ["?"]]), "steps": steps,
            "action": rng.choice(STRENGTH), "with": rng.choice(["M", "", "a long mask"]),
            "keep": rng.randint(0, 4)}


def random_policy(rng):
    return {"deny": rng.choice([[], ["s*"], ["s1", "tt"]]),
            "rules": [random_rule(rng) for _ in range(rng.randint(0, 8))]}


def policy_text(policy):
    rules = []
    for rule in policy["rules"]:
        path = ".".join(name + (f"[{member}={glob}]" if member else "")
                        for name, member, glob in rule["steps"])
        arguments = {MASK: {"with": rule["with"]}, REMOVE: {}, HASH: {},
                     REWRITE: {"from": "/a/b", "to": "/c"}, TRUNCATE: {"truncate": rule["keep"]}}
        rules.append({"in": rule["in"], "path": path, "action": rule["action"],
                      **arguments[rule["action"]]})
    return json.dumps({"version": 1, "roles": {"r": {
        "observe": [{"runtime": "*", "worker": "*"}],
        "events": {"allow": ["*"], "deny": policy["deny"]}, "redact": rules}}}, ensure_ascii=False)


def write_string(rng, text):
    if rng.random() < 0.2:
        return '"' + "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else c for c in text) + '"'
    return json.dumps(text, ensure_ascii=rng.random() < 0.5)


def space(rng):
    return rng.choice(["", "", "", " ", "\t", "  "])


def write_value(rng, depth):
    shape = rng.random()
    if depth == 0 or shape < 0.35:
        return rng.choice([write_string(rng, rng.choice(TEXTS + KINDS)), "1.50", "-0", "true",
                           "null", "[]", "{}", "12345678901234567890"])
    if shape < 0.5:
        items = [write_value(rng, depth - 1) for _ in range(rng.randint(0, 4))]
        return "[" + ",".join(space(rng) + item + space(rng) for item in items) + "]"
    members = []
    for _ in range(rng.randint(0, 5)):
        name = rng.choice(NAMES)
        value = (write_string(rng, rng.choice(KINDS))
                 if name in ("event", "type", "k") and rng.random() < 0.7
                 else write_value(rng, depth - 1))
        members.append(space(rng) + write_string(rng, name) + space(rng) + ":" + space(rng) +
                       value + space(rng))
    return "{" + ",".join(members) + "}"


def random_event(rng):
    while True:
        text = write_value(rng, 5)
        if text.startswith("{"):
            return space(rng) + text + space(rng)


def run_round(bin_dir, tmp_path, seed):
    rng = random.Random(seed)
    policy = random_policy(rng)
    path = tmp_path / "policy.json"
    path.write_text(policy_text(policy))
    (tmp_path / "key").write_bytes(SECRET)
    events = [random_event(rng) for _ in range(EVENTS_A_ROUND)]
    result = subprocess.run(
        [bin_dir / "projection", "--explain", path, "--role", "r", "--runtime", "r",
         "--worker", "w", "--key", "key"], input="\n".join(events).encode() + b"\n", capture_output=True,
        timeout=60)
    assert result.returncode == 0, result.stderr
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(answers) == len(events)
    for event, answer in zip(events, answers):
        expected = project(policy, event)
        assert (answer["verdict"], answer["payload"]) == expected, (
            f"SIGHTLINE_SEED={seed}", policy_text(policy), event)
    return [answer["verdict"] for answer in answers], [
        rule for answer in answers for rule in answer["rules"]]


def test_both_implementations_give_the_same_bytes(bin_dir, tmp_path):
    if "SIGHTLINE_SEED" in os.environ:
        run_round(bin_dir, tmp_path, int(os.environ["SIGHTLINE_SEED"]))
        return
    base = random.randrange(1 << 32)
    verdicts, actions = [], []
    for i in range(ROUNDS):
        more, rules = run_round(bin_dir, tmp_path, base + i)
        verdicts += more
        actions += [rule.split()[1] for rule in rules]
    assert {"pass", "rewrite", "deny"} <= set(verdicts)
    assert {*STRENGTH, "deny"} == set(actions)
