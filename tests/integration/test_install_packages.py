"""units/install-packages with an apt, a dpkg and a sudo that only write down what they are told."""

import os
import shutil
import subprocess

import pytest

from pipeline import TOP

LIST = """
build	here
build	new-name|old-name
build	missing
run	optional|-
test	nobody-knows
"""


class Debian:
    """A machine with these packages installed and known to apt."""

    def __init__(self, path, installed, known, uid=0, tools=("apt-get", "sudo")):
        self.path = path
        self.units = path / "units"
        self.units.mkdir()
        shutil.copy(TOP / "units/install-packages", self.units)
        (self.units / "packages").write_text(LIST)
        (path / "bin").mkdir()
        listing = "".join(f"installed {name}\n" for name in installed)
        (path / "installed").write_text(listing)
        self._tool("dpkg-query", f"cat {path}/installed")
        self._tool("apt-cache", "\n".join(
            ["for name; do :; done; case $name in"]
            + [f"{name}) echo '  Candidate: 1.0' ;;" for name in known] + ["esac"]))
        self._tool("id", f"echo {uid}")
        for tool in tools:
            self._tool(tool, f'echo "{tool} $*" >>{path}/calls' + (
                '; exec "$@"' if tool == "sudo" else ""))
        for tool in ("sh", "sed", "tr", "grep", "sort", "dirname", "env", "cat"):
            (path / "bin" / tool).symlink_to(shutil.which(tool, path="/usr/bin:/bin"))

    def _tool(self, name, body):
        path = self.path / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def run(self, *arguments, **environment):
        return subprocess.run([self.units / "install-packages", *arguments], text=True,
                              capture_output=True, check=False,
                              env={"PATH": str(self.path / "bin"), **environment})

    @property
    def calls(self):
        path = self.path / "calls"
        return path.read_text().splitlines() if path.exists() else []


def test_apt_is_not_called_when_nothing_is_missing(tmp_path):
    debian = Debian(tmp_path, ["here", "old-name", "missing"], [], uid=1000)
    assert debian.run("build").returncode == 0
    assert debian.calls == []


def test_what_is_missing_is_installed_in_one_call(tmp_path):
    debian = Debian(tmp_path, ["here"], ["here", "old-name", "missing"])
    assert debian.run("build", "run").returncode == 0
    assert [call.split()[1] for call in debian.calls] == ["update", "install"]
    assert debian.calls[-1].endswith(" missing old-name")
    assert not any(call.startswith("sudo") for call in debian.calls)


def test_the_first_alternative_that_apt_knows_is_taken(tmp_path):
    debian = Debian(tmp_path, ["here", "missing"], ["new-name", "old-name"])
    assert debian.run("--list", "build").stdout.split() == ["new-name"]


def test_sudo_is_used_without_root(tmp_path):
    debian = Debian(tmp_path, ["here", "new-name"], ["missing"], uid=1000)
    assert debian.run("build").returncode == 0
    assert any(call.startswith("sudo") and call.endswith(" missing") for call in debian.calls)


def test_without_root_and_sudo_it_says_what_to_run(tmp_path):
    debian = Debian(tmp_path, ["here", "new-name"], ["missing"], uid=1000, tools=("apt-get",))
    result = debian.run("build")
    assert result.returncode == 1
    assert "apt-get install" in result.stderr and "missing" in result.stderr
    assert debian.calls == []


def test_an_optional_package_that_apt_does_not_know_is_left_out(tmp_path):
    debian = Debian(tmp_path, [], [])
    assert debian.run("run").returncode == 0
    assert debian.calls == []


def test_a_package_that_nobody_knows_is_named(tmp_path):
    debian = Debian(tmp_path, [], [])
    result = debian.run("test")
    assert result.returncode == 1 and "nobody-knows" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["no-such-group"]])
def test_wrong_usage_is_told(tmp_path, arguments):
    assert Debian(tmp_path, [], []).run(*arguments).returncode == 2


def test_another_distribution_is_told_what_to_do(tmp_path):
    debian = Debian(tmp_path, [], [], tools=())
    assert debian.run("build").returncode == 1
    assert debian.run("build", SIGHTLINE_NO_INSTALL="1").returncode == 0


def test_every_group_of_the_real_list_resolves_here():
    if not os.path.exists("/usr/bin/apt-cache"):
        pytest.skip("needs apt")
    result = subprocess.run([TOP / "units/install-packages", "--list", "build", "run", "test"],
                            capture_output=True, text=True, check=True)
    assert "unknown" not in result.stdout
