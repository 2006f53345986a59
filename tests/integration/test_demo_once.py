"""./demo --once with the real processes: its exit code can be believed."""

import os
import pathlib
import signal
import subprocess
import tempfile

import pytest

from pipeline import TOP, sample_stream

DEADLINE_S = 90
PROGRAMS = ("eventlogd", "eventlogctl", "wsgate", "backend-relay", "projection")


@pytest.fixture
def runtime_dir():
    with tempfile.TemporaryDirectory(prefix="sl-") as path:
        yield path


def demo(bin_dir, runtime_dir, *arguments, stderr=subprocess.STDOUT):
    return subprocess.Popen(
        ["/usr/bin/python3", "-B", str(TOP / "units/demo/main.py"), "--bin-dir", str(bin_dir),
         *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=stderr, text=True,
        env=dict(os.environ, XDG_RUNTIME_DIR=runtime_dir, COLUMNS="120"))


def run_once(bin_dir, runtime_dir, *arguments):
    with demo(bin_dir, runtime_dir, "--once", "--speed", "0", *arguments) as process:
        output, _ = process.communicate(timeout=DEADLINE_S)
    assert os.listdir(runtime_dir) == [], "something is left behind"
    return process.returncode, output


def test_the_sample_run_passes_through_whole(bin_dir, runtime_dir):
    code, output = run_once(bin_dir, runtime_dir)
    assert code == 0, output
    assert f"whole: {len(sample_stream())} events" in output
    assert "withheld from this role" in output


def test_files_are_fed_one_worker_each(bin_dir, runtime_dir, tmp_path):
    for name, lines in (("a.jsonl", sample_stream()[:40]), ("b c.jsonl", sample_stream())):
        (tmp_path / name).write_bytes(b"".join(line + b"\n" for line in lines))
    code, output = run_once(bin_dir, runtime_dir, tmp_path / "a.jsonl", tmp_path / "b c.jsonl")
    assert code == 0, output
    assert "a as operator" in output and "b-c as operator" in output
    assert f"whole: {40 + len(sample_stream())} events" in output


def test_a_refused_line_is_named_and_the_exit_code_is_not_0(bin_dir, runtime_dir, tmp_path):
    path = tmp_path / "bad.jsonl"
    for behind in (b"", b'{"event":"c"}\n' * 20_000):
        path.write_bytes(b'{"event":"a"}\n{"event":"b"}\n{"event":\n' + behind)
        code, output = run_once(bin_dir, runtime_dir, path)
        assert code == 1
        assert "NOT WHOLE: eventlogctl publish" in output and "Traceback" not in output
        assert f"{path}:3: invalid_json" in output


def test_when_nobody_reads_its_output_it_stops_without_a_word(bin_dir, runtime_dir):
    with demo(bin_dir, runtime_dir, "--once", "--speed", "0", stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
        assert (process.wait(DEADLINE_S), told) == (1, "")
    assert os.listdir(runtime_dir) == [], "something is left behind"


def spoiled(bin_dir, path, script):
    """The programs, with an eventlogctl that publishes something else than it was given."""
    for name in PROGRAMS:
        (path / name).symlink_to(pathlib.Path(bin_dir) / name)
    (path / "eventlogctl").unlink()
    (path / "eventlogctl").write_text(
        f"#!/bin/sh\nsed -u '{script}' | {bin_dir}/eventlogctl \"$@\"\n")
    (path / "eventlogctl").chmod(0o755)
    return path


@pytest.mark.parametrize("script, word", [
    ("20d", "lost"),
    ("20p", "doubled"),
    ("20{h;d};21G", "reordered"),
    ("20s/:/: /", "changed"),
])
def test_a_run_that_is_not_whole_is_told(bin_dir, runtime_dir, tmp_path, script, word):
    run = tmp_path / "short.jsonl"
    run.write_bytes(b"".join(line + b"\n" for line in sample_stream()[:40]))
    programs = tmp_path / "bin"
    programs.mkdir()
    code, output = run_once(spoiled(bin_dir, programs, script), runtime_dir, run)
    assert code == 1, output
    assert word in output[output.index("NOT WHOLE") :]


def test_processes_killed_during_the_run_cost_nothing(bin_dir, runtime_dir):
    with demo(bin_dir, runtime_dir, "--once", "--speed", "8") as process:
        pids, seen = {}, []
        for line in process.stdout:
            seen.append(line)
            words = line.split()
            if words[:1] == ["processes"]:
                pids = dict(zip(words[1::2], map(int, words[2::2])))
            if "text_done" in line and pids:
                os.kill(pids.popitem()[1], signal.SIGKILL)
        code = process.wait(DEADLINE_S)
    assert code == 0, "".join(seen)
    assert sum("is back as process" in line for line in seen) >= 3
