"""eventlogd on disks that are really full, or that lose what they took: tmpfs, ext4 and xfs on a
loop, and ext4 on a loop on a full tmpfs.

Needs root and mount; every test says so where it can't have them.
"""

import os
import pathlib
import subprocess
import threading
import time

import pytest

from eventlogd import DEADLINE_S, Eventlogd
from frames import ACK, NACK, Closed

MIB = 1 << 20
XFS_MIN_BYTES = 300 * MIB  # mkfs.xfs makes none that is smaller
SMALL = {"segment_bytes": "192KiB", "max_event_bytes": "64KiB"}
EVENT = b'{"event":"token","n":%d,"x":"' + b"x" * 3000 + b'"}'


def mounted(request, point, *arguments):
    point.mkdir()
    done = subprocess.run(["mount", *map(str, arguments), str(point)], capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"can't mount: {done.stderr.strip()}")
    request.addfinalizer(lambda: subprocess.run(["umount", "-l", str(point)], check=False))
    return point


def image_of(directory, size, *make):
    """A sparse file with a file system in it."""
    image = directory / "image"
    with open(image, "wb") as file:
        file.truncate(size)
    try:
        subprocess.run([*make, str(image)], check=True, stdout=subprocess.DEVNULL)
    except FileNotFoundError:
        pytest.skip(f"needs {make[0]}")
    return image


def ext4_image(directory, size):
    return image_of(directory, size, "mkfs.ext4", "-q", "-m", "0", "-b", "4096")


def xfs_image(directory):
    return image_of(directory, XFS_MIN_BYTES, "mkfs.xfs", "-q")


@pytest.fixture(params=["tmpfs", "ext4", "xfs"])
def small_disk(request, tmp_path):
    """A file system of a few MiB; of xfs the smallest that there is."""
    if os.getuid() != 0:
        pytest.skip("needs root")
    point = tmp_path / "disk"
    if request.param == "tmpfs":
        return mounted(request, point, "-t", "tmpfs", "-o", "size=4m", "tmpfs")
    image = xfs_image(tmp_path) if request.param == "xfs" else ext4_image(tmp_path, 12 * MIB)
    return mounted(request, point, "-o", "loop", image)


def server_on(bin_dir, disk, tmp_path, durability="interval"):
    """Only its log is on that disk."""
    log, beside = disk / "log", tmp_path / "beside"
    log.mkdir()
    beside.mkdir()
    return Eventlogd(bin_dir, {**SMALL, "durability": durability, "directory": str(log)}, beside)


def take_all_but(disk, left):
    """Fills the disk so that about `left` bytes stay free; returns the file to remove."""
    ballast = disk / "ballast"
    fs = os.statvfs(disk)
    size = fs.f_bavail * fs.f_frsize - left
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return ballast


def publish(publisher, state, count):
    """Events one by one until `count` are acknowledged or one is refused; the refusal's code."""
    for _ in range(count):
        reply = publisher.publish("w", [EVENT % (state["acked"] + 1)])
        if reply[0] == NACK:
            return reply[2]
        assert reply[0] == ACK and reply[2] == state["acked"] + 1, reply
        state["acked"] += 1
    return None


def publish_once_there_is_room(publisher, state):
    deadline = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while (code := publish(publisher, state, 1)) is not None:
        assert code == "no_space" and time.monotonic() < deadline, code
        pause.wait(0.05)


def expect_all(server, acked):
    with server.reader() as reader:
        reader.subscribe(["oldest"], follow=False)
        got = reader.until_caught_up()
    numbers = [record.sequence for record in got]
    assert numbers[:acked] == list(range(1, acked + 1))
    assert len(numbers) <= acked + 1
    for record in got:
        assert record.payload == EVENT % record.sequence


@pytest.mark.parametrize("durability", ["durable", "interval"])
def test_full_disk_refuses_serves_reads_and_resumes(bin_dir, small_disk, tmp_path, durability):
    state = {"acked": 0}
    with server_on(bin_dir, small_disk, tmp_path, durability) as server:
        ballast = take_all_but(small_disk, MIB)
        with server.publisher() as publisher:
            assert publish(publisher, state, 10000) == "no_space"
            assert state["acked"] > 20
            expect_all(server, state["acked"])
            with server.reader() as reader:
                assert reader.status()["no_space"] is True
            ballast.unlink()
            publish_once_there_is_room(publisher, state)
            assert publish(publisher, state, 50) is None
        expect_all(server, state["acked"])
        server.restart()
        expect_all(server, state["acked"])


def test_start_on_a_full_disk_after_kill_9(bin_dir, small_disk, tmp_path):
    state = {"acked": 0}
    with server_on(bin_dir, small_disk, tmp_path) as server:
        ballast = take_all_but(small_disk, MIB)
        with server.publisher() as publisher:
            assert publish(publisher, state, 10000) == "no_space"
        server.kill()
        (small_disk / "log/next.tmp").unlink(missing_ok=True)
        with open(ballast, "ab") as more:  # xfs has no room for one file more
            try:
                while True:
                    os.write(more.fileno(), b"\0" * 4096)
            except OSError:
                pass
        server.start()
        expect_all(server, state["acked"])
        with server.publisher() as publisher:
            assert publish(publisher, state, 1) == "no_space"
            ballast.unlink()
            publish_once_there_is_room(publisher, state)
        expect_all(server, state["acked"])


@pytest.fixture
def lying_disk(request, tmp_path):
    """ext4 on an image that has no room for what is written to it, and a way to make room."""
    if os.getuid() != 0:
        pytest.skip("needs root")
    below = mounted(request, tmp_path / "below", "-t", "tmpfs", "-o", "size=8m", "tmpfs")
    image = ext4_image(below, 64 * MIB)
    disk = mounted(request, tmp_path / "disk", "-o", "loop,errors=continue", image)
    left = os.statvfs(below)
    with open(below / "ballast", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, left.f_bavail * left.f_frsize - MIB)

    def make_room():
        subprocess.run(["mount", "-o", "remount,size=80m", str(below)], check=True)
        subprocess.run(["umount", str(disk)], check=True)
        subprocess.run(["e2fsck", "-fy", str(image)], check=False, stdout=subprocess.DEVNULL)
        subprocess.run(["mount", "-o", "loop", str(image), str(disk)], check=True)
    return pathlib.Path(disk), make_room


def test_nothing_acknowledged_is_lost_by_a_disk_whose_sync_fails(bin_dir, lying_disk, tmp_path):
    disk, make_room = lying_disk
    state = {"acked": 0}
    server = server_on(bin_dir, disk, tmp_path, "durable").start()
    try:
        with server.publisher() as publisher:
            code = publish(publisher, state, 10000)
            assert code in ("read_only", "no_space"), code
    except (Closed, OSError):
        pass
    assert state["acked"] > 0
    server.kill()
    make_room()
    with server.start():
        expect_all(server, state["acked"])
        with server.publisher() as publisher:
            assert publisher.publish("v", [b"{}"])[0] == ACK
