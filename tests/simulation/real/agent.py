"""The product's agent under virtual time: its runner, confirmation, schedule, outbox, link, pulse and orders, as it wires them.

Left out are its doors to the machine (D-Bus, PSI, inotify, mounts, inventory, certificates): checks read the simulated truth.
"""

from __future__ import annotations

import asyncio
import errno
import os
import types
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fleetmend.v1 import link_pb2 as pb
from fleetmend_agent import alone, hands, link, orders
from fleetmend_agent.agent import EXECUTOR_RETRY_MS, HEARTBEAT_MS, HOUSEKEEPING_MS, Agent
from fleetmend_agent.backoff import Backoff
from fleetmend_agent.checks import Check, Context, Result, Status
from fleetmend_agent.host import UnitState
from fleetmend_agent.outbox import Outbox
from fleetmend_agent.pulse import Pulse
from fleetmend_agent.runner import Runner
from fleetmend_agent.schedule import Schedule

from ..hands import ALONE_AFTER_MS
from ..host import Record
from .executor import Client
from .wire import Call

if TYPE_CHECKING:
    from .machine import Machine

OUTBOX_BYTES = 1 << 20
WORDS = {pb.STATUS_OK: "ok", pb.STATUS_WARN: "warn", pb.STATUS_CRIT: "crit", pb.STATUS_UNKNOWN: "unknown"}


class Eyes:
    """What the agent takes for the host: clocks that drift, a wall clock that steps."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def clock_ms(self) -> int:
        """The boot clock."""
        return self._machine.clock_ms()

    def wall_ms(self) -> int:
        """The wall clock."""
        return self._machine.world.time.now_ms + self._machine.wall_skew_ms

    def boot_id(self) -> str:
        """Which boot this is."""
        return self._machine.boot

    def units(self) -> dict[str, UnitState]:
        """Nothing is masked."""
        return {part.name: UnitState(part.name) for part in self._machine.parts}

    def read_text(self, _path: str) -> str:
        """Sizes of the process, for its statistics."""
        return "0 0 0"


class WatchedOutbox(Outbox):
    """The outbox on a disk that can be full. What it keeps is noted, and what it lets go is asked for in the journal."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.outbox_id = ""
        super().__init__(machine.folder / "outbox", machine.boot, OUTBOX_BYTES, segment_bytes=4096)
        for seq, data in self.pending(0, 1 << 20, 1 << 30):
            self._note(seq, data)

    def append(self, record: bytes) -> int:
        """Noted once it has its number."""
        seq = super().append(record)
        if self.outbox_id:
            self._note(seq, record)
        return seq

    def ack(self, seq: int) -> None:
        """Only what the journal holds may be forgotten."""
        going = [each for each, _ in self.pending(0, 1 << 20, 1 << 30) if each <= seq < self.next_seq]
        records = [self._machine.world.nature.records[self._machine.id, self.outbox_id, each] for each in going]
        self._machine.world.checker.acknowledged(self._machine, records)
        super().ack(seq)

    def _create(self, first_seq: int) -> None:
        self._space()
        super()._create(first_seq)

    def _write(self, seq: int, record: bytes) -> None:
        self._space()
        super()._write(seq, record)

    def _space(self) -> None:
        if self._machine.disk_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _note(self, seq: int, data: bytes) -> None:
        record = _record(pb.Record.FromString(data))
        record.seq, record.box = seq, self.outbox_id
        self._machine.world.nature.recorded(self._machine, record)


def _record(message: pb.Record) -> Record:
    """The record as the simulation's books keep it."""
    body = message.WhichOneof("body")
    made = Record(0, message.boot_id, {"outcome": "ended"}.get(str(body), str(body)))
    if body == "observation":
        said = message.observation
        made.check, made.key, made.status, made.clock_ms = said.check, said.key, WORDS[said.status], said.sampled_clock_ms
    elif body == "outcome":
        made.order, made.refusal, made.clock_ms = (
            message.outcome.order_id,
            message.outcome.agent_refusal,
            message.outcome.ended_clock_ms,
        )
    elif body == "started":
        made.order, made.clock_ms = message.started.order_id, message.started.started_clock_ms
    return made


def check_of(machine: Machine, kind: str) -> Check:
    """A check of this type: it sees the simulated truth."""

    def run(_context: Context) -> Iterable[Result]:
        results = []
        for part in machine.parts:
            for name, of_kind in part.checks:
                if of_kind == kind:
                    results.append(_result(machine, part, name))
        return results

    return Check(kind, "sees the simulated truth", run, signal="systemd")


def _result(machine: Machine, part: Any, check: str) -> Result:
    status = machine.status(part, check)
    machine.sampled[check, part.name] = machine.clock_ms()
    machine.world.nature.looked(machine, (check, part.name), status)
    return Result(Status(status), status, part.name, machine.finding(part))


class SimAgent(Agent):
    """One life of the agent process."""

    def __init__(self, machine: Machine) -> None:
        world = machine.world
        self.machine = machine
        self.dead = False
        self._settings: Any = SimpleNamespace(report_presence=False)
        self._state_dir = Path(machine.folder / "agent")
        self._notifier: Any = SimpleNamespace(send=world.quiet, status=world.quiet, watchdog_ms=0)
        self._loop = world.time.loop
        self._stopped = asyncio.Event()
        self._tasks = set()
        self._timer, self._timer_ms, self._snapshot_timer = None, 0, None
        self._config, self._changed_facts, self._version = pb.AgentConfig(), set(), "0"
        self.host: Any = Eyes(machine)
        self._boot_id = machine.boot
        self.outbox = WatchedOutbox(machine)
        workers: Any = None
        self.runner = Runner(
            self.host, workers, self._observed, self._snapshot_soon, load=lambda kind: check_of(machine, kind)
        )  # fmt: skip
        presence: Any = SimpleNamespace(look=list)
        self._pulse = Pulse(self.host, self._boot_id, self.runner, self.outbox, None)
        nothing = world.quiet
        self._inotify: Any = SimpleNamespace(watch=nothing)
        self._logs: Any = SimpleNamespace(follow_for=nothing)
        self._netlink: Any = SimpleNamespace(want=nothing)
        self._facts = {}
        self._inventory: Any = SimpleNamespace(message=lambda *_: pb.Facts())
        self._executor = Client(machine.executor)
        self._alone = alone.Alone(self._alone_desk(presence), self._state_dir, self._boot_id, ALONE_AFTER_MS)
        self._hands = hands.Hands(self._executor, self._alone, self._declaration, self._say_hello_again)
        self._orders = orders.Orders(self._executor, self._orders_desk(), orders.refused_in(self.outbox))
        self._witness: Any = SimpleNamespace(take=nothing)
        self.link = link.Link(self._dial, self.outbox, self._link_desk(), Backoff(chance=world.rng.random))
        self._schedule = Schedule(world.rng.randrange(1 << 30))

    def begin(self) -> None:
        """As `run` begins, without what is left out."""
        self._load_config()
        now_ms = self._now_ms()
        self._schedule.add("heartbeat", HEARTBEAT_MS, now_ms)
        self._schedule.add("housekeeping", HOUSEKEEPING_MS, now_ms)
        self._schedule.add("executor", EXECUTOR_RETRY_MS, now_ms)
        self._spawn(self._link_up())
        self._tick()

    def signal(self, check: str) -> None:
        """The machine says that something changed."""
        if not self.dead:
            self.runner.start(check, by_signal=True)

    def take(self, sealed: pb.SealedOrder) -> None:
        """An order, over whatever stream."""
        self.machine.received(sealed.order_id)
        self._orders.take(sealed)

    def kill(self) -> None:
        """kill -9: nothing of it goes on, nothing is tidied up."""
        self.dead = True
        for timer in (self._timer, self._snapshot_timer):
            if timer is not None:
                timer.cancel()
        tasks = [*self._tasks, *self._orders._tasks.values()]
        tasks += [watch.task for watch in self.runner.watches.values() if watch.task is not None]
        for task in tasks:
            task.cancel()
        self.outbox.close()
        # Which of several outboxes was left first is read from their files: it must not hang on how fast this simulation is.
        now_ns = self.machine.world.time.now_ms * 1_000_000
        for folder in (self.machine.folder / "outbox").glob(f"{self.outbox.outbox_id}@*"):
            os.utime(folder, ns=(now_ns, now_ns))

    def _keep(self, record: pb.Record) -> None:
        if not self.dead:
            super()._keep(record)

    def _arm(self) -> None:
        if not self.dead:
            super()._arm()

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.dead:
            self.machine.world.time.fail(error)

    async def _dial(self) -> link.Call:
        wire = self.machine.world.dial(self.machine)
        if wire is None:
            raise ConnectionRefusedError("nobody is there")
        return Call(wire)

    def _link_desk(self) -> link.Desk:
        return replace(super()._link_desk(), order=self.take)


def urandom_from(world: Any) -> Any:
    """`os` as the outbox sees it: its ids come from the seed."""
    proxy = types.ModuleType("os")
    proxy.__dict__.update(os.__dict__)
    proxy.__dict__["urandom"] = world.rng.randbytes
    return proxy
