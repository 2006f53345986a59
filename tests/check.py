"""./check after the installation: builds the presets and runs all their tests as one ctest run.

Each preset has its own ctest tests. They are collected, named PRESET/TEST, into one test file in
build/check, together with the checks that belong to no build, so that one summary covers all.
"""

import argparse
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
CHECK_DIR = TOP / "build" / "check"
CLANG_FORMAT = "clang-format-14"  # the style is written for this version
FRESH_SUITES = ("bookworm", "trixie")
FRESH_TIMEOUT_S = 1200
LOG_TAIL_LINES = 60
# Labels of tests that take their meaning from a release build: load, timing, many crashes.
# Those labelled "tree" don't depend on the build at all.
RELEASE_ONLY_LABELS = {"crash", "timing", "bench", "systemd", "tree"}


def everything(_name, _labels):
    return True


def not_heavy(_name, labels):
    return not labels & RELEASE_ONLY_LABELS


def without_processes(name, labels):
    return not_heavy(name, labels) and not labels & {"integration", "slow"}


def with_threads(name, labels):
    """eventlogd is the one process with a second thread, in a sandbox that allows it."""
    return not_heavy(name, labels) and (
        "event_log" in name or "eventlogd" in name or name == "unit/sandbox")


# Which of a preset's tests run, cheapest first: a mistake shows early.
FULL = (
    ("release", everything),
    ("no-websocket", without_processes),
    ("clang", without_processes),
    ("asan", not_heavy),
    ("tsan", with_threads),
)
QUICK = (("release", lambda _name, labels: not labels & {"crash", "slow", "systemd"}),)
# Names of other tests stand in these properties.
REFERENCES = {"DEPENDS", "FIXTURES_SETUP", "FIXTURES_CLEANUP", "FIXTURES_REQUIRED"}


def run_logged(log_path, *argv):
    """Runs in the checkout with its output in a file; on failure shows the end and exits."""
    with open(log_path, "a", encoding="utf-8") as log:
        code = subprocess.run(argv, cwd=TOP, stdout=log, stderr=subprocess.STDOUT,
                              check=False).returncode
    if code != 0:
        lines = log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        print("\n".join(lines[-LOG_TAIL_LINES:]), file=sys.stderr)
        sys.exit(f"check: {' '.join(argv)} failed; all of it is in {log_path}")


def build(preset):
    started = time.monotonic()
    print(f"{preset}: building", flush=True)
    log = CHECK_DIR / f"{preset}.log"
    log.unlink(missing_ok=True)
    with open(TOP / "build" / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ./demo builds in the same tree
        run_logged(log, "cmake", "--preset", preset)
        run_logged(log, "cmake", "--build", "--preset", preset, "--", "-k", "0")  # every mistake
    print(f"{preset}: built in {time.monotonic() - started:.0f} s", flush=True)


def tests_of(preset, selected):
    """[(name, command or None, {property: value})] of one preset, renamed to PRESET/NAME."""
    listing = subprocess.run(
        ["ctest", "--test-dir", f"build/{preset}", "--show-only=json-v1"],
        cwd=TOP, capture_output=True, text=True, check=True).stdout
    tests = []
    for test in json.loads(listing)["tests"]:
        properties = {p["name"]: p["value"] for p in test.get("properties", [])}
        if not selected(test["name"], set(properties.get("LABELS", []))):
            continue
        for name in REFERENCES & properties.keys():
            properties[name] = [f"{preset}/{other}" for other in properties[name]]
        properties["LABELS"] = properties.get("LABELS", []) + [preset]
        tests.append((f"{preset}/{test['name']}", test.get("command"), properties))
    return tests


def tests_of_the_tree(quick):
    """What is checked once, whatever the build."""
    tests = []
    if shutil.which(CLANG_FORMAT) and (TOP / ".git").exists():
        files = subprocess.run(["git", "ls-files", "*.c", "*.h"], cwd=TOP, capture_output=True,
                               text=True, check=True).stdout.split()
        tests.append(("style/clang-format", [CLANG_FORMAT, "--dry-run", "-Werror", *files],
                      {"LABELS": ["style"]}))
    else:
        print(f"SKIPPED: style/clang-format (needs {CLANG_FORMAT} and git)", flush=True)
    if not quick:
        for suite in FRESH_SUITES:
            tests.append((f"fresh/{suite}", [str(TOP / "tests/fresh/run"), suite],
                          {"LABELS": ["fresh"], "TIMEOUT": FRESH_TIMEOUT_S,
                           "RUN_SERIAL": True, "SKIP_RETURN_CODE": 77}))
    for _, _, properties in tests:
        properties["WORKING_DIRECTORY"] = str(TOP)
    return tests


def quoted(value):
    """One argument of a CMake command; nothing in it is expanded."""
    if isinstance(value, bool):
        value = "TRUE" if value else "FALSE"
    elif isinstance(value, list):
        value = ";".join(map(str, value))
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    fence = "="
    while f"]{fence}]" in str(value):
        fence += "="
    return f"[{fence}[{value}]{fence}]"


def write_test_file(tests):
    lines = []
    for name, command, properties in tests:
        command = command or ["NOT_BUILT"]
        lines.append(f"add_test({quoted(name)} {' '.join(map(quoted, command))})")
        pairs = " ".join(f"{key} {quoted(value)}" for key, value in properties.items())
        lines.append(f"set_tests_properties({quoted(name)} PROPERTIES {pairs})")
    (CHECK_DIR / "CTestTestfile.cmake").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(
        prog="./check", usage="./check [--quick] [CTEST OPTION…]",
        description="Installs, builds, runs every test, and ends with ctest's summary. Options of "
        "ctest choose among the tests, for example -R unit/ or -LE fresh.")
    parser.add_argument("--quick", action="store_true",
                        help="the release build and its faster tests only")
    options, ctest_options = parser.parse_known_args()
    quick = options.quick
    started = time.monotonic()
    CHECK_DIR.mkdir(parents=True, exist_ok=True)
    builds = QUICK if quick else FULL
    for preset, _ in builds:
        build(preset)
    tests = [test for preset, selected in builds for test in tests_of(preset, selected)]
    tests += tests_of_the_tree(quick)
    write_test_file(tests)
    print(f"all built in {time.monotonic() - started:.0f} s", flush=True)
    jobs = str(len(os.sched_getaffinity(0)))
    os.execvp("ctest", ["ctest", "--test-dir", str(CHECK_DIR), "--output-on-failure",
                        "--no-tests=error", "-j", jobs, *ctest_options])


if __name__ == "__main__":
    main()
