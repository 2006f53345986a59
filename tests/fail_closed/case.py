"""One case of tests/fail_closed/run: a relay, its clients, and rounds in which projection fails.

The relay and projection are the real programs; between them stands the gate. Events are published
all the time. In most rounds everybody has everything before the next fault comes; in the others it
comes while the relay is still recovering from the last one, or a client is catching up.
"""

import asyncio
import collections
import pathlib
import random
import re
import signal

import faults
import load
from fake_runtime import FakeRuntime
from gate import Backend, Gate
from ledger import Ledger
from relay import Relay
from watcher import Watcher

DEADLINE_S = 60
FIRE_TRIES = 400
LOG_CHARACTERS = 1500
TIMEOUT_MS = 300
WORKERS = ("w-1", "w-2")
WATCHERS = (("w-1", "operator"), ("w-1", "viewer"), ("w-1", "viewer"), ("w-2", "viewer"),
            ("w-2", "operator"))
SETTINGS = {"projection_timeout": f"{TIMEOUT_MS}ms", "projection_give_up": "10min",
            "bookmark_interval": "200ms", "upstream_timeout": "30s", "not_found_time": "10ms"}
SMALL = {"stream_ring_bytes": "64KiB", "view_ring_bytes": "64KiB",
         "client_queue_bytes": "64KiB", "projection_queue_bytes": "64KiB"}


class Failed(Exception):
    """Some promise is broken."""


class Case:
    def __init__(self, bin_dir, directory, seed, number, rounds, only=None):
        self._rng = random.Random(f"{seed}/{number}")
        self._directory, self._rounds, self._only = pathlib.Path(directory), rounds, only
        self._bin_dir = bin_dir
        self._workers = {name: load.Worker(name, self._rng) for name in WORKERS}
        self._ledger = Ledger(self._workers)
        self._watchers = []
        self._is_settled = False
        self.outcome = collections.Counter()
        self.round = -1
        self.doing = "start"

    def run(self):
        asyncio.run(self._run())

    async def _run(self):
        runtime = self._runtime = FakeRuntime().start()
        backend = Backend(self._bin_dir, self._directory)
        self._gate = Gate(self._directory / "gate.sock", backend, self._ledger)
        await self._gate.start()
        settings = {**SETTINGS, **(SMALL if self._rng.random() < 0.5 else {})}
        self._relay = Relay(self._bin_dir, self._gate.path, [runtime], settings, self._directory)
        load_task = None
        try:
            self._relay.start()
            for worker in self._workers.values():
                runtime.append(worker.worker_id, worker.payloads[0], keyframe=True)
            for where in WATCHERS:
                self._watch(*where)
            load_task = asyncio.ensure_future(self._publish_all_the_time())
            await self._settle()
            for self.round in range(self._rounds):
                await self._run_round()
            await self._settle()
            load_task.cancel()
            await self._settle()
            await self._watch_from_the_start()
            self._check_log()
        finally:
            if load_task is not None:
                load_task.cancel()
            for watcher in self._watchers:
                await watcher.stop()
            self._count(backend)
            if self._relay.process.poll() is not None:
                self._ledger.violate("the relay has ended by itself")
            self._stop_relay()
            await self._gate.stop()
            backend.stop()
            runtime.stop()
        self._raise_violations()

    def _stop_relay(self):
        try:
            self._relay.stop(signal.SIGTERM)
        except AssertionError as error:
            self._ledger.violate(f"{error:.2000}")

    def _watch(self, worker_id, role):
        name = f"{role} {len(self._watchers)} of {worker_id}"
        self._watchers.append(
            Watcher(name, self._relay, self._ledger, self._workers[worker_id], role))

    def _count(self, backend):
        self.outcome.update(self._ledger.counts)
        self.outcome.update({
            "connections": self._gate.connections, "ends": self._gate.ends,
            "projections": backend.starts,
            "sessions": sum(watcher.sessions for watcher in self._watchers),
            "withheld": sum(watcher.log.count(None) for watcher in self._watchers),
            "told": sum(watcher.told for watcher in self._watchers),
            "events": sum(len(worker.payloads) for worker in self._workers.values())})

    # The load.

    async def _publish_all_the_time(self):
        while True:
            await asyncio.sleep(self._rng.uniform(0.002, 0.03))
            self._publish(self._rng.choice(WORKERS), self._rng.randint(1, 6))

    def _publish(self, worker_id, count):
        worker = self._workers[worker_id]
        self._runtime.append_many(worker_id, [worker.next() for _ in range(count)])

    def _publish_one(self, worker_id, what):
        worker = self._workers[worker_id]
        self._runtime.append(worker_id, getattr(worker, what)())
        return len(worker.payloads) - 1

    # A round.

    async def _run_round(self):
        fault = faults.choose(self._rng, self._gate, self._only)
        self.doing = str(fault)
        self._ledger.note(f"round {self.round}: {fault}")
        self.outcome["rounds"] += 1
        self.outcome[f"fault {fault.name}"] += 1
        ends, was_settled = self._gate.ends, self._is_settled
        untouched = self._disturb_clients()
        told = [(w, w.sessions, w.told) for w in untouched if not w.waits]
        self._gate.fault = fault
        fault.begin()
        if fault.loads is not None:
            self._publish_one(self._rng.choice(WORKERS), fault.loads)
        await self._until_fired(fault)
        self._is_settled = self._rng.random() < 0.75
        if self._is_settled:
            await self._settle()
            self._ledger.note("settled")
            if was_settled and self._gate.ends > ends:
                self._check_told(told)
        fault.end()
        self._gate.fault = None
        self._raise_violations()

    async def _until_fired(self, fault):
        for _ in range(FIRE_TRIES):
            self._publish(self._rng.choice(WORKERS), 1)
            try:
                await asyncio.wait_for(fault.fired.wait(), DEADLINE_S / FIRE_TRIES)
                return
            except asyncio.TimeoutError:
                self._raise_violations()
        raise Failed("the fault never came about: the relay asks for nothing")

    def _disturb_clients(self):
        """Some lose their connection, some read nothing for a while; the others are the answer."""
        untouched = []
        for watcher in self._watchers:
            choice = self._rng.random()
            if choice < 0.12:
                self._ledger.note(f"{watcher.name} is cut off")
                watcher.cut()
            elif choice < 0.2:
                self._ledger.note(f"{watcher.name} reads no more")
                watcher.pause()
            else:
                untouched.append(watcher)
        return untouched

    def _check_told(self, before):
        for watcher, sessions, told in before:
            if watcher.sessions == sessions and watcher.told == told:
                self._ledger.violate(f"{watcher.name} was not told that projection failed")

    async def _settle(self):
        """Until everybody has everything."""
        for watcher in self._watchers:
            watcher.resume()
        end = asyncio.get_running_loop().time() + DEADLINE_S
        for worker_id in WORKERS:
            mine = [w for w in self._watchers if w.worker.worker_id == worker_id]
            while True:
                number = self._publish_one(worker_id, "sentinel")
                left = end - asyncio.get_running_loop().time()
                if left < 0:
                    raise Failed(f"{self._missing(mine)} is not complete")
                reached = await asyncio.gather(*[w.reach(number, min(left, 5)) for w in mine])
                self._raise_violations()
                if all(reached):
                    break

    @staticmethod
    def _missing(watchers):
        return ", ".join(f"{w.name} (at {w.newest})" for w in watchers)

    # At the end.

    async def _watch_from_the_start(self):
        """Who comes last gets the same as who was there."""
        for where in sorted(set(WATCHERS)):
            self._watch(*where)
        await self._settle()
        for watcher in self._watchers:
            watcher.check_complete()
            watcher.check_secrets()

    def _check_log(self):
        output = self._relay.output()
        words = (load.MARK, load.POISON.decode(), *self._relay.tokens.values())
        # An event's id may well have "wo_" in it.
        for secret in (*map(re.escape, words), "(?<![A-Za-z0-9_-])[bw]o_"):
            if re.search(secret, output):
                self._ledger.violate(f"{secret} is in the relay's log")

    def _raise_violations(self):
        if self._ledger.violations:
            raise Failed("\n".join(self._ledger.violations[:8]))

    def describe(self):
        """What was going on when it failed."""
        log = self._relay.output() if hasattr(self, "_relay") else ""
        trace = "\n".join(self._ledger.trace)
        return f"round {self.round}, fault: {self.doing}\n{trace}\n{log[-LOG_CHARACTERS:]}"
