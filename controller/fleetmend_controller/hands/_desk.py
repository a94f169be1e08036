"""Where the controller's own orders arrive: a durable row first, then the deed, once; its end goes back as any order's.

After a crash a row without an end means that the deed may have been done: it is told as unknown and never done again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetmend.registry import load

from .. import hands
from ..core.effects import DrainHost, UndrainHost
from ..core.events import Drained, OrderEnded, OrderStarted, Undrained
from ..core.model import Fleet, Host, Order, Outcome, Phase
from ..decider.ledger import StaleEpoch
from ..decider.ports import DeciderPort, JournalUnavailable
from ..store.engine import Store, StoreUnavailable
from ..store.tables import deeds
from . import Done, Hand, Tools
from ._drain import call

log = logging.getLogger("fleetmend.hands")

RETRY_S = 1.0
UNDRAIN_PAUSE_S, UNDRAIN_PAUSE_S_MAX = 1.0, 300.0
# After so many failures people are told that a host is still out of service.
UNDRAIN_TOLD_AT = 3
DETAIL_CHARS_MAX = 1_000
t = deeds.c


@dataclass(frozen=True, slots=True)
class _Row:
    """What is written about an order; `outcome` is None while nobody knows its end."""

    outcome: Outcome | None
    detail: str


class Hands:
    """Deeds under way. `check_epoch` raises StaleEpoch in a transaction of a controller that is not the active one."""

    def __init__(
        self,
        store: Store,
        decider: DeciderPort,
        fleet: Callable[[], Fleet],
        tools: Tools,
        now_ms: Callable[[], int],
        check_epoch: Callable[[Connection], None],
    ) -> None:
        self._store = store
        self._decider = decider
        self._fleet = fleet
        self._tools = tools
        self._now_ms = now_ms
        self._check_epoch = check_epoch
        self._hands = load(hands, "HAND", Hand)
        self._turns = {name: asyncio.Lock() for name in self._hands}
        # A hook is called for one host at a time, or a late yes to the one call would undo the other.
        self._hosts: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def take(self, order: Order) -> None:
        """Do it, unless it was done, is being done, or may have been done."""
        self._spawn(order.id, self._carry_out(order))

    def drains(self, wish: DrainHost | UndrainHost) -> None:
        """Take a host out of service before its order is sent, or give it back until that is done."""
        if isinstance(wish, DrainHost):
            self._spawn(f"drain {wish.order.id}", self._drain(wish.order))
        else:
            self._spawn(f"undrain {wish.host}", self._undrain(wish.host))

    def recover(self) -> None:
        """After a start: look after what an earlier life of this controller left."""
        fleet = self._fleet()
        for incident in fleet.incidents.values():
            order = incident.order
            if order is None or incident.phase not in (Phase.ORDERED, Phase.RUNNING):
                continue
            if order.drain:
                self.drains(DrainHost(order))
            elif order.here:
                self.take(order)
        for host in fleet.drained:
            self.drains(UndrainHost(host))

    async def stop(self) -> None:
        """Leave what is under way; its rows say that it began."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry_out(self, order: Order) -> None:
        known = await self._known(order)
        if known is not None:
            text = "cannot tell what became of it: the controller ended while it was under way"
            await self._end(order, Done(known.outcome, known.detail) if known.outcome else Done(Outcome.UNKNOWN, text))
            return
        hand = self._hands.get(order.action)
        if hand is None:
            await self._tell(order, Done(Outcome.REFUSED, f"cannot {order.action}: this controller does not know how"))
            return
        async with self._turns[order.action] if hand.one_at_a_time else self._of(order.host):
            if await self._begin(order):
                await self._submit(OrderStarted(self._now_ms(), order.host, order.id))
                await self._end(order, await self._do(hand, order))

    async def _do(self, hand: Hand, order: Order) -> Done:
        host = self._wanted(order)
        if host is None:
            return Done(Outcome.REFUSED, "it is not wanted any more")
        try:
            async with asyncio.timeout(order.timeout_ms / 1000):
                return await hand.do(order, host, self._tools)
        except TimeoutError:
            return Done(Outcome.UNKNOWN, f"no answer within {order.timeout_ms / 1000:g} s")

    def _wanted(self, order: Order) -> Host | None:
        """The host, if its incident still waits for this very order."""
        incident = self._fleet().incidents.get(order.incident)
        same = incident is not None and incident.order is not None and incident.order.id == order.id
        return self._fleet().hosts.get(order.host) if same else None

    async def _begin(self, order: Order) -> bool:
        """The row that makes it ours. While the store takes none nothing is done; when the order's time is over, never."""
        row = {"order": order.id, "host": order.host, "action": order.action, "begun_ms": self._now_ms(), "detail": ""}

        def write(connection: Connection) -> None:
            self._check_epoch(connection)
            connection.execute(deeds.insert().values(**row))

        while self._now_ms() < order.expires_ms:
            try:
                await self._store.write(write)
            except (StoreUnavailable, StaleEpoch) as error:
                log.warning("cannot begin %s now: %s", order.id, error)
                await asyncio.sleep(RETRY_S)
                continue
            return True
        await self._tell(order, Done(Outcome.EXPIRED, "it was not begun in time"))
        return False

    async def _known(self, order: Order) -> _Row | None:
        query = sa.select(t.outcome, t.detail).where(t.order == order.id)
        while True:
            try:
                found = await self._store.read(lambda connection: connection.execute(query).one_or_none())
            except sa.exc.SQLAlchemyError as error:
                log.warning("cannot read what was done about %s: %s", order.id, error)
                await asyncio.sleep(RETRY_S)
                continue
            return None if found is None else _Row(Outcome(found.outcome) if found.outcome else None, found.detail)

    async def _end(self, order: Order, done: Done) -> None:
        values = {"ended_ms": self._now_ms(), "outcome": done.outcome.value, "detail": done.detail[:DETAIL_CHARS_MAX]}
        while True:
            try:
                await self._store.write(lambda c: c.execute(deeds.update().where(t.order == order.id).values(**values)))
                break
            except StoreUnavailable as error:
                log.warning("cannot write down the end of %s: %s", order.id, error)
                await asyncio.sleep(RETRY_S)
        await self._tell(order, done)

    async def _tell(self, order: Order, done: Done) -> None:
        log.info("order %s %s: %s: %s", order.id, order.action, done.outcome.value, done.detail)
        host = self._fleet().hosts.get(order.host)
        now_ms = self._now_ms()
        clock_ms = now_ms + (host.clock_offset_ms if host is not None else 0)
        detail = done.detail[:DETAIL_CHARS_MAX]
        await self._submit(OrderEnded(now_ms, order.host, order.id, done.outcome, "", detail, order.boot, clock_ms, clock_ms))

    async def _submit(self, event: OrderStarted | OrderEnded | Drained | Undrained) -> None:
        while True:
            try:
                await self._decider.submit([event])
                return
            except JournalUnavailable as error:
                log.warning("cannot tell the decider of what was done to %s: %s", event.host, error)
                await asyncio.sleep(RETRY_S)

    def _of(self, host: str) -> asyncio.Lock:
        lock = self._hosts.get(host)
        if lock is None:
            lock = self._hosts[host] = asyncio.Lock()
        return lock

    async def _drain(self, order: Order) -> None:
        async with self._of(order.host):
            host = self._wanted(order)
            if host is None:
                return
            done = await call(self._tools, "drain", host, order.incident, order.id)
            await self._submit(Drained(self._now_ms(), order.host, order.id, done.outcome is Outcome.DONE, done.detail))

    async def _undrain(self, host_id: str) -> None:
        """Until the hook takes it back, people being told when it does not, or until somebody needs it drained again."""
        failures = 0
        while True:
            async with self._of(host_id):
                host = self._fleet().hosts.get(host_id)
                if host is None or not self._is_free(host_id):
                    return
                done = await call(self._tools, "undrain", host, "", f"undrain-{host_id}")
                failures = 0 if done.outcome is Outcome.DONE else failures + 1
                if not failures or failures == UNDRAIN_TOLD_AT:
                    await self._submit(Undrained(self._now_ms(), host_id, not failures, done.detail))
            if not failures:
                return
            log.warning("host %s is still drained: %s", host.name, done.detail)
            await asyncio.sleep(min(UNDRAIN_PAUSE_S * 2**failures, UNDRAIN_PAUSE_S_MAX))

    def _is_free(self, host_id: str) -> bool:
        fleet = self._fleet()
        held = any(fleet.incidents[i].drained for i in fleet.by_host.get(host_id, {}))
        return host_id in fleet.drained and not held

    def _spawn(self, key: str, work: Coroutine[Any, Any, None]) -> None:
        if key in self._tasks:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work, name=f"hand-{key}")
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._over(key, done))

    def _over(self, key: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its row has no end: the order becomes overdue, and what became of it stays unknown.
            log.critical("%s ended in a defect", key, exc_info=error)
        elif not task.cancelled() and key.startswith("undrain ") and self._is_free(key.partition(" ")[2]):
            # It became free in the moment in which this one found that it was not.
            self.drains(UndrainHost(key.partition(" ")[2]))
