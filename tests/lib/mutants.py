"""Deliberate breakages, each of which a test has to notice.

    sys.exit(mutants.main(__doc__, MUTANTS, PROGRAMS, TESTS))

MUTANTS: (name, file, what stands there once, what stands there instead). PROGRAMS: targets of the
build. TESTS: (name, command); a command that is no absolute path is of the release build. The tree
is copied and built; for each mutant one place is changed, and the tests run until one fails.
"""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TIMEOUT_S = 200


def parse_arguments(description):
    parser = argparse.ArgumentParser(description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="those whose name holds this")
    parser.add_argument("--all", action="store_true", help="run every test on every mutant")
    parser.add_argument("--jobs", default="2", help="of the builds (default 2)")
    return parser.parse_args()


def run(command, directory, environment=None):
    """(code, output); a test that hangs has noticed too."""
    process = subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, env=environment, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with all that it started
        process.communicate()
        return "hangs", b""
    return process.returncode, output


def build(tree, programs, jobs):
    code, output = run(["cmake", "--build", "--preset", "release", "--target", *programs,
                        "--", f"-j{jobs}"], tree)
    if code != 0:
        sys.exit(output.decode(errors="replace")[-4000:])


def copy_tree(directory):
    tree = pathlib.Path(directory) / "tree"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in files.stdout.decode().split("\0")[:-1]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    lists = tree / "CMakeLists.txt"  # what a mutant leaves unused is no mistake
    lists.write_text(lists.read_text(encoding="utf-8").replace(" -Werror", ""), encoding="utf-8")
    if run(["cmake", "--preset", "release"], tree)[0] != 0:
        sys.exit("the copy can't be configured")
    return tree


def caught_by(tree, tests, run_all):
    """[(name of the test, its output)]"""
    out = tree / "build/release"
    environment = {**os.environ, "SIGHTLINE_BIN_DIR": str(out / "bin"),
                   "PYTHONDONTWRITEBYTECODE": "1"}
    caught = []
    for name, command in tests:
        code, output = run([str(out / command[0]), *command[1:]], tree, environment)
        if code != 0:
            caught.append((name if code != "hangs" else name + " (hangs)", output))
            if not run_all:
                break
    return caught


def main(description, mutants, programs, tests):
    arguments = parse_arguments(description)
    chosen = [mutant for mutant in mutants
              if not arguments.names or any(name in mutant[0] for name in arguments.names)]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        tree = copy_tree(directory)
        build(tree, programs, arguments.jobs)
        for name, output in caught_by(tree, tests, True):
            sys.exit(f"{name} fails without any mutant:\n{output.decode(errors='replace')}")
        for name, file, old, new in chosen:
            path, started = tree / file, time.monotonic()
            text = path.read_text(encoding="utf-8")
            if text.count(old) != 1:
                sys.exit(f"{name}: stands {text.count(old)} times in {file}")
            path.write_text(text.replace(old, new), encoding="utf-8")
            build(tree, programs, arguments.jobs)
            caught = [test for test, _ in caught_by(tree, tests, arguments.all)]
            path.write_text(text, encoding="utf-8")
            missed += not caught
            print(f"{name:<48} {', '.join(caught) or 'NOT NOTICED'}"
                  f"  ({time.monotonic() - started:.0f} s)", flush=True)
    print(f"mutants: {len(chosen)}, {missed} not noticed")
    return 1 if missed else 0
