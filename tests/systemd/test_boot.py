"""The installed units in a real systemd: started by their sockets, restarted under load (root)."""

import json
import pathlib
import shutil
import subprocess
import time

import pytest

import machine as machine_module
from machine import Machine

SOCKETS = tuple(f"{name}.socket" for name in (
    "eventlogd-publish", "eventlogd-tail", "wsgate", "wsgate-status", "backend-relay",
    "backend-relay-status", "projection"))
SERVICES = ("eventlogd", "projection", "wsgate", "backend-relay")
LIB = pathlib.Path(__file__).resolve().parents[1] / "lib"
INSIDE = "/opt/sightline-test"
WORKER_USER, STRANGER = "worker", "stranger"
DEADLINE_S = 60
EVENTS_PER_STEP = 200
WATCHDOG_S = 2

pytestmark = pytest.mark.skipif(machine_module.missing() is not None,
                                reason=str(machine_module.missing()))


def new_token(program, role):
    token, entry = subprocess.run([program, "--new-token", "tester", role], check=True,
                                  capture_output=True, text=True).stdout.splitlines()
    return token, entry


def prepare(installed, token_entry):
    """The administrator's part: secrets, a token, and here a short watchdog."""
    config = next(installed.glob("**/etc/sightline"))
    make_secrets = next(installed.glob("**/sightline/make-secrets"))
    subprocess.run([make_secrets, config], check=True, capture_output=True)
    (config / "tokens.yaml").write_text(f"tokens:\n  {token_entry}\n")
    drop_in = installed / "etc/systemd/system/projection.service.d/watchdog.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text(f"[Service]\nWatchdogSec={WATCHDOG_S}s\n")
    inside = installed / INSIDE.lstrip("/")
    shutil.copytree(LIB, inside, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(pathlib.Path(__file__).parent / "watch.py", inside)


@pytest.fixture(scope="module")
def token_and_machine(build_dir):
    machine = Machine(build_dir)
    token, entry = new_token(build_dir / "bin/backend-relay", "operator")
    prepare(machine.installed, entry)
    with machine:
        machine.run("useradd", "--no-create-home", "--groups", "sightline-publish", WORKER_USER)
        machine.run("useradd", "--no-create-home", STRANGER)
        machine.run("systemctl", "start", *SOCKETS)
        machine.run("systemctl", "start", "eventlogd.service", "wsgate.service")
        yield token, machine


@pytest.fixture
def machine(token_and_machine):
    return token_and_machine[1]


@pytest.fixture
def token(token_and_machine):
    return token_and_machine[0]


def publish(machine, user, worker_id, lines):
    return machine.run("runuser", "-u", user, "--", "/usr/local/bin/eventlogctl", "publish",
                       "--worker", worker_id, check=False,
                       stdin="".join(line + "\n" for line in lines))


def watch(machine, worker_id, token, count):
    url = f"ws://127.0.0.1:7003/api/runtimes/this-host/workers/{worker_id}/events/ws"
    return machine.spawn("/usr/bin/python3", "-B", f"{INSIDE}/watch.py", url, token, count,
                         DEADLINE_S)


def numbered(first, count):
    return [json.dumps({"event": "tick" if i else "snapshot", "data": {"n": i}})
            for i in range(first, first + count)]


def read_lines(process, count):
    return [process.stdout.readline().decode().rstrip("\n") for _ in range(count)]


def test_only_what_is_asked_for_is_running(machine):
    assert machine.is_active("eventlogd.service") and machine.is_active("wsgate.service")
    assert machine.is_active("backend-relay.socket") and machine.is_active("projection.socket")
    assert not machine.is_active("backend-relay.service")
    assert not machine.is_active("projection.service")


def test_only_members_of_the_group_publish(machine):
    assert publish(machine, WORKER_USER, "members", numbered(0, 3)).returncode == 0
    refused = publish(machine, STRANGER, "strangers", numbered(0, 3))
    assert refused.returncode != 0 and "ermission denied" in refused.stderr


def test_the_first_viewer_starts_relay_and_projection(machine, token):
    lines = numbered(0, 10)
    assert publish(machine, WORKER_USER, "first", lines).returncode == 0
    with watch(machine, "first", token, len(lines)) as viewer:
        assert read_lines(viewer, len(lines)) == lines
    assert machine.is_active("backend-relay.service")
    assert machine.is_active("projection.service")



def test_each_process_is_confined_and_has_a_user_of_its_own(machine):
    users = set()
    for name in SERVICES:
        inside = machine.main_pid(f"{name}.service")
        status = machine.run("cat", f"/proc/{inside}/status").stdout
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["NoNewPrivs"] == "1" and fields["Seccomp"] == "2", name
        assert fields["CapEff"].strip("0") == "" and fields["CapBnd"].strip("0") == "", name
        users.add(fields["Uid"].split()[0])
    assert len(users) == len(SERVICES) and "0" not in users


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_each_unit_restarted_under_load_loses_nothing(machine, token, how):
    worker_id = f"load-{how}"
    total = EVENTS_PER_STEP * (len(SERVICES) + 1)
    publisher = machine.spawn("runuser", "-u", WORKER_USER, "--", "/usr/local/bin/eventlogctl",
                              "publish", "--worker", worker_id)
    sent, got = [], []

    def send():
        more = numbered(len(sent), EVENTS_PER_STEP)
        sent.extend(more)
        publisher.stdin.write("".join(line + "\n" for line in more).encode())

    send()
    with watch(machine, worker_id, token, total) as viewer:
        for name in SERVICES:
            got += read_lines(viewer, EVENTS_PER_STEP // 2)
            old = machine.main_pid(f"{name}.service")
            if how == "restart":
                machine.run("systemctl", "restart", f"{name}.service")
            else:
                machine.run("systemctl", "kill", "--signal=KILL", f"{name}.service")
            send()
            got += read_lines(viewer, len(sent) - len(got) - EVENTS_PER_STEP // 2)
            assert machine.main_pid(f"{name}.service") not in (0, old)
        got += read_lines(viewer, total - len(got))
        publisher.stdin.close()
        assert publisher.wait(DEADLINE_S) == 0
    publisher.stdout.close()
    assert got == sent


def test_a_hung_process_is_killed_by_its_watchdog_and_started_again(machine, token):
    lines = numbered(0, 20)
    assert publish(machine, WORKER_USER, "hung", lines[:10]).returncode == 0
    with watch(machine, "hung", token, len(lines)) as viewer:
        assert read_lines(viewer, 10) == lines[:10]
        old = machine.main_pid("projection.service")
        machine.run("systemctl", "kill", "--signal=STOP", "projection.service")
        assert publish(machine, WORKER_USER, "hung", lines[10:]).returncode == 0
        assert read_lines(viewer, 10) == lines[10:]
    assert machine.main_pid("projection.service") != old


def test_a_reload_takes_new_tokens(machine, build_dir):
    token, entry = new_token(build_dir / "bin/backend-relay", "operator")
    machine.run("sh", "-c", f"echo '  {entry}' >> /usr/local/etc/sightline/tokens.yaml")
    machine.run("systemctl", "reload", "backend-relay.service")
    with watch(machine, "first", token, 10) as viewer:
        assert read_lines(viewer, 10) == numbered(0, 10)


def test_the_journal_holds_no_secret_and_no_complaint_of_the_units(machine, token):
    journal = machine.journal()
    secrets = machine.run("sh", "-c", "cat /usr/local/etc/sightline/credentials/*"
                          " /usr/local/etc/sightline/runtime-tokens/*").stdout.split()
    for secret in [token, *secrets]:
        assert secret not in journal
    for complaint in ("Unknown key", "Failed to set up", "ignoring:"):
        assert complaint not in journal
    deadline = time.monotonic() + 10
    while not all(machine.is_active(f"{name}.service") for name in SERVICES):
        assert time.monotonic() < deadline, machine.run("systemctl", "--failed").stdout
