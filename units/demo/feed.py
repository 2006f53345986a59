"""Publishes a recorded run at a human pace, through `eventlogctl publish` as a worker would."""

import asyncio
import contextlib
import pathlib

FIRST_EVENT_DEADLINE_S = 20
SHORTEST_PAUSE_S = 0.03
LONGEST_PAUSE_S = 0.6
LONG_EVENT_BYTES = 1200


class FeedFailed(Exception):
    pass


def pause_before(line):
    """Small events are what a model streams word by word; long ones took a tool some time."""
    share = min(len(line), LONG_EVENT_BYTES) / LONG_EVENT_BYTES
    return SHORTEST_PAUSE_S + share * (LONGEST_PAUSE_S - SHORTEST_PAUSE_S)


def read_lines(path):
    """The events of a file: its lines without the end of line, empty ones left out."""
    return [line for line in pathlib.Path(path).read_bytes().split(b"\n") if line.strip()]


class Feed:
    """One `eventlogctl publish` for one worker; `file` is where the lines are from."""

    def __init__(self, layout, worker_id, file, lines, speed):
        self.worker_id = worker_id
        self._file = file
        self.lines = lines
        self._speed = speed
        self._argv = [layout.program("eventlogctl"), "publish",
                      "--socket", layout.publish_socket, "--worker", worker_id]

    async def run(self, first_published, go_on):
        """Publishes line 1, sets `first_published`, waits for `go_on`, publishes the rest."""
        process = await asyncio.create_subprocess_exec(
            *self._argv, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            start_new_session=True)
        talk = asyncio.ensure_future(process.stderr.read())
        try:
            for number, line in enumerate(self.lines):
                if number == 1:
                    await go_on.wait()
                if number > 0 and self._speed > 0:
                    await asyncio.sleep(pause_before(line) / self._speed)
                process.stdin.write(line + b"\n")
                await process.stdin.drain()
                first_published.set()
            process.stdin.close()
            code = await process.wait()
            if code != 0:
                raise FeedFailed(f"eventlogctl publish exited with {code}: "
                                 + self._told(await talk))
        except (BrokenPipeError, ConnectionResetError):
            raise FeedFailed("eventlogctl publish ended early: "
                             + self._told(await talk)) from None
        finally:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                process.stdin.close()
                await process.stdin.wait_closed()
            if process.returncode is None:
                process.kill()
                await process.wait()
            await asyncio.gather(talk, return_exceptions=True)

    def _told(self, talk):
        return talk.decode(errors="replace").strip().replace("standard input:", f"{self._file}:")
