"""The installed units: understood by systemd, hardened in one order, and complete. Needs no root."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from machine import install

SERVICES = ("eventlogd", "wsgate", "backend-relay", "projection")
# Targets that every unit refers to; `systemd-analyze --root` knows only what lies below the root.
TARGETS = ("sysinit", "basic", "shutdown", "sockets", "multi-user", "network", "system")
FIRST_HARDENING, LAST_HARDENING = "User", "SystemCallErrorNumber"
HOST_UNITS = pathlib.Path("/lib/systemd/system")


@pytest.fixture(scope="module")
def root(build_dir, tmp_path_factory):
    root = tmp_path_factory.mktemp("installed")
    install(build_dir, root)
    return root


@pytest.fixture(scope="module")
def units(root):
    return next(root.glob("**/systemd/system"))


def directives(path):
    """[(name, value)] of [Service], in order."""
    section = path.read_text().split("[Service]")[1].split("[Install]")[0]
    return re.findall(r"^([A-Za-z]+)=(.*)$", section, re.MULTILINE)


def test_systemd_understands_every_unit(root, units):
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    system = root / "lib/systemd/system"
    system.mkdir(parents=True, exist_ok=True)
    for name in TARGETS:
        if (HOST_UNITS / f"{name}.target").exists():
            shutil.copy(HOST_UNITS / f"{name}.target", system)
    for path in re.findall(r"^Exec\w+=(/\S+)", "\n".join(
            u.read_text() for u in units.glob("*.service")), re.MULTILINE):
        program = root / path.lstrip("/")
        if not program.exists():
            program.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy("/bin/true", program)
    names = sorted(u.name for u in units.iterdir() if u.suffix in (".service", ".socket"))
    result = subprocess.run(["systemd-analyze", f"--root={root}", "--man=no", "verify", *names],
                            capture_output=True, text=True, check=False)
    complaints = [line for line in result.stderr.splitlines()
                  if any(name in line for name in names)]
    assert not complaints
    assert result.returncode == 0, result.stderr


def test_hardening_stands_in_one_order_in_all_units(units):
    orders = {}
    for name in SERVICES:
        names = [key for key, _ in directives(units / f"{name}.service")]
        block = names[names.index(FIRST_HARDENING) : names.index(LAST_HARDENING) + 1]
        orders[name] = [key for key in block if key != "SupplementaryGroups"]
    assert len({tuple(order) for order in orders.values()}) == 1, orders


@pytest.mark.parametrize("name", SERVICES)
def test_a_process_is_restarted_for_ever_and_watched(units, name):
    service = dict(directives(units / f"{name}.service"))
    assert (service["Type"], service["Restart"]) == ("notify", "always")
    assert "WatchdogSec" in service
    assert "StartLimitIntervalSec=0" in (units / f"{name}.service").read_text()
    for socket in service["Sockets"].split():
        text = (units / socket).read_text()
        assert "TriggerLimitIntervalSec=0" in text and "FileDescriptorName=" in text


def test_processes_that_need_no_network_have_none(units):
    for name, private in (("eventlogd", "yes"), ("projection", "yes"),
                          ("wsgate", "no"), ("backend-relay", "no")):
        assert dict(directives(units / f"{name}.service"))["PrivateNetwork"] == private


def test_each_process_has_a_user_of_its_own(root, units):
    users = {dict(directives(units / f"{name}.service"))["User"] for name in SERVICES}
    assert len(users) == len(SERVICES)
    sysusers = next(root.glob("**/sysusers.d/sightline.conf")).read_text()
    assert users <= set(re.findall(r"^u (\S+)", sysusers, re.MULTILINE))


def test_exposure_as_systemd_rates_it_is_low(root, units):
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    for name in SERVICES:
        result = subprocess.run(
            ["systemd-analyze", "security", "--offline=yes", "--threshold=25",
             str(units / f"{name}.service")], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout


def test_installing_again_keeps_an_administrators_configuration(build_dir, root):
    config = next(root.glob("**/etc/sightline/eventlogd.yaml"))
    config.write_text("# mine\n")
    install(build_dir, root)
    assert config.read_text() == "# mine\n"


def test_secrets_are_made_once_and_readable_by_root_only(root, tmp_path):
    script = next(root.glob("**/sightline/make-secrets"))
    subprocess.run([script, tmp_path], check=True, capture_output=True)
    made = {p.relative_to(tmp_path): p.read_text() for p in tmp_path.rglob("*") if p.is_file()}
    assert len(made) == 4
    for path, text in made.items():
        assert re.fullmatch(r"[0-9a-f]{64}\n", text)
        assert os.stat(tmp_path / path).st_mode & 0o077 == 0
    assert len(set(made.values())) == 3  # the runtime's token is there for both sides
    subprocess.run([script, tmp_path], check=True, capture_output=True)
    assert {p: (tmp_path / p).read_text() for p in made} == made
