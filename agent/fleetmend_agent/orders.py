"""Orders on their way from the controller to the executor and back. The agent carries them; it can neither make nor change one.

An order that this process is still carrying is not carried twice. Whatever is lost on the way is asked for again: the ledger of
the executor runs each order at most once and repeats its outcome. Of what the agent itself refused the ledger knows nothing, so
the agent remembers it: once the controller was told that an order will not run, it may give another, and both must not run.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from fleetmend.v1 import link_pb2 as pb

from .checks import Status
from .executor_client import AnswerLost, ExecutorRefused, ExecutorUnreachable, SealedOutcome
from .log import LOG
from .outbox import Outbox

ORDERS_MAX = 64
UNREACHABLE_TRIES = 3
RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)
LOST_TRIES_MAX = 120
REFUSED_MAX = 1000
_SCAN_RECORDS, _SCAN_BYTES = 200, 1 << 20

# The executor recorded nothing and says that a later delivery may run.
_PASSING = frozenset({"busy", "ledger_unavailable", "not_enrolled", "state_unavailable"})


class Executor(Protocol):
    """What is needed of the executor."""

    async def order(self, payload: bytes, mac: bytes, started: Callable[[str, int], None]) -> SealedOutcome:
        """Hands over an order and waits for its outcome."""

    async def withdraw(self, payload: bytes, mac: bytes) -> SealedOutcome:
        """Ends an order that was not begun, for good; of one that was, waits for its outcome."""


async def _at_once(_check: str, _key: str) -> None:
    """Nothing else is under way."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What an order needs of the rest of the agent. `settled` waits for what the host does alone to leave it alone."""

    latest: Callable[[str, str], Status | None]
    started: Callable[[str, int], None]
    outcome: Callable[[pb.OrderOutcome], None]
    ask: Callable[[str, str], None]
    clock_ms: Callable[[], int]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    settled: Callable[[str, str], Awaitable[None]] = _at_once


class Orders:
    """The orders under way."""

    def __init__(self, executor: Executor, desk: Desk, refused: Iterable[tuple[str, str]] = ()) -> None:
        """`refused`: orders (id, word) that an earlier life of the agent refused, and the controller may not know it yet."""
        self._executor = executor
        self._desk = desk
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._refused: dict[str, str] = dict(refused)

    @property
    def busy(self) -> bool:
        """Whether an order is under way."""
        return bool(self._tasks)

    def take(self, order: pb.SealedOrder) -> None:
        """Takes an order on, unless it is being carried already."""
        if order.order_id in self._tasks:
            return
        if order.order_id in self._refused:
            self._refuse(order, self._refused[order.order_id], "it was refused before, and stays so")
            return
        if len(self._tasks) >= ORDERS_MAX:
            LOG.warning("cannot take order %s: %d are under way; the controller will send it again", order.order_id, ORDERS_MAX)
            return
        task = asyncio.get_running_loop().create_task(self._carry(order))
        self._tasks[order.order_id] = task
        task.add_done_callback(lambda done: self._ended(order.order_id, done))

    async def stop(self) -> None:
        """Lets go of every order; the executor goes on by itself, and the controller sends again."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, order_id: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(order_id, None)
        if not task.cancelled():
            task.result()

    async def _carry(self, order: pb.SealedOrder) -> None:
        try:
            order.payload.decode()
        except UnicodeDecodeError:
            self._refuse(order, "unreadable", "cannot read the order: its text is not UTF-8")
            return
        await self._desk.settled(order.check, order.key)
        # The order may have healed it and be sent again because its outcome was lost: only the ledger knows.
        gone = bool(order.check) and self._desk.latest(order.check, order.key) is Status.OK
        outcome = await self._hand_over(order, withdraw=gone)
        if outcome is None:
            return
        if _was_withdrawn(outcome):
            self._refuse(order, "fault_gone", f"{order.check} {order.key}".strip() + " was OK when the order came")
            return
        self._desk.outcome(
            pb.OrderOutcome(
                order_id=order.order_id, payload=outcome.payload, mac=outcome.mac, ended_clock_ms=self._desk.clock_ms()
            )
        )
        if order.check:
            self._desk.ask(order.check, order.key)

    async def _hand_over(self, order: pb.SealedOrder, *, withdraw: bool) -> SealedOutcome | None:
        """The outcome; None if there is none to report, or the refusal has been reported."""
        unreachable = lost = 0
        handed_over = False
        while True:
            try:
                if withdraw:
                    return await self._executor.withdraw(order.payload, order.mac)
                return await self._executor.order(order.payload, order.mac, self._desk.started)
            except ExecutorUnreachable as error:
                unreachable += 1
                reason = str(error)
            except AnswerLost as error:
                handed_over = True
                lost += 1
                reason = str(error)
            except ExecutorRefused as error:
                if error.reason not in _PASSING:
                    self._refuse(order, "unreadable", f"{error.reason}: {error.detail}")
                    return None
                handed_over = handed_over or error.reason == "busy"
                unreachable += 1
                reason = f"{error.reason}: {error.detail}"
            if not handed_over and unreachable >= UNREACHABLE_TRIES:
                self._refuse(order, "executor_unreachable", reason)
                return None
            if unreachable + lost >= LOST_TRIES_MAX:
                LOG.error("cannot learn the outcome of order %s: %s; the controller will ask again", order.order_id, reason)
                return None
            await self._desk.sleep(RETRY_S[min(unreachable + lost, len(RETRY_S)) - 1])

    def _refuse(self, order: pb.SealedOrder, word: str, detail: str) -> None:
        LOG.warning("order %s not handed over: %s: %s", order.order_id, word, detail)
        self._refused[order.order_id] = word
        while len(self._refused) > REFUSED_MAX:
            del self._refused[next(iter(self._refused))]
        self._desk.outcome(
            pb.OrderOutcome(order_id=order.order_id, agent_refusal=word, detail=detail, ended_clock_ms=self._desk.clock_ms())
        )


def refused_in(outbox: Outbox) -> Iterator[tuple[str, str]]:
    """The orders whose refusal waits in an outbox for the controller."""
    after = 0
    while records := outbox.pending(after, _SCAN_RECORDS, _SCAN_BYTES):
        for _, data in records:
            outcome = pb.Record.FromString(data).outcome
            if outcome.agent_refusal:
                yield outcome.order_id, outcome.agent_refusal
        after = records[-1][0]


def _was_withdrawn(outcome: SealedOutcome) -> bool:
    """Whether the order ended because the fault was gone before it began."""
    found = json.loads(outcome.payload)
    return isinstance(found, dict) and found.get("reason") == "fault_gone"
