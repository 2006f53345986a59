"""Mistakes in what the programs are started with: told with file, line and column, exit code 2."""

import os
import socket
import subprocess

import pytest

DEADLINE_S = 20
KEY = "11" * 32 + "\n"

POLICY = """\
version: 1
roles:
  operator:
    observe: [{runtime: "*", worker: "*"}]
    events: {allow: ["*"]}
"""
RELAY = """\
listen: 127.0.0.1:0
projection_socket: projection.sock
registry: registry.yaml
tokens: tokens.yaml
cursor_keys: [cursor.key]
event_id_key: event-id.key
"""
REGISTRY = """\
runtimes:
  - {runtime_id: a, url: "ws://127.0.0.1:1"}
"""
TOKENS = """\
tokens:
  - {subject: s, role: r, hash: "%s"}
""" % ("ab" * 32)
WSGATE = """\
runtime_id: a
tail_socket: tail.sock
listen: 127.0.0.1:0
token_file: runtime.token
"""
PROGRAMS = {
    "projection": ["projection", "--check", "policy.yaml"],
    "wsgate": ["wsgate", "--config", "wsgate.yaml"],
    "backend-relay": ["backend-relay", "--config", "backend-relay.yaml"],
}


@pytest.fixture
def files(tmp_path):
    """What each program needs to start, without a mistake."""
    good = {"policy.yaml": POLICY, "backend-relay.yaml": RELAY, "registry.yaml": REGISTRY,
            "tokens.yaml": TOKENS, "wsgate.yaml": WSGATE, "cursor.key": KEY, "event-id.key": KEY,
            "runtime.token": "a-token-of-some-length\n"}
    for name, text in good.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    return tmp_path


def run(bin_dir, files, program, deadline_s=DEADLINE_S):
    name, option, file = PROGRAMS[program]
    environment = {k: v for k, v in os.environ.items() if k != "CREDENTIALS_DIRECTORY"}
    return subprocess.run([bin_dir / name, option, files / file], capture_output=True, text=True,
                          timeout=deadline_s, check=False, env=environment, cwd=files)


def replace(files, name, old, new):
    text = (files / name).read_text()
    assert old in text
    (files / name).write_text(text.replace(old, new, 1))


# (program, file, what stands there, what is put in its place, where the mistake is then)
MISTAKES = [
    # The policy.
    ("projection", "policy.yaml", "version: 1", "version: 2", "1:10"),
    ("projection", "policy.yaml", "version: 1", "verison: 1", "1:1"),
    ("projection", "policy.yaml", "roles:", "roles: 7\nx:", "2:8"),
    ("projection", "policy.yaml", '{runtime: "*", worker: "*"}', '{runtime: "*"}', "4:15"),
    ("projection", "policy.yaml", 'events: {allow: ["*"]}', 'events: {alow: ["*"]}', "5:14"),
    ("projection", "policy.yaml", '["*"]}', '["*"', ""),
    ("projection", "policy.yaml", 'events: {allow: ["*"]}',
     'events: {allow: ["*"]}\n    redact:\n      - {in: ["*"], path: "a..b", action: mask}',
     "7:27"),
    ("projection", "policy.yaml", 'events: {allow: ["*"]}',
     'events: {allow: ["*"]}\n    redact:\n      - {in: ["*"], path: "a", action: hide}', "7:40"),
    ("projection", "policy.yaml", "  operator:", "  operator: {}\n  operator:", "4:3"),
    ("projection", "policy.yaml", "  operator:", "\toperator:", "3:1"),
    # The relay's own file.
    ("backend-relay", "backend-relay.yaml", "registry:", "regisrty:", "3:1"),
    ("backend-relay", "backend-relay.yaml", "cursor_keys: [cursor.key]", "cursor_keys: []", "5:14"),
    ("backend-relay", "backend-relay.yaml", "tokens:", "max_clients: many\ntokens:", "4:14"),
    ("backend-relay", "backend-relay.yaml", "tokens:", "upstream_timeout: 5\ntokens:", "4:19"),
    ("backend-relay", "backend-relay.yaml", "tokens:", "upstream_timeout: 1ns\ntokens:", "4:19"),
    ("backend-relay", "backend-relay.yaml", "tokens:", "client_queue_bytes: 99TiB\ntokens:",
     "4:21"),
    ("backend-relay", "backend-relay.yaml", "registry: registry.yaml\n", "", "1:1"),
    ("backend-relay", "backend-relay.yaml", "tokens:", "listen: x:1\ntokens:", "4:1"),
    ("backend-relay", "backend-relay.yaml", "listen: 127.0.0.1:0", "listen: [", ""),
    # The registry.
    ("backend-relay", "registry.yaml", "runtimes:", "runtime:", "1:1"),
    ("backend-relay", "registry.yaml", "runtime_id: a", "runtime_id: a/b", "2:18"),
    ("backend-relay", "registry.yaml", "runtime_id: a", "runtime_id: " + "x" * 129, "2:18"),
    ("backend-relay", "registry.yaml", "ws://127.0.0.1:1", "http://127.0.0.1:1", "2:26"),
    ("backend-relay", "registry.yaml", "ws://127.0.0.1:1", "ws://127.0.0.1:99999", "2:26"),
    ("backend-relay", "registry.yaml", "ws://127.0.0.1:1", "ws://user:pw@127.0.0.1:1", "2:26"),
    ("backend-relay", "registry.yaml", "ws://127.0.0.1:1", "unix:relative", "2:26"),
    ("backend-relay", "registry.yaml", ', url: "ws://127.0.0.1:1"', "", "2:5"),
    ("backend-relay", "registry.yaml", '1"}', '1", tokn: x}', "2:46"),
    ("backend-relay", "registry.yaml", '1"}', '1"}\n  - {runtime_id: a, url: "unix:/x"}', "3:18"),
    ("backend-relay", "registry.yaml", "ws://127.0.0.1:1\"",
     'ws://192.0.2.1:1", token_file: runtime.token', "2:58"),
    ("backend-relay", "registry.yaml", '1"}', '1", token_file: missing.token}', "2:58"),
    ("backend-relay", "registry.yaml", "  - {", "  - {{", ""),
    # The tokens.
    ("backend-relay", "tokens.yaml", "ab" * 32, "ab", "2:33"),
    ("backend-relay", "tokens.yaml", "role: r", "role: a/b", "2:24"),
    ("backend-relay", "tokens.yaml", "subject: s, ", "", "2:5"),
    # wsgate's file.
    ("wsgate", "wsgate.yaml", "runtime_id: a", "runtime_id: a/b", "1:13"),
    ("wsgate", "wsgate.yaml", "runtime_id: a\n", "", "1:1"),
    ("wsgate", "wsgate.yaml", "tail_socket:", "tail_sock:", "2:1"),
    ("wsgate", "wsgate.yaml", "token_file:", "tls: {certificate: x}\ntoken_file:", "4:6"),
    ("wsgate", "wsgate.yaml", "tail_socket: tail.sock", "tail_socket: [x]", "2:14"),
]


@pytest.mark.parametrize("program, file, old, new, place", MISTAKES)
def test_a_mistake_is_told_with_its_place(bin_dir, files, program, file, old, new, place):
    replace(files, file, old, new)
    done = run(bin_dir, files, program)
    assert done.returncode == 2, done
    assert f"{file}:{place}:" in done.stderr if place else f"{file}:" in done.stderr, done.stderr
    assert done.stdout == "" and "a-token-of-some-length" not in done.stderr


@pytest.mark.parametrize("program, file", [
    ("projection", "policy.yaml"), ("backend-relay", "backend-relay.yaml"),
    ("backend-relay", "registry.yaml"), ("backend-relay", "tokens.yaml"),
    ("wsgate", "wsgate.yaml")])
@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff\xfex", b"- a\n- b\n", b"just a text\n",
                                     b"a: &a [*a]\n", b"x: " + b"[" * 5000, b"%YAML 9.9\n---\n{}"])
def test_a_file_of_something_else_is_refused_by_its_name(bin_dir, files, program, file, content):
    if file == "tokens.yaml" and content == b"":
        pytest.skip("no tokens at all is no mistake")
    (files / file).write_bytes(content)
    done = run(bin_dir, files, program)
    assert done.returncode == 2 and file in done.stderr, done


@pytest.mark.parametrize("program, file", [
    ("projection", "policy.yaml"), ("backend-relay", "backend-relay.yaml"),
    ("backend-relay", "registry.yaml"), ("backend-relay", "tokens.yaml"),
    ("backend-relay", "cursor.key"), ("backend-relay", "event-id.key"),
    ("wsgate", "wsgate.yaml"), ("wsgate", "runtime.token")])
def test_a_missing_file_is_named(bin_dir, files, program, file):
    (files / file).unlink()
    done = run(bin_dir, files, program)
    # A secret may be missing for reasons that pass; everything else is a mistake of configuration.
    assert done.returncode in ((1, 2) if file.endswith((".token", ".key")) else (2,)), done
    assert file in done.stderr and "No such file" in done.stderr


@pytest.mark.parametrize("file", ["cursor.key", "event-id.key"])
@pytest.mark.parametrize("content", ["", "xyz\n", "11" * 31 + "\n", "11" * 33 + "\n"])
def test_a_key_that_is_none_is_refused_and_not_shown(bin_dir, files, file, content):
    (files / file).write_text(content)
    done = run(bin_dir, files, "backend-relay")
    assert done.returncode == 2 and file in done.stderr
    assert not content.strip() or content.strip() not in done.stderr


@pytest.mark.parametrize("program, key", [
    ("wsgate", "listen"), ("wsgate", "status_listen"),
    ("backend-relay", "listen"), ("backend-relay", "status_listen")])
def test_a_port_in_use_is_told(bin_dir, files, program, key):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:{}".format(taken.getsockname()[1])
        file = PROGRAMS[program][2]
        if key == "listen":
            replace(files, file, "127.0.0.1:0", address)
        else:
            replace(files, file, "listen:", f"status_listen: {address}\nlisten:")
        done = run(bin_dir, files, program)
    assert done.returncode == 1, done
    assert address in done.stderr and "in use" in done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("arguments", [[], ["--nope"], ["--config"], ["--config", "x", "y"]])
def test_wrong_usage(bin_dir, program, arguments):
    done = subprocess.run([bin_dir / program, *arguments], capture_output=True, text=True,
                          timeout=DEADLINE_S, check=False)
    assert done.returncode == 2 and done.stderr and done.stdout == ""
