"""The product's store on SQLite in memory: a transaction a call, a disk that can be full, a process that can die around it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetmend_controller.core.effects import SendOrder
from fleetmend_controller.core.events import Event, PolicyLoaded
from fleetmend_controller.core.flow import advance
from fleetmend_controller.core.model import Fleet, Order
from fleetmend_controller.store import codec, journal
from fleetmend_controller.store.engine import Store, StoreUnavailable, open_engine
from fleetmend_controller.store.tables import metadata

from .executor import MASTER
from .strand import Killed

if TYPE_CHECKING:
    from .world import RealWorld

COMMIT_MS = 20
POINTS = ("before commit", "after commit", "between effects")


class Disk:
    """What survives the controller. The checkers follow it: they see each event when, and only when, it is committed."""

    def __init__(self, world: RealWorld) -> None:
        self.world = world
        # Pooling would give each thread a database of its own; there is one thread.
        self.engine = open_engine("sqlite://")
        metadata.create_all(self.engine)
        self.full = False
        self.replica = Fleet()
        self.events: list[Event] = []
        # Those of the newest commit.
        self.orders: list[Order] = []
        self._policy = world.policy_of("")
        self._seq = 0
        self.digest = ""

    def follow(self) -> None:
        """Hand what was committed to the checkers, before anything of it can have an effect."""
        world = self.world
        self.orders = []
        with self.engine.connect().execution_options(fleetmend_reader=True) as connection:
            rows = [(seq, entry) for seq, _, entry, _ in journal.scan(connection, self._seq)]
        for seq, entry in rows:
            self._seq = seq
            if entry.kind != "event":
                continue
            event = codec.decode_event(json.loads(entry.body))
            if isinstance(event, PolicyLoaded):
                self._policy = world.policy_of(event.digest)
            world.nature.possible(event)
            world.checker.before(event)
            step = advance(self.replica, event, self._policy)
            self.orders += [effect.order for effect in step.effects if isinstance(effect, SendOrder)]
            self.events.append(event)
            if world.timeline is not None:
                world.timeline.event(world.time.now_ms, event, step)
            world.checker.after(self.replica, self._policy, event, step)

    def close(self) -> None:
        """Let go of the database; what names its content stays."""
        with self.engine.connect().execution_options(fleetmend_reader=True) as connection:
            self.digest = journal.read_head(connection, MASTER).hash.hex()
        self.engine.dispose()


class LifeStore(Store):
    """The door of one life of the controller."""

    def __init__(self, disk: Disk) -> None:
        # Without the threads of the real one: everything happens in its turn.
        self.engine = disk.engine
        self.disk = disk
        self.alive = True
        self.doom = ""

    async def write(self, job: Callable[[Connection], Any]) -> Any:
        """As the real one: durable, or StoreUnavailable and nothing kept."""
        world = self.disk.world
        await asyncio.sleep(world.rng.randint(0, COMMIT_MS) / 1000)
        self._live()
        if self.disk.full:
            raise StoreUnavailable("cannot write to the store: database or disk is full")
        self.doom = world.brain.draw_doom(POINTS)
        if self.doom == "before commit":
            world.brain.crash(self.doom)
        self._live()
        with self.engine.begin() as connection:
            value = job(connection)
        try:
            self.disk.follow()
        except AssertionError as error:
            # The decider must not take it for an error of its own.
            world.time.fail(error)
            raise Killed from error
        if self.doom == "after commit":
            world.brain.crash(self.doom)
        elif not self.doom:
            world.brain.may_stand_still(self.disk.orders)
        self._live()
        return value

    async def read(self, job: Callable[[Connection], Any]) -> Any:
        """Never in the middle of a write."""
        await asyncio.sleep(0)
        self._live()
        return self.read_now(job)

    def _live(self) -> None:
        if not self.alive:
            raise Killed

    def close(self) -> None:
        """Nothing is held by one life alone."""
        self.alive = False


class Memory:
    """The journal as the checkers of the other worlds ask for it."""

    def __init__(self, world: RealWorld, disk: Disk) -> None:
        self._world = world
        self._disk = disk

    @property
    def journal(self) -> list[Event]:
        """Every event in it."""
        return self._disk.events

    def replayed(self) -> Fleet:
        """By the product's own recovery."""
        with self._disk.engine.connect().execution_options(fleetmend_reader=True) as connection:
            return self._world.brain.recovered(connection)

    def replayed_from_text(self) -> Fleet:
        """From the first row, without snapshots."""
        fleet, policy = Fleet(), self._world.policy_of("")
        for line in self.text():
            event = codec.decode_event(json.loads(line))
            if isinstance(event, PolicyLoaded):
                policy = self._world.policy_of(event.digest)
            advance(fleet, event, policy)
        return fleet

    def digest(self) -> str:
        """Names the whole journal by its content. Hashes chain it, so its end says all."""
        return self._disk.digest

    def text(self) -> Iterator[str]:
        """The bodies of the rows of events."""
        table = journal.journal
        with self._disk.engine.connect().execution_options(fleetmend_reader=True) as connection:
            rows = (
                connection.execute(sa.select(table.c.body).where(table.c.kind == "event").order_by(table.c.seq)).scalars().all()
            )
        yield from rows
