"""Starting eventlogd: configuration, directory, sockets; each mistake with a message that names it."""

import os
import socket
import subprocess
import sys

import pytest

from eventlogd import Eventlogd
from fake_eventlogd import wait_until

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")

SMALL = {"segment_bytes": "256KiB", "max_event_bytes": "64KiB"}


def run(bin_dir, *arguments, **options):
    return subprocess.run([bin_dir / "eventlogd", *map(str, arguments)], capture_output=True,
                          text=True, timeout=20, check=False, **options)


def fails(server, code, *words):
    server.spawn()
    assert server.process.wait(20) == code, server.stderr()
    server.process = None
    for word in words:
        assert word in server.stderr()


def test_help_and_version(bin_dir):
    assert "--config" in run(bin_dir, "--help").stdout
    assert run(bin_dir, "--version").stdout.startswith("eventlogd ")


@pytest.mark.parametrize("arguments", [[], ["--nope"], ["--config"], ["--config", "x", "y"]])
def test_wrong_usage(bin_dir, arguments):
    done = run(bin_dir, *arguments)
    assert done.returncode == 2 and done.stderr


@pytest.mark.parametrize("text, place, word", [
    ("directory: /x\nnope: 1\n", "2:1", "nope"),
    ("publish_socket: /x\n", "1:1", "directory"),
    ("directory: /x\ndurability: maybe\n", "2:13", "durability"),
    ("directory: /x\nsegment_bytes: 1KiB\n", "2:16", "segment_bytes"),
    ("directory: /x\nmax_event_bytes: 1GiB\n", "2:18", "max_event_bytes"),
    ("directory: /x\nsegment_bytes: 1MiB\n", "2:16", "max_event_bytes"),
    ("directory: /x\nretention: {bytes: x}\n", "2:20", "bytes"),
    ("directory: /x\npublishers: [{worker: a, user: nobody-of-this-name}]\n", "2:32",
     "nobody-of-this-name"),
    ("directory: /x\npublishers: [{worker: a}]\n", "2:14", "user"),
    ("directory: [\n", "2:1", ""),
])
def test_mistake_in_the_configuration_is_told_with_its_place(bin_dir, tmp_path, text, place, word):
    path = tmp_path / "eventlogd.yaml"
    path.write_text(text)
    done = run(bin_dir, "--config", path)
    assert done.returncode == 2
    assert f"{path}:{place}:" in done.stderr and word in done.stderr


def test_missing_configuration(bin_dir, tmp_path):
    done = run(bin_dir, "--config", tmp_path / "none.yaml")
    assert done.returncode == 2 and "none.yaml" in done.stderr


def test_missing_directory(bin_dir):
    server = Eventlogd(bin_dir)
    server.log_dir.rmdir()
    fails(server, 1, str(server.log_dir), "No such file")


def test_directory_that_is_a_file(bin_dir):
    server = Eventlogd(bin_dir)
    server.log_dir.rmdir()
    server.log_dir.write_text("")
    fails(server, 1, str(server.log_dir))


def test_ready_is_said_again_until_the_service_manager_has_room_for_it(bin_dir):
    server = Eventlogd(bin_dir)
    go = server.dir / "go"
    os.mkfifo(go)
    server.spawn(prefix=["/bin/sh", "-c", 'read -r _ < "$0"; exec "$@"', go])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as others:
        others.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                others.sendto(b"STATUS=of somebody else", str(server.dir / "notify"))
    go.write_text("\n")
    wait_until(lambda: "serving the log" in server.stderr(), "the log's line")
    server.await_ready()
    server.stop()


@needs_root
def test_read_only_directory(bin_dir):
    server = Eventlogd(bin_dir)
    os.chown(server.dir, 65534, 65534)
    os.chmod(server.log_dir, 0o555)
    server.spawn(user=65534, group=65534)
    assert server.process.wait(20) == 1
    server.process = None
    assert str(server.log_dir) in server.stderr() and "Permission denied" in server.stderr()
    assert "created" not in server.stderr()


def test_a_new_log_is_told_once(bin_dir):
    with Eventlogd(bin_dir) as server:
        server.restart()
        server.kill()
        server.start()
        assert server.stderr().count("log created") == 1


def test_directory_in_use_by_another_eventlogd(bin_dir):
    with Eventlogd(bin_dir) as first:
        other = Eventlogd(bin_dir)
        other.configure({"directory": str(first.log_dir)})
        fails(other, 1, "in use by another eventlogd")
        with first.publisher() as p:
            assert p.acked("w", [b"{}"])[0] == 1


def test_socket_in_use_by_another_process(bin_dir):
    with Eventlogd(bin_dir) as first:
        other = Eventlogd(bin_dir)
        other.configure({"publish_socket": first.publish_socket})
        fails(other, 1, first.publish_socket, "another process answers there")


def test_socket_path_that_is_a_file_is_left_alone(bin_dir):
    server = Eventlogd(bin_dir)
    path = server.dir / "file"
    path.write_text("precious")
    server.configure({"tail_socket": str(path)})
    fails(server, 1, str(path))
    assert path.read_text() == "precious"


def test_stale_socket_is_replaced(bin_dir):
    server = Eventlogd(bin_dir)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(server.publish_socket)
    stale.close()
    with server:
        with server.publisher() as p:
            assert p.acked("w", [b"{}"])[0] == 1


def test_socket_neither_inherited_nor_configured(bin_dir):
    server = Eventlogd(bin_dir)
    server.config_path.write_text(f'{{"directory": "{server.log_dir}"}}')
    fails(server, 1, "publish")


def test_inherited_sockets_are_served_and_survive_the_process(bin_dir):
    server = Eventlogd(bin_dir)
    listening = []
    for path in (server.publish_socket, server.tail_socket):
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
        s.listen()
        listening.append(s)
    program = ("import os,sys; a=int(sys.argv[1]); b=int(sys.argv[2]);"
               "a=os.dup2(a,20); b=os.dup2(b,21); os.dup2(a,3); os.dup2(b,4);"
               "os.environ.update(LISTEN_FDS='2',LISTEN_PID=str(os.getpid()),"
               "LISTEN_FDNAMES='publish:tail'); os.execv(sys.argv[3],sys.argv[3:])")
    numbers = [str(s.fileno()) for s in listening]
    for n in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", program, *numbers, bin_dir / "eventlogd", "--config",
             server.config_path], pass_fds=[s.fileno() for s in listening])
        # This connection may be made before anybody serves the socket: it waits in the backlog.
        with server.publisher() as p:
            assert p.acked("w", [b"{}"])[0] == n + 1
        process.kill()
        process.wait()


def test_sandbox_holds_and_peers_are_logged(bin_dir):
    with Eventlogd(bin_dir) as server, server.publisher() as p:
        p.acked("w", [b'{"event":"secret-payload"}'])
        status = open(f"/proc/{server.process.pid}/status", encoding="ascii").read()
        assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
        text = server.stderr()
        assert f"PEER_PID={os.getpid()} PEER_UID={os.getuid()}" in text
        assert "secret-payload" not in text


def test_kill_and_restart_tails_everything(bin_dir):
    with Eventlogd(bin_dir, SMALL) as server:
        acked = 0
        for _ in range(5):
            with server.publisher("p") as p:
                for _ in range(20):
                    acked = p.acked("w", [b'{"event":"n","pad":"%s"}' % (b"x" * 200)] * 10)[1]
                for _ in range(50):
                    p.send_publish("w", [b"{}"] * 10)
                server.kill()
            server.start()
            with server.reader() as r:
                r.subscribe(["oldest"], follow=False)
                got = [x.sequence for x in r.until_caught_up(verify=False)]
            assert got == list(range(1, len(got) + 1))
            assert len(got) >= acked


def test_nothing_takes_the_place_of_a_standard_descriptor_that_is_closed(bin_dir):
    def without_any():
        os.closerange(0, 3)

    with Eventlogd(bin_dir) as server:
        server.stop()
        server.start(preexec_fn=without_any)
        with server.publisher() as publisher:
            publisher.acked("w", [b"{}"])
            publisher.send_bytes(b"\0\0\0\0")  # worth a line in the journal
            publisher.expect_error("protocol_error")
        for verb in ("status", "workers", "tail"):
            assert server.ctl(verb, preexec_fn=without_any).returncode == 1
        server.stop()
        assert server.ctl("verify", server.log_dir).returncode == 0
