"""Each verb's --help and the man page name the same options; eventlogd.yaml(5), every key."""

import pathlib
import re
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
VERBS = ("publish", "tail", "cat", "export", "import", "status", "workers", "forget", "prune", "verify")


def run(bin_dir, program, *arguments):
    return subprocess.run([bin_dir / program, *arguments], capture_output=True, text=True,
                          timeout=20, check=False)


def options_of_help(text):
    """{"--socket": "-s", "--from": None, …}"""
    found = re.findall(r"^  (?:(-\w), |    )(--[\w-]+)", text, re.MULTILINE)
    return {name: letter or None for letter, name in found}


def options_of_man(text):
    found = re.findall(r"^\.It (?:Fl (\w) , )?Fl -([\w-]+)", text, re.MULTILINE)
    return {f"--{name}": f"-{letter}" if letter else None for letter, name in found}


def section(text, verb):
    start = text.index(f".Ss eventlogctl {verb}")
    return text[start:].split("\n.S", 1)[0]


@pytest.mark.parametrize("verb", VERBS)
def test_verb_and_man_page_name_the_same_options(bin_dir, verb):
    done = run(bin_dir, "eventlogctl", verb, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"Usage: eventlogctl {verb} ")
    options = options_of_help(done.stdout)
    assert options.pop("--help") == "-h"
    assert options == options_of_man(section((TOP / "docs/man/eventlogctl.1").read_text(), verb))


def test_every_verb_is_in_help_and_man_page(bin_dir):
    text = run(bin_dir, "eventlogctl", "--help").stdout
    assert re.findall(r"^  (\w+) ", text.split("Verbs:")[1], re.MULTILINE) == list(VERBS)
    man = (TOP / "docs/man/eventlogctl.1").read_text()
    assert re.findall(r"^\.Ss eventlogctl (\w+)", man, re.MULTILINE) == list(VERBS)


def test_every_configuration_key_is_in_its_man_page():
    source = (TOP / "eventlogd/config.c").read_text()
    keys = set(re.findall(r'\.name = "(\w+)"', source))
    man = (TOP / "docs/man/eventlogd.yaml.5").read_text()
    named = set(re.findall(r"^\.It Cm (\w+)$", man, re.MULTILINE)) | {"worker", "user"}
    assert keys == named


def test_wrong_verb(bin_dir):
    assert run(bin_dir, "eventlogctl", "nonsense").returncode == 2
