"""The example policy: nothing planted in a sensitive place reaches a viewer (tests/lib/sensitive.py
lists fields and places), and an operator gets every byte.

Every row is seen to fail: without the rules that are at work on it the marker is there. And every
rule is needed: without it alone some row shows its marker.
"""

import json
import pathlib
import re
import subprocess

import planted
import sensitive

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "units" / "policy.example.yaml"


def explain(bin_dir, role, lines, policy=EXAMPLE):
    result = subprocess.run(
        [bin_dir / "projection", "--explain", policy, "--role", role, "--runtime", "r",
         "--worker", "w"], input=b"".join(line + b"\n" for line in lines), capture_output=True,
        timeout=100)
    assert result.returncode == 0, result.stderr
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(answers) == len(lines)
    return answers


def escape_all(text):
    return "".join(f"\\u{ord(c):04x}" for c in text)


def spellings(value):
    """The same event as JSON in more than one way."""
    compact = json.dumps(value, separators=(",", ":"))
    yield compact
    yield json.dumps(value, indent=1).replace("\n", " ")
    escaped = compact
    for word in ("kind", "text", "output", "args", "message", "event", "data", "cwd", "model"):
        escaped = escaped.replace(f'"{word}"', f'"{escape_all(word)}"')
    yield escaped


def write(value):
    return json.dumps(value, separators=(",", ":")).encode()


def shows(answer, marker):
    return answer["payload"] is not None and marker in json.dumps(json.loads(answer["payload"]))


def test_no_marker_reaches_a_viewer(bin_dir):
    rows = [(name, text.encode(), marker, kept) for name, value, marker, kept in sensitive.rows()
            for text in spellings(value)]
    for (name, text, marker, kept), answer in zip(
            rows, explain(bin_dir, "viewer", [text for _, text, _, _ in rows])):
        assert answer["verdict"] in ("rewrite", "deny"), (name, text)
        assert not shows(answer, marker), (name, answer["payload"])
        assert kept is None or shows(answer, kept), (name, answer["payload"])


def test_an_operator_gets_every_byte(bin_dir):
    lines = [text.encode() for _, value, _, _ in sensitive.rows() for text in spellings(value)]
    answers = explain(bin_dir, "operator", lines)
    assert [answer["payload"].encode() for answer in answers] == lines
    assert {answer["verdict"] for answer in answers} == {"pass"}


def lines_of(answer):
    """Where the rules stand that were at work."""
    return {int(rule.split(":")[0]) for rule in answer["rules"]}


def without(tmp_path, numbers):
    """The example without what stands in these lines; what follows stays in its line."""
    lines = EXAMPLE.read_text().splitlines()
    for number in numbers:
        line = lines[number - 1]
        is_rule = line.lstrip().startswith("- {in:") and line.endswith("}")
        assert is_rule or "deny:" in line, line
        lines[number - 1] = "" if is_rule else re.sub(r"\[.*\]", "[]", line)
    path = tmp_path / "policy.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_every_row_can_fail(bin_dir, tmp_path):
    """Takes away the rules that work on a row, again and again, until it shows its marker."""
    open_rows = {(): [(name, write(value), marker) for name, value, marker, _ in sensitive.rows()]}
    shown = 0
    while open_rows:
        removed, rows = open_rows.popitem()
        answers = explain(bin_dir, "viewer", [text for _, text, _ in rows],
                          without(tmp_path, removed))
        for row, answer in zip(rows, answers):
            if shows(answer, row[2]):
                shown += 1
                continue
            more = lines_of(answer)
            assert more, (row[0], "nothing is at work, and the marker is not there", removed)
            open_rows.setdefault(tuple(sorted({*removed, *more})), []).append(row)
    assert shown == len(list(sensitive.rows()))


def test_every_rule_is_needed(bin_dir, tmp_path):
    rows = [(write(value), marker) for _, value, marker, _ in sensitive.rows()]
    by_rule = {}
    for row, answer in zip(rows, explain(bin_dir, "viewer", [text for text, _ in rows])):
        for number in lines_of(answer):
            by_rule.setdefault(number, []).append(row)
    text = EXAMPLE.read_text().splitlines()
    begin = text.index("  viewer:")
    rules = {number for number, line in enumerate(text, 1) if number > begin and (
        line.startswith("      - {in:") or line.startswith("      deny:"))}
    assert rules == set(by_rule), "rules that no row is about"
    for number in sorted(rules):
        answers = explain(bin_dir, "viewer", [line for line, _ in by_rule[number]],
                          without(tmp_path, [number]))
        assert any(shows(answer, marker) for (_, marker), answer in zip(
            by_rule[number], answers)), f"not needed: {text[number - 1]}"


def test_cwd_is_rewritten_at_a_boundary(bin_dir):
    paths = {"/srv/agents/a/b": "/workspace/a/b", "/srv/agents": "/workspace",
             "/srv/agents-x": "/srv/agents-x"}
    answers = explain(bin_dir, "viewer", [
        write({"event": "snapshot", "data": {"greeting": {"cwd": path}}}) for path in paths])
    assert [json.loads(answer["payload"])["data"]["greeting"]["cwd"]
            for answer in answers] == list(paths.values())


def texts_in(path, value):
    """(path, text) for each text in the value; `*` for an element."""
    if isinstance(value, str):
        yield path, value
    pairs = value.items() if isinstance(value, dict) else \
        [("*", inner) for inner in value] if isinstance(value, list) else []
    for key, inner in pairs:
        yield from texts_in((*path, key), inner)


# What of the recordings is sensitive; the rest of their texts is not.
RECORDED = {
    ("thinking_delta", "text"), ("thinking_done", "text"), ("tool_call_args_delta", "json"),
    ("tool_call_done", "arguments"), ("tool_result", "summary"), ("tool_result", "output"),
    ("command", "content"), ("snapshot", "greeting", "provider"), ("snapshot", "greeting", "model"),
    ("snapshot", "greeting", "scope_summary"), ("snapshot", "greeting", "cwd")}


def test_rows_agree_with_the_shapes_that_are_recorded(bin_dir):
    """Every text of the recordings stays for a viewer, or is sensitive and has a row."""
    events = [event for _, stream in planted.recorded_streams() for event in stream]
    answers = explain(bin_dir, "viewer", [write(event) for event in events])
    changed, recorded = set(), set()
    for event, answer in zip(events, answers):
        seen = set(texts_in((event["event"],), json.loads(answer["payload"] or "{}").get("data")))
        for path, text in texts_in((event["event"],), event.get("data")):
            recorded.add(path)
            if (path, text) not in seen and "_delta" not in path[0]:
                changed.add(path)
    assert changed == {path for path in RECORDED if "_delta" not in path[0]}
    assert RECORDED <= recorded
    planted_at = {path for _, event, _, _ in sensitive.live_rows()
                  for path, text in texts_in((event["event"],), event["data"])
                  if sensitive.MARK in text or sensitive.PREFIX in text}
    assert RECORDED <= planted_at
