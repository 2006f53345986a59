"""Whatever lies in a log's directory by the name of a segment: named, and left as it is."""

import json
import os
import shutil
import socket
import stat

import pytest

from eventlogd import Eventlogd
from frames import crc32c

DEADLINE_S = 60
SMALL = {"segment_bytes": "256KiB", "max_event_bytes": "64KiB"}
COUNT = 600  # events of the log, in three segments
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


def make_socket(path):
    # By a short path: those of sockets are limited.
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


def make_sparse(path, size):
    with open(path, "wb") as out:
        out.truncate(size)


def make_device(path, kind, major, minor):
    os.mknod(path, kind | 0o666, os.makedev(major, minor))


STRANGERS = {
    "fifo": os.mkfifo,
    "directory": os.mkdir,
    "full directory": lambda path: (os.mkdir(path), (path / "precious").write_text("x")),
    "link": lambda path: path.symlink_to("/etc/passwd"),
    "link to itself": lambda path: path.symlink_to(path),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "socket": make_socket,
    "empty": lambda path: path.write_bytes(b""),
    "short": lambda path: path.write_bytes(b"short"),
    "zeros": lambda path: path.write_bytes(bytes(8192)),
    "noise": lambda path: path.write_bytes(bytes(os.urandom(300000))),
    "text": lambda path: path.write_bytes(b"precious notes\n" * 5000),
    "huge": lambda path: make_sparse(path, 1 << 40),
    "sparse": lambda path: make_sparse(path, 64 << 20),
}
if os.getuid() == 0:
    STRANGERS.update({
        "null": lambda path: make_device(path, stat.S_IFCHR, 1, 3),
        "terminal": lambda path: make_device(path, stat.S_IFCHR, 5, 0),
        "no device": lambda path: make_device(path, stat.S_IFCHR, 240, 9),
        "disk": lambda path: make_device(path, stat.S_IFBLK, 7, 250),
    })


@pytest.fixture(name="original", scope="module")
def fixture_original(bin_dir):
    """The directory of a log that was stopped in order."""
    with Eventlogd(bin_dir, SMALL) as server:
        fill(server, COUNT)
        server.stop()
        yield server.log_dir


@pytest.fixture(name="server")
def fixture_server(bin_dir, original):
    server = Eventlogd(bin_dir, SMALL)
    shutil.copytree(original, server.log_dir, dirs_exist_ok=True)
    yield server
    server.__exit__()


def fill(server, count):
    with server.publisher("p") as publisher:
        for n in range(count // 50):
            publisher.acked("w", [json.dumps({"n": n, "pad": "x" * 1000}).encode()] * 50)


def identity(path):
    info = os.lstat(path)
    content = path.read_bytes() if stat.S_ISREG(info.st_mode) and info.st_size < 1 << 30 else None
    return (info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns, content,
            sorted(os.listdir(path)) if stat.S_ISDIR(info.st_mode) else None)


def segment(number, epoch=1):
    return f"{number:016x}-{epoch:04x}.seg"


def reads(server, verb, *arguments, expected=0):
    done = server.ctl(verb, *arguments, server.log_dir, timeout=DEADLINE_S)
    assert done.returncode == expected, done.stderr
    return done.stdout.splitlines(), done.stderr.decode()


def check_tools(server, names, count=COUNT):
    """The three that read a directory show the log, and name what they left alone."""
    lines, told = reads(server, "cat", "--json")
    assert [json.loads(x)["sequence"] for x in lines] == list(range(1, count + 1))
    missing = [x for x in names if x not in told]
    lines, told = reads(server, "export")
    assert len(lines) == count + 2
    missing += [x for x in names if x not in told]
    lines, told = reads(server, "verify", "--json")
    assert json.loads(lines[-1])["damaged"] == 0
    found = {x["segment"] for x in map(json.loads, lines) if "segment" in x}
    missing += [x for x in names if x not in found]
    assert not missing


def check_serves(server, newest):
    with server.reader() as reader, server.publisher("later") as publisher:
        status = reader.status()
        assert (status["oldest_seq"], status["newest_seq"]) == (1, newest)
        assert publisher.acked("w", [b"{}"])[0] == newest + 1


@pytest.mark.parametrize("first, step", [(0xf0000, 1000), (2, 1)], ids=["ahead", "inside"])
def test_strangers_are_named_and_left_alone(server, first, step):
    paths = [server.log_dir / segment(first + step * n) for n in range(len(STRANGERS))]
    for make, path in zip(STRANGERS.values(), paths):
        make(path)
    before = [identity(x) for x in paths]
    names = [x.name for x in paths]
    check_tools(server, names)
    server.start()
    check_serves(server, COUNT)
    assert [x for x in names if f"foreign file in {x}" not in server.stderr()] == []
    server.kill()
    check_tools(server, names, COUNT + 1)
    server.start()
    check_serves(server, COUNT + 1)
    server.stop()
    assert [identity(x) for x in paths] == before


def test_the_name_of_the_next_segment_is_not_taken_from_a_stranger(server):
    made = {}
    server.start()
    for number, make in enumerate(STRANGERS.values()):
        with server.reader() as reader:
            status = reader.status()
        server.stop()
        name = segment(status["newest_seq"] + 1, status["epoch"])
        taken = {x.name for x in server.log_dir.iterdir()}
        if name in taken:  # an empty segment of its own
            (server.log_dir / name).unlink()
        make(server.log_dir / name)
        made[name] = identity(server.log_dir / name)
        server.start()
        check_serves(server, COUNT + number)
    server.stop()
    assert {x: identity(server.log_dir / x) for x in made} == made


def test_a_stranger_that_comes_while_it_runs_is_not_replaced(bin_dir):
    with Eventlogd(bin_dir, SMALL) as server:
        made = {}
        with server.publisher("p") as publisher:
            for number in range(2, 400):  # wherever the first roll will be
                path = server.log_dir / segment(number)
                path.write_bytes(b"precious")
                made[path] = identity(path)
            reply, last = [4], 0
            while reply[0] == 4 and last < 400:
                last = reply[3] if len(reply) > 3 else last
                reply = publisher.publish("w", [json.dumps({"pad": "x" * 1000}).encode()])
            assert reply[2] == "read_only", reply
        with server.reader() as reader:
            assert reader.status()["read_only"] is True
        server.kill()
        server.start()
        with server.reader() as reader, server.publisher("p") as publisher:
            assert reader.status()["newest_seq"] >= last
            assert publisher.publish("w", [b"{}"])[0] == 4
        assert {x: identity(x) for x in made} == made


@needs_root
def test_a_segment_that_may_not_be_read_is_named(server):
    paths = sorted(server.log_dir.glob("*.seg"))
    for path in [server.log_dir, *paths]:
        os.chown(path, 65534, 65534)
    os.chown(server.dir, 65534, 65534)
    os.chown(paths[1], 0, 0)
    paths[1].chmod(0o600)
    before = [identity(x) for x in paths]
    server.spawn(user=65534, group=65534)
    assert server.process.wait(DEADLINE_S) == 1
    server.process = None
    told = [x for x in server.stderr().splitlines() if paths[1].name in x]
    assert told and "Permission denied" in told[0]
    for verb in ("cat", "export", "verify"):
        done = server.ctl(verb, server.log_dir, user=65534, group=65534, text=True)
        assert done.returncode == 1 and done.stdout == "" or verb == "export"
        assert any(paths[1].name in x and "Permission denied" in x
                   for x in done.stderr.splitlines()), done.stderr
    assert [identity(x) for x in paths] == before


def test_nothing_but_a_stranger_is_no_log_and_is_named(bin_dir):
    server = Eventlogd(bin_dir, SMALL)
    path = server.log_dir / segment(1)
    path.write_bytes(b"precious notes\n" * 5000)
    before = identity(path)
    server.spawn()
    assert server.process.wait(DEADLINE_S) == 1
    server.process = None
    assert path.name in server.stderr()
    for verb in ("cat", "export", "verify"):
        assert path.name in reads(server, verb, expected=1)[1]
    assert identity(path) == before


def check_refused(server, words, paths):
    """The daemon does not start, the tools do not read; each says why, and of which files."""
    before = [identity(x) for x in paths]
    server.spawn()
    assert server.process.wait(DEADLINE_S) == 1
    server.process = None
    told = [server.stderr()]
    told += [reads(server, x, expected=1)[1] for x in ("cat", "export", "verify")]
    for text in told:
        assert words in text and [x.name for x in paths if x.name not in text] == [], text
    assert [identity(x) for x in paths] == before


def test_a_newer_format_is_refused(server):
    newest = sorted(server.log_dir.glob("*.seg"))[-1]
    content = bytearray(newest.read_bytes())
    content[12] = 9
    content[8:12] = crc32c(bytes(content[12:4096])).to_bytes(4, "little")
    newest.write_bytes(content)
    check_refused(server, "newer format", [newest])


@pytest.fixture(name="stranger")
def fixture_stranger(bin_dir):
    """The first segment of another log."""
    with Eventlogd(bin_dir, SMALL) as other:
        fill(other, 100)
        other.stop()
        yield sorted(other.log_dir.glob("*.seg"))[0].read_bytes()


def test_a_segment_of_another_log_is_left_alone(server, stranger):
    path = server.log_dir / segment(1, 2)
    path.write_bytes(stranger)  # by a name that is not its own
    own = sorted(server.log_dir.glob("*.seg"))
    before = identity(path)
    check_tools(server, [path.name])
    server.start()
    check_serves(server, COUNT)
    server.stop()
    # By its own name, where one of ours has been.
    own[0].write_bytes(stranger)
    lines, told = reads(server, "cat", "--json")
    assert own[0].name in told and json.loads(lines[0])["sequence"] > 1
    server.start()
    with server.reader() as reader:
        assert reader.status()["newest_seq"] == COUNT + 1
    server.stop()
    assert own[0].read_bytes() == stranger and identity(path) == before


def test_as_many_segments_of_two_logs_are_refused(server, stranger):
    first, second, *others = sorted(server.log_dir.glob("*.seg"))
    first.write_bytes(stranger)
    for path in others:
        path.unlink()
    check_refused(server, "other log", [first, second])
