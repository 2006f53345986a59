"""./demo after the build: starts the pipeline, feeds it, shows it, and stops it again."""

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from feed import FIRST_EVENT_DEADLINE_S, Feed, FeedFailed, read_lines
from layout import DEMO_DIR, ROLES, Layout, private_directory
from observe import Observer
from supervisor import StartFailed, Supervisor
from viewer import BOLD, DIM, Terminal
from whole import operator_complaints, projected, viewer_complaints

SAMPLE = DEMO_DIR / "sample.jsonl"
# How long events may take to be shown live. What is not there by then is fetched with the last
# cursor, up to the seam; what is not there then is lost.
ARRIVAL_DEADLINE_S = 3
RESUME_DEADLINE_S = 30
TICK_S = 0.1
EXIT_NOT_WHOLE, EXIT_USAGE = 1, 2


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="./demo",
        description="Starts eventlogd, wsgate, backend-relay and projection, feeds a recorded run "
        "and shows what an operator and a redacted viewer see of it. Ctrl-C stops everything.")
    parser.add_argument("files", metavar="FILE.jsonl", nargs="*",
                        help="feed these instead of the sample run, one worker each")
    parser.add_argument("--once", action="store_true",
                        help="stop after the run; exit 0 only if it passed through whole")
    parser.add_argument("--speed", type=float, default=1.0, metavar="N",
                        help="N times as fast as a person reads; 0: no pauses (default 1)")
    parser.add_argument("--no-feed", action="store_true", help="only start the pipeline")
    parser.add_argument("--json", action="store_true",
                        help="print the addresses as one JSON line, again when a pid changes")
    parser.add_argument("--dir", metavar="DIR",
                        help="keep everything in DIR instead of a private directory that goes")
    parser.add_argument("--policy", metavar="FILE", help="instead of units/policy.example.yaml")
    parser.add_argument("--overrides", metavar="FILE",
                        help="JSON merged over the generated configuration, for tests")
    parser.add_argument("--bin-dir", default=str(DEMO_DIR.parent.parent / "build/release/bin"),
                        help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once and (options.json or options.no_feed):
        parser.error("--once feeds and shows a run; it goes with neither --json nor --no-feed")
    if options.json and not options.no_feed:
        parser.error("--json needs --no-feed")
    for file in options.files:
        try:
            if not read_lines(file):
                parser.error(f"{file}: no events in it")
        except OSError as error:
            parser.error(f"{file}: {error.strerror}")
    return options


def worker_ids(files, suffix):
    """One id a file: its name, made of what an id may be made of, and told apart."""
    taken = {}
    for file in files:
        stem = re.sub(r"[^A-Za-z0-9_.:-]", "-", pathlib.Path(file).stem)[:100] or "worker"
        name, number = stem + suffix, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}{suffix}"
        taken[name] = file
    return taken


def describe(terminal, layout, supervisor, workers):
    worker = next(iter(workers), "WORKER")
    api = f"http://{layout.address('client')}/api/runtimes/{layout.runtime_id}/workers"
    ctl = os.path.relpath(layout.program("eventlogctl"))
    pids = "  ".join(f"{s.name} {s.pid}" for s in supervisor.services.values())
    terminal.say("Sightline is running. Ctrl-C stops it and leaves nothing behind.", BOLD)
    terminal.say(f"""
  processes   {pids}
  directory   {layout.directory}
  runtime     http://{layout.address('runtime')}  (runtime_id {layout.runtime_id})
  clients     http://{layout.address('client')}

Look for yourself, from another terminal:
  curl -s -H "Authorization: Bearer {layout.tokens['operator']}" {api}
  {ctl} tail --socket {layout.tail_socket} --from oldest --follow
  {api.replace('http', 'ws', 1)}/{worker}/events/ws
      with the same header, or the token {layout.tokens['viewer']} to be a viewer
  echo '{{"event":"note","data":{{"text":"hello"}}}}' | {ctl} publish --socket {layout.publish_socket} --worker notes
  kill -9 any of the processes: it is back within a second, and nothing is lost
""")


class Run:
    """One worker: its feed, and the two who watch it."""

    def __init__(self, layout, terminal, worker_id, file, speed):
        self.layout, self.worker_id, self.lines = layout, worker_id, read_lines(file)
        self.feed = Feed(layout, worker_id, file, self.lines, speed)
        self.observers = {
            role: Observer(
                "http://" + layout.address("client"), layout.runtime_id, worker_id,
                layout.tokens[role],
                on_event=lambda event, role=role: terminal.add(worker_id, role, event),
                on_diagnostic=lambda code, message, role=role: self._tell(terminal, role, code))
            for role in ROLES
        }

    def _tell(self, terminal, role, code):
        if not code.endswith(".worker_not_found"):
            terminal.say(f"{self.worker_id}, {role}: {code}", DIM)

    async def pass_through(self):
        """Feeds with both watching from the first event on; returns when all has arrived."""
        first_published, go_on = asyncio.Event(), asyncio.Event()
        feeding = asyncio.ensure_future(self.feed.run(first_published, go_on))
        published = asyncio.ensure_future(first_published.wait())
        try:
            await asyncio.wait({feeding, published}, return_when=asyncio.FIRST_COMPLETED)
            for observer in self.observers.values():
                observer.start()
            for observer in self.observers.values():
                await observer.wait(lambda o=observer: o.caught_up_cursor or o.failure,
                                    FIRST_EVENT_DEADLINE_S)
            go_on.set()
            await feeding
        finally:
            feeding.cancel()
            published.cancel()
            await asyncio.gather(feeding, published, return_exceptions=True)
        operator = self.observers["operator"]
        await operator.wait(lambda: len(operator.events) >= len(self.lines) or operator.failure,
                            ARRIVAL_DEADLINE_S)

    async def verdict(self):
        """Complaints, none when the run passed through whole."""
        operator, viewer = self.observers["operator"], self.observers["viewer"]
        expected = projected(self.layout, "viewer", self.worker_id, self.lines)
        allowed = sum(1 for payload in expected if payload is not None)
        await viewer.wait(lambda: len(viewer.events) >= allowed or viewer.failure,
                          ARRIVAL_DEADLINE_S)
        for observer in (operator, viewer):
            await self._resume_finds_nothing_more(observer)
        complaints = [f"{role}: {o.failure}" for role, o in self.observers.items() if o.failure]
        complaints += operator_complaints(self.lines, operator.events)
        complaints += viewer_complaints(expected, operator.events, viewer.events)
        return [f"{self.worker_id}: {complaint}" for complaint in complaints]

    async def _resume_finds_nothing_more(self, observer):
        """Comes back with the last cursor: what is still to come, or comes twice, comes now."""
        await observer.stop()
        observer.caught_up_cursor = None
        observer.start()
        await observer.wait(lambda: observer.caught_up_cursor or observer.failure,
                            RESUME_DEADLINE_S)
        if observer.caught_up_cursor is None and not observer.failure:
            observer.failure = "does not get back with its last cursor"
        await observer.stop()


async def show(terminal):
    while True:
        await asyncio.sleep(TICK_S)
        terminal.tick()


async def demonstrate(options, layout, supervisor, terminal):
    """Feeds and shows. With --once returns the exit code; otherwise goes on until cancelled."""
    # A log that was used before has workers of these names already.
    suffix = time.strftime("-%Y%m%dT%H%M%S") if layout.was_used else ""
    workers = {} if options.no_feed else worker_ids(options.files or [SAMPLE], suffix)
    describe(terminal, layout, supervisor, workers)
    if not workers:
        await asyncio.Event().wait()
    runs = [Run(layout, terminal, name, file, options.speed)
            for name, file in workers.items()]
    showing = asyncio.ensure_future(show(terminal))
    try:
        await asyncio.gather(*(run.pass_through() for run in runs))
        terminal.tick(finish=True)
        terminal.say("")
        if not options.once:
            describe(terminal, layout, supervisor, workers)
            terminal.say("The run is over; the pipeline goes on. Ctrl-C stops it.", BOLD)
            await asyncio.Event().wait()
        complaints = [c for run in runs for c in await run.verdict()]
        for complaint in complaints:
            terminal.say(f"NOT WHOLE: {complaint}", BOLD)
        if not complaints:
            total = sum(len(run.lines) for run in runs)
            seen = sum(len(run.observers["viewer"].events) for run in runs)
            terminal.say(f"whole: {total} events published, {total} at the operator byte for "
                         f"byte in order, {seen} at the viewer as its policy says", BOLD)
        return EXIT_NOT_WHOLE if complaints else 0
    except FeedFailed as failure:
        terminal.say(f"NOT WHOLE: {failure}", BOLD)
        return EXIT_NOT_WHOLE
    finally:
        showing.cancel()
        for run in runs:
            for observer in run.observers.values():
                await observer.stop()


async def supervise(options, layout):
    terminal = Terminal(sys.stdout)
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)

    started = False

    def on_ready(service):
        if not started:
            return
        if options.json:
            print(json.dumps(layout.description(supervisor.services)), flush=True)
        else:
            terminal.say(f"{service.name} is back as process {service.pid}", DIM)

    supervisor = Supervisor(layout.services(), layout.notify_socket, on_ready)
    stopping = asyncio.ensure_future(stop.wait())
    main = asyncio.ensure_future(supervisor.start())
    try:
        await asyncio.wait({main, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            return 0
        main.result()
        started = True
        if options.json:
            print(json.dumps(layout.description(supervisor.services)), flush=True)
            main = asyncio.ensure_future(asyncio.Event().wait())
        else:
            main = asyncio.ensure_future(demonstrate(options, layout, supervisor, terminal))
        await asyncio.wait({main, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if main.done():
            return main.result()
        return EXIT_NOT_WHOLE if options.once else 0
    except StartFailed as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    finally:
        main.cancel()
        stopping.cancel()
        await asyncio.gather(main, stopping, return_exceptions=True)
        await supervisor.stop()


def main():
    options = parse_arguments()
    overrides = {}
    if options.overrides:
        overrides = json.loads(pathlib.Path(options.overrides).read_text(encoding="utf-8"))
    directory = options.dir or private_directory()
    with contextlib.suppress(KeyboardInterrupt):
        try:
            layout = Layout(directory, options.bin_dir, options.policy, overrides)
        except BlockingIOError:
            sys.exit(f"demo: {directory} is in use by another demo")
        except OSError as error:
            sys.exit(f"demo: {error}")
        except subprocess.CalledProcessError as error:
            sys.exit(f"demo: {' '.join(error.cmd)} failed: {error.stderr.strip()}")
        try:
            code = asyncio.run(supervise(options, layout))
        except BrokenPipeError:  # nobody looks any more, as behind `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = EXIT_NOT_WHOLE
        finally:
            layout.close(remove=options.dir is None)
        sys.exit(code)


if __name__ == "__main__":
    main()
