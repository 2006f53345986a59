"""What each program says of itself, and its man page, name the same things; every page is clean."""

import pathlib
import re
import shutil
import subprocess

import pytest

PAGES = pathlib.Path(__file__).resolve().parents[2] / "docs/man"
PROGRAMS = {"eventlogd": 8, "wsgate": 8, "backend-relay": 8, "projection": 8, "eventlogctl": 1}


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def page_of(program):
    return (PAGES / f"{program}.{PROGRAMS[program]}").read_text()


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_is_on_standard_output_and_names_the_program(bin_dir, program):
    for option in ("--help", "-h"):
        done = run(bin_dir / program, option)
        assert done.returncode == 0 and not done.stderr
        assert done.stdout.startswith(f"Usage: {program} ")
        assert max(map(len, done.stdout.splitlines())) <= 100
    done = run(bin_dir / program, "--version")
    assert done.returncode == 0 and re.fullmatch(rf"{program} \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize("program", PROGRAMS)
def test_wrong_usage_is_told_on_standard_error(bin_dir, program):
    for arguments in ((), ("--nonsense",), ("nonsense",), ("--help=x",)):
        done = run(bin_dir / program, *arguments)
        assert done.returncode == 2 and done.stderr and not done.stdout, arguments


@pytest.mark.parametrize("program", [p for p in PROGRAMS if p != "eventlogctl"])
def test_help_and_man_page_name_the_same_options(bin_dir, program):
    told = re.findall(r"(?:^|, ) *(?:(-\w), )?--([\w-]+)",
                      run(bin_dir / program, "--help").stdout, re.MULTILINE)
    items = "\n".join(line for line in page_of(program).splitlines() if line.startswith(".It Fl"))
    described = re.findall(r"(?:Fl (\w) , )?Fl -([\w-]+)", items)
    assert [name for _, name in told] == [name for _, name in described]
    assert [letter.strip("-") for letter, _ in told] == [letter for letter, _ in described]


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_and_man_page_name_the_same_exit_codes(bin_dir, program):
    line, = re.findall(r"^Exit codes: (.*)$", run(bin_dir / program, "--help").stdout, re.MULTILINE)
    section = page_of(program).split(".Sh EXIT STATUS")[1].split(".Sh")[0]
    assert re.findall(r"\b(\d) ", line) == re.findall(r"^\.It (\d+)$", section, re.MULTILINE)


@pytest.mark.parametrize("page", sorted(path.name for path in PAGES.iterdir()))
def test_man_page_is_installed_and_clean(page):
    assert f"man/{page}" in (PAGES.parent / "CMakeLists.txt").read_text()
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    lint = run("mandoc", "-T", "lint", "-W", "warning", PAGES / page)
    assert (lint.returncode, lint.stdout) == (0, "")
