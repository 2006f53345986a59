"""projection's command line: --check, --explain, exit codes, mistakes in the policy."""

import json
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "units" / "policy.example.yaml"
SAMPLE = ROOT / "units" / "demo" / "sample.jsonl"

GOOD = 'version: 1\nroles:\n  viewer:\n    events: {allow: ["*"]}\n'


def run(bin_dir, *arguments, stdin=b""):
    return subprocess.run([bin_dir / "projection", *map(str, arguments)], input=stdin,
                          capture_output=True, timeout=60)


def explain(bin_dir, policy, role, lines, runtime="r", worker="w", options=()):
    result = run(bin_dir, "--explain", policy, "--role", role, "--runtime", runtime,
                 "--worker", worker, *options, stdin=b"".join(line + b"\n" for line in lines))
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_help_and_version(bin_dir):
    assert run(bin_dir, "--help").stdout.startswith(b"Usage: projection")
    assert run(bin_dir, "--version").stdout.startswith(b"projection ")


def test_help_and_the_manual_name_the_same_options(bin_dir):
    told = set(re.findall(r"--[a-z-]+", run(bin_dir, "--help").stdout.decode()))
    manual = (ROOT / "docs" / "man" / "projection.8").read_text()
    assert told == {"-" + option for option in re.findall(r"Fl (-[a-z-]+)", manual)}


@pytest.mark.parametrize("arguments", [
    [], ["--nonsense"], ["stray"], ["--policy"], ["--explain", "x"],
    ["--policy", "x", "--role", "y"],
    ["--explain", "x", "--role", "r", "--runtime", "*", "--worker", "w"]])
def test_usage_mistakes_exit_with_2(bin_dir, arguments):
    result = run(bin_dir, *arguments)
    assert result.returncode == 2 and result.stderr and not result.stdout


def test_check_says_ok_or_where_the_mistake_is(bin_dir, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text(GOOD)
    result = run(bin_dir, "--check", policy)
    assert (result.returncode, result.stdout) == (0, f"{policy}: OK\n".encode())
    policy.write_text(GOOD + "    colour: blue\n")
    result = run(bin_dir, "--check", policy)
    assert result.returncode == 2
    assert result.stderr.decode() == f'{policy}:5:5: unknown key "colour"\n'
    for option in ("--policy", "--check"):
        assert run(bin_dir, option, policy).returncode == 2
        assert run(bin_dir, option, tmp_path / "missing.yaml").returncode == 2


BOMB = "a: &a [x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi"))
# Files that are no policy, and how the answer begins behind the file's name.
STRANGE = {
    "nothing": (b"", ":1:1: "),
    "a comment": (b"# nothing\n", ":1:1: "),
    "another version": (GOOD.replace("1", "2", 1).encode(), ":1:10: "),
    "two documents": (GOOD.encode() + b"---\n" + GOOD.encode(), ":5:1: "),
    "an alias bomb": (BOMB.encode(), ":2:8: aliases are not supported"),
    "a merge key": (GOOD.encode() + b"    <<: *a\n", ":5:9: aliases are not supported"),
    "a merged mapping": (GOOD.encode() + b"    <<: {observe: []}\n", ':5:5: unknown key "<<"'),
    "a deep list": (b"[" * 100_000, ":1:33: nested too deeply"),
    "a deep mapping": (b"{a: " * 100_000, ":1:129: nested too deeply"),
    "many values": (b"[" + b"a," * 100_000 + b"]", ":1:"),
    "more than 1 MiB": (GOOD.encode() + b"#" * (1 << 20), ": "),
    "binary": (bytes(range(256)), ":1:1: "),
    "an ELF file's beginning": (b"\x7fELF\x02\x01\x01\x00" * 8, ":1:1: "),
    "UTF-16": (GOOD.encode("utf-16-be"), ":1:1: "),
    "not UTF-8": (GOOD.encode() + b"  x\xff: {}\n", ":5:4: "),
    "a NUL": (GOOD.encode() + b'  "a\\0b": {}\n', ":5:3: NUL in a value"),
    "a tab": (GOOD.encode() + b"\tx: {}\n", ":5:1: "),
    "a role twice": (GOOD.encode() + b"  viewer: {}\n", ':5:3: duplicate key "viewer"'),
}


@pytest.mark.parametrize("name", STRANGE)
def test_no_file_is_too_strange_to_be_refused_with_its_place(bin_dir, tmp_path, name):
    content, expected = STRANGE[name]
    policy = tmp_path / "policy.yaml"
    policy.write_bytes(content)
    result = run(bin_dir, "--check", policy)
    assert result.returncode == 2 and not result.stdout
    (line,) = result.stderr.decode().splitlines()
    assert line.startswith(f"{policy}{expected}"), line
    assert run(bin_dir, "--policy", policy, "--socket", tmp_path / "p.sock").returncode == 2


@pytest.mark.parametrize("path", [".", "/dev/null", "/dev/zero"])
def test_what_is_no_file_is_refused(bin_dir, path):
    result = run(bin_dir, "--check", path)
    assert result.returncode == 2 and result.stderr


def test_the_example_policy_is_good(bin_dir):
    assert run(bin_dir, "--check", EXAMPLE).returncode == 0


def test_serving_needs_a_socket(bin_dir, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text(GOOD)
    assert run(bin_dir, "--policy", policy).returncode == 2
    result = run(bin_dir, "--policy", policy, "--socket", tmp_path / "no" / "where.sock")
    assert result.returncode == 1 and b"can't listen" in result.stderr
    (tmp_path / "file").write_text("kept")
    assert run(bin_dir, "--policy", policy, "--socket", tmp_path / "file").returncode == 1
    assert (tmp_path / "file").read_text() == "kept"


def test_explain_prints_verdict_rules_and_bytes(bin_dir, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text("""version: 1
roles:
  viewer:
    observe: [{runtime: "*", worker: "*", except: [hidden]}]
    events: {allow: ["*"], deny: [secret]}
    redact:
      - {in: [note], path: data.text, action: mask}
      - {in: [note], path: data.text, action: truncate, truncate: 3}
      - {in: [note], path: data.title, action: truncate, truncate: 3}
""")
    lines = [b'{"event":"note","data":{"text":"a","title":"long title"}}',
             b'{"event":"other","x":1.10}', b'{"event":"secret"}', b"", b"{", b'{"type":"note"}']
    answers = explain(bin_dir, policy, "viewer", lines)
    assert answers == [
        {"line": 1, "kind": "note", "verdict": "rewrite",
         "rules": ["7:9 mask data.text", "9:9 truncate data.title"],
         "payload": '{"event":"note","data":{"text":"[redacted]","title":"lon…"}}'},
        {"line": 2, "kind": "other", "verdict": "pass", "rules": [],
         "payload": '{"event":"other","x":1.10}'},
        {"line": 3, "kind": "secret", "verdict": "deny", "rules": ["5:35 deny secret"],
         "payload": None},
        {"line": 5, "kind": None, "verdict": "refused", "rules": [], "payload": None},
        {"line": 6, "kind": "note", "verdict": "pass", "rules": [],
         "payload": '{"type":"note"}'}]
    for role, worker in (("viewer", "hidden"), ("nobody", "w")):
        answers = explain(bin_dir, policy, role, lines[:3], worker=worker)
        assert [answer["verdict"] for answer in answers] == ["deny"] * 3
        assert [answer["rules"] for answer in answers] == [
            ["4:14 observe"] if role == "viewer" else []] * 3


def test_explain_names_what_denied_an_event_or_one_nested_in_it(bin_dir, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text("""version: 1
roles:
  viewer:
    observe: [{runtime: "*", worker: "*"}]
    events: {allow: ["n*", "x_*"],
             deny: ["x_s*", "*_secret"]}
    redact:
      - {in: ["*"], path: "**[level=hidden]", action: remove}
      - {in: ["*"], path: "data.text", action: mask}
""")
    nested = b'{"event":"note","data":{"text":1,"event":{"event":"%s","data":{}}}}'
    answers = explain(bin_dir, policy, "viewer", [
        b'{"event":"x_secret"}', b'{"event":"other"}', b'{"event":"n","level":"hidden"}',
        nested % b"x_secret", nested % b"other", nested % b"nothing"])
    assert [(answer["verdict"], answer["rules"]) for answer in answers] == [
        ("deny", ["6:21 deny x_s*", "6:29 deny *_secret"]),
        ("deny", ["5:21 allow"]),
        ("deny", ["8:9 remove **[level=hidden]"]),
        ("rewrite", ["6:21 deny x_s*", "6:29 deny *_secret", "9:9 mask data.text"]),
        ("rewrite", ["5:21 allow", "9:9 mask data.text"]),
        ("rewrite", ["9:9 mask data.text"])]


def test_hash_needs_a_key_and_depends_on_it(bin_dir, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text("""version: 1
roles:
  viewer:
    observe: [{runtime: "*", worker: "*"}]
    events: {allow: ["*"]}
    redact:
      - {in: ["*"], path: "*", action: hash}
""")
    line = b'{"a":"x","b":"\\u0078","c":"y","d":1}'
    result = run(bin_dir, "--explain", policy, "--role", "viewer", "--runtime", "r",
                 "--worker", "w", stdin=line)
    assert result.returncode == 2 and b"policy.yaml:7:9: " in result.stderr
    assert b"--key" in result.stderr
    result = run(bin_dir, "--check", policy)
    assert result.returncode == 0 and b"OK with --key FILE, for 7:9 hash" in result.stdout
    seen = []
    for secret in ("one", "two"):
        (tmp_path / "key").write_text(secret + "\n")
        (answer,) = explain(bin_dir, policy, "viewer", [line], options=("--key", "key"))
        seen.append(json.loads(answer["payload"]))
        assert len(set(seen[-1].values())) == 3 and seen[-1]["a"] == seen[-1]["b"]
        assert all(len(value) == 32 for value in seen[-1].values())
    assert not set(seen[0].values()) & set(seen[1].values())
    assert run(bin_dir, "--policy", policy, "--socket", tmp_path / "s",
               "--key", "missing").returncode == 1


def test_sample_run_is_untouched_for_the_operator(bin_dir):
    lines = SAMPLE.read_bytes().splitlines()
    answers = explain(bin_dir, EXAMPLE, "operator", lines)
    assert [answer["payload"].encode() for answer in answers] == lines
    assert {answer["verdict"] for answer in answers} == {"pass"}


def test_sample_run_stays_json_for_the_viewer(bin_dir):
    lines = SAMPLE.read_bytes().splitlines()
    answers = explain(bin_dir, EXAMPLE, "viewer", lines)
    assert {answer["verdict"] for answer in answers} <= {"pass", "rewrite", "deny"}
    for line, answer in zip(lines, answers):
        if answer["payload"] is not None:
            assert json.loads(answer["payload"])["event"] == json.loads(line)["event"]
