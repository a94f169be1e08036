"""The product's executor under virtual time: its protocol, desk, seal, policy, ledger, with a process that dies at every point.

The socket itself is left out, and what an action does: it takes its time and mends a part of the simulated machine.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import fleetmend_executor.ledger as ledger_module
import fleetmend_executor.orders as orders_module
import fleetmend_executor.server as server_module
import fleetmend_executor.turns as turns_module
from fleetmend.seal import derive_host_key
from fleetmend_agent.executor_client import ExecutorClient, ExecutorUnreachable, _receive
from fleetmend_executor.effects import UnitJob
from fleetmend_executor.ledger import Entry, Ledger
from fleetmend_executor.orders import Desk
from fleetmend_executor.run import Result
from fleetmend_executor.server import Server

from .strand import Killed, Strand, Threading, current, strand_of_this_thread

if TYPE_CHECKING:
    from .machine import Machine

MASTER = bytes(range(32))
POLICY = "actions:\n  collect_evidence: {}\n  restart_unit: {}\n"


def prepare(folder: Path, host: str) -> None:
    """What enrolment leaves behind."""
    folder.mkdir(mode=0o700)
    key = folder / "executor.key"
    key.touch(mode=0o600)
    key.write_bytes(derive_host_key(MASTER, host))
    (folder / "identity.json").write_text(json.dumps({"host_id": host, "epoch": 1}))
    (folder / "executor.yaml").write_text(POLICY)


class Runner:
    """Carries out a plan on the simulated machine."""

    surprises = 0

    def carry_out(self, plan: Callable[[], tuple[Any, ...]], timeout_s: float) -> Result:
        """The plan takes its time; what it leaves behind is hidden in the machine until a check looks."""
        strand, machine = current(), current().note["machine"]
        order, world = strand.note["order"], machine.world
        effects = plan()
        strand.pause(world.swarm.action_ms)
        machine.executor.may_die(f"before the effect of {order.id}")
        works = world.rng.random() >= world.swarm.action_fails
        for effect in effects:
            if works and isinstance(effect, UnitJob) and effect.unit not in machine.cursed:
                machine.mend(effect.unit)
        world.checker.finished(machine, order)
        machine.executor.may_die(f"after the effect of {order.id}")
        world.say(f"{machine.id} ends {order.id}: {'done' if works else 'failed'}")
        return Result("done", "done", "done") if works else Result("failed", "exit_status", "it did not work")


class WatchedLedger(Ledger):
    """The ledger: from what it writes on, the order may have its effect."""

    def get(self, order_id: str) -> Entry | None:
        """As it is, or the flaw of not looking."""
        return None if current().note["machine"].world.faulty("ledger_ignored") else super().get(order_id)

    def begin(self, entry: Entry) -> None:
        """Durable; then it begins."""
        strand, machine = current(), current().note["machine"]
        world = machine.world
        if world.faulty("ledger_ignored"):
            self.entries.pop(entry.order_id, None)
        machine.executor.may_die(f"before it takes {entry.order_id} on")
        super().begin(entry)
        order = world.checker.books.issued.get(entry.order_id)
        if order is None:
            world.checker.fail(f"{entry.order_id} runs although it was never journalled")
            return
        strand.note["order"] = order
        world.say(f"{machine.id} begins {order.id}: {order.action}")
        world.nature.began(machine, order)
        world.checker.effect(machine, order, entry.epoch)
        machine.executor.may_die(f"after it took {entry.order_id} on")


def _clock_ms() -> int:
    """The boot clock of the machine whose executor asks."""
    return int(current().note["machine"].clock_ms())


def _write_all(fd: int, data: bytes) -> None:
    """A full disk takes half of it."""
    if current().note["machine"].disk_full:
        os.write(fd, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.write(fd, data)


@contextmanager
def patched(flaw: str) -> Iterator[None]:
    """The executor's doors to clock, threads and disk, and what a flaw leaves out."""
    doors: list[tuple[Any, str, Any]] = [
        (orders_module, "boot_clock_ms", _clock_ms),
        (orders_module, "threading", Threading),
        (turns_module, "threading", Threading),
        (server_module, "_version", lambda: "0"),
        (orders_module, "Ledger", WatchedLedger),
        (ledger_module, "write_all", _write_all),
    ]
    if flaw == "epoch_not_checked":
        doors.append((Desk, "_check_epoch", lambda *_: None))
    if flaw == "expiry_not_checked":
        doors.append((Desk, "_check_bounds", lambda *_: None))
    with ExitStack() as stack:
        for owner, name, replacement in doors:
            stack.enter_context(mock.patch.object(owner, name, replacement))
        yield


class Connection:
    """One connection of the socket: what the server takes for its end of it, and a reader for the client's."""

    def __init__(self, request: dict[str, Any]) -> None:
        body = json.dumps(request).encode()
        self._asked = len(body).to_bytes(4, "big") + body
        self.reader = asyncio.StreamReader()

    def recv(self, length: int) -> bytes:
        """Of the request."""
        piece, self._asked = self._asked[:length], self._asked[length:]
        return piece

    def sendall(self, data: bytes) -> None:
        """Of the answers."""
        self.reader.feed_data(data)


class Client(ExecutorClient):
    """The agent's client, on connections without a socket."""

    def __init__(self, process: Process) -> None:
        super().__init__("executor.sock")
        self._process = process

    async def declare(self, payload: bytes, mac: bytes) -> None:
        """What was declared binds the host to its epoch."""
        await super().declare(payload, mac)
        machine = self._process.machine
        machine.world.checker.commanded(machine, json.loads(payload)["epoch"])

    @asynccontextmanager
    async def _request(self, request: dict[str, Any]) -> AsyncIterator[Callable[[float], Awaitable[dict[str, Any]]]]:
        connection = self._process.dial(request)
        yield lambda timeout_s: _receive(connection.reader, timeout_s)


class Process:
    """The executor: begun by a request, ended when idle or by a death."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._server: Server | None = None
        self._strands: dict[Strand, None] = {}

    @property
    def desk(self) -> Any:
        """Of the process that runs now, or would be begun."""
        return self._running()._desk

    def dial(self, request: dict[str, Any]) -> Connection:
        """A request comes in."""
        machine = self.machine
        if not machine.up:
            raise ExecutorUnreachable("cannot reach the executor")
        connection = Connection(request)
        strand = Strand(machine.world.time.loop, lambda: self._serve(connection))
        strand.note |= {"machine": machine, "connection": connection}
        self._strands[strand] = None
        strand.done.add_done_callback(lambda done: self._over(strand, done))
        strand.resume()
        return connection

    def may_die(self, where: str) -> None:
        """From within: kill -9, perhaps."""
        world = self.machine.world
        if not world.calm and world.rng.random() < world.swarm.executor_crash / 4:
            world.say(f"{self.machine.id} executor dies {where}")
            self.die()
            raise Killed

    def die(self) -> None:
        """Everything that it holds is gone, but for its files."""
        strands, self._strands = self._strands, {}
        server, self._server = self._server, None
        for strand in strands:
            if strand is not strand_of_this_thread():
                strand.kill()
            order = strand.note.get("order")
            if order is not None:
                self.machine.world.checker.finished(self.machine, order)
            strand.note["connection"].reader.feed_eof()
        if server is not None:
            server._desk.close()

    def _serve(self, connection: Any) -> None:
        server = self._running()
        server._answer(connection, server._handle(connection))

    def _over(self, strand: Strand, done: asyncio.Future[Any]) -> None:
        self._strands.pop(strand, None)
        strand.note["connection"].reader.feed_eof()
        error = done.exception()
        if error is not None:
            self.machine.world.time.fail(error)

    def _running(self) -> Server:
        """A new process now and then, if the last one was idle: it knows only what is on disk."""
        if self._server is not None and len(self._strands) == 1 and self.machine.world.rng.random() < 0.3:
            self._server._desk.close()
            self._server = None
        if self._server is None:
            folder, quiet = self.machine.folder / "executor", self.machine.world.quiet
            desk = Desk(str(folder), str(folder / "executor.yaml"), self.machine.boot, quiet, cast("Any", Runner()))
            self._server = Server(cast("Any", None), desk, frozenset(), quiet)
        return self._server
