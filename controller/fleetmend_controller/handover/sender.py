"""Sends what waits in the outbox: each channel for itself, in order, again and again until it is taken or given up.

A message may reach people twice if this process dies between the other side's yes and the note of it: better than never. Its id
is the same both times, and what knows such ids (PagerDuty, Alertmanager, the webhook, mail) shows it once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..decider.ledger import StaleEpoch
from ..http.metrics import Metrics
from ..notify import Answer, Kind, Outcome
from ..store.engine import Store, StoreUnavailable
from . import rows
from .routing import Configured, Notify
from .rows import Choice, Row

log = logging.getLogger("fleetmend.notify")

BACKOFF_MS, BACKOFF_MS_MAX = 2_000, 300_000
# A channel that fails is left alone for a while as a whole; not for as long as one of its messages may be.
PAUSE_MS_MAX = 60_000
STORE_RETRY_S = 1.0
RESTART_S = 30.0
IDLE_S_MAX = 60.0
STOP_GRACE_S = 5.0
KEPT_MS = 30 * 24 * 3_600_000
PRUNE_EVERY_S = 3_600.0


@dataclass(slots=True)
class _Line:
    """One channel at work."""

    configured: Configured
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0
    paused_until_ms: int = 0


class Sender:
    """The one who sends. `check_epoch` raises StaleEpoch in a transaction of a controller that is not the active one."""

    def __init__(
        self,
        store: Store,
        notify: Notify,
        metrics: Metrics,
        now_ms: Callable[[], int],
        check_epoch: Callable[[Connection], None],
    ) -> None:
        self._store = store
        self._notify = notify
        self._metrics = metrics
        self._now_ms = now_ms
        self._check_epoch = check_epoch
        self._lines = {name: _Line(each) for name, each in notify.channels.items()}
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        for name in self._lines:
            for outcome in ("accepted", "retried", "refused", "given_up"):
                metrics.notifications.labels(name, outcome)

    def wake(self) -> None:
        """New rows are durable."""
        for line in self._lines.values():
            line.woken.set()

    def start(self) -> None:
        """Begin to send."""
        self._tasks = [asyncio.create_task(self._keep(line), name=f"notify-{name}") for name, line in self._lines.items()]
        self._tasks.append(asyncio.create_task(self._prune(), name="notify-prune"))

    async def stop(self) -> None:
        """Let what is being sent come to its end, within bounds."""
        self._stopping = True
        self.wake()
        if self._tasks:
            await asyncio.wait(self._tasks[:-1], timeout=STOP_GRACE_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, line: _Line) -> None:
        """A defect of one channel ends neither the others nor the controller."""
        while not self._stopping:
            work = asyncio.create_task(self._work(line))
            try:
                await asyncio.wait([work])
            finally:
                work.cancel()
            if not work.cancelled() and (error := work.exception()) is not None:
                log.critical("channel=%s failed; it begins anew in %d s", line.configured.name, RESTART_S, exc_info=error)
                await asyncio.sleep(RESTART_S)

    async def _work(self, line: _Line) -> None:
        name = line.configured.name
        while not self._stopping:
            line.woken.clear()
            now_ms = self._now_ms()
            if now_ms < line.paused_until_ms:
                await self._wait(line, line.paused_until_ms - now_ms)
                continue
            choice = await self._choose(name, now_ms)
            if choice.row is not None:
                await self._send(line, choice.row)
            elif not choice.drop:
                await self._wait(line, IDLE_S_MAX * 1000 if choice.wake_ms is None else choice.wake_ms - now_ms)

    async def _choose(self, name: str, now_ms: int) -> Choice:
        try:
            choice = await self._store.read(lambda c: rows.choose(c, name, now_ms))
            pending = await self._store.read(rows.count_pending)
        except sa.exc.SQLAlchemyError as error:
            log.warning("channel=%s cannot read what waits: %s", name, error)
            return Choice(None, now_ms + int(STORE_RETRY_S * 1000))
        self._metrics.notifications_pending.set(pending)
        for number in choice.drop:
            await self._write(partial(rows.end, number=number, state=rows.DROPPED, error="", now_ms=now_ms))
        return choice

    async def _send(self, line: _Line, row: Row) -> None:
        configured = line.configured
        if row.state == rows.PENDING and not await self._claim(line, row):
            return
        # What must be repeated to stay says when it was said last.
        message = replace(row.message, at_ms=self._now_ms()) if configured.channel.refresh_ms else row.message
        answer = await configured.channel.send(configured.options, message)
        if answer.outcome is Outcome.ACCEPTED:
            await self._taken(line, row, answer)
        elif row.state == rows.PENDING:
            await self._not_taken(line, row, answer)
        else:
            self._note_failure(line, answer)
            await self._write(partial(rows.put_off, row=row, next_ms=self._now_ms() + BACKOFF_MS_MAX, error=answer.text))

    async def _claim(self, line: _Line, row: Row) -> bool:
        def claim(connection: Connection) -> None:
            self._check_epoch(connection)
            rows.claim(connection, row.number)

        try:
            await self._store.write(claim)
        except (StoreUnavailable, StaleEpoch) as error:
            log.warning("channel=%s cannot send %s now: %s", line.configured.name, row.message.id, error)
            await asyncio.sleep(STORE_RETRY_S)
            return False
        return True

    async def _taken(self, line: _Line, row: Row, answer: Answer) -> None:
        configured, now_ms, m = line.configured, self._now_ms(), row.message
        lasts = m.kind is Kind.ESCALATED
        again_ms = now_ms + configured.channel.refresh_ms if lasts and configured.channel.refresh_ms else None
        reminds = lasts and configured.channel.reminds and m.severity == "page" and self._notify.remind_ms is not None
        remind_ms = now_ms + (self._notify.remind_ms or 0) if reminds else None
        recovered, line.failures, line.paused_until_ms = line.failures > 1, 0, 0

        def note(connection: Connection) -> None:
            rows.sent(connection, row, now_ms, again_ms, remind_ms, answer.text)
            if recovered:
                rows.hurry(connection, configured.name)

        await self._write(note)
        if row.state == rows.PENDING or m.reminder:
            self._metrics.notifications.labels(configured.name, "accepted").inc()
            log.info("incident=%s channel=%s accepted=%s%s", m.incident, configured.name, m.id, _note(answer))

    async def _not_taken(self, line: _Line, row: Row, answer: Answer) -> None:
        name, now_ms, m = line.configured.name, self._now_ms(), row.message
        late = now_ms - row.at_ms >= self._notify.give_up_ms
        if answer.outcome is Outcome.REFUSED or late:
            word = "refused" if answer.outcome is Outcome.REFUSED else "given_up"
            text = f"{word.replace('_', ' ')} after {row.tries + 1} tries: {answer.text}"
            self._metrics.notifications.labels(name, word).inc()
            log.error("incident=%s channel=%s nobody was told by it of %s: %s", m.incident, name, m.id, text)
            await self._write(partial(rows.end, number=row.number, state=rows.FAILED, error=text, now_ms=now_ms))
            if answer.outcome is not Outcome.REFUSED:
                self._note_failure(line, answer)
            return
        wait_ms = max(backoff_ms(row.tries), answer.retry_after_ms)
        self._metrics.notifications.labels(name, "retried").inc()
        log.warning(
            "incident=%s channel=%s try=%d again in %d s: %s", m.incident, name, row.tries + 1, wait_ms // 1000, answer.text
        )
        self._note_failure(line, answer)
        await self._write(partial(rows.put_off, row=row, next_ms=now_ms + wait_ms, error=answer.text))

    def _note_failure(self, line: _Line, answer: Answer) -> None:
        pause_ms = max(min(backoff_ms(line.failures), PAUSE_MS_MAX), answer.retry_after_ms)
        line.failures += 1
        line.paused_until_ms = self._now_ms() + pause_ms

    async def _write(self, job: Callable[[Connection], Any]) -> None:
        """What became of a message must be noted before anything else is done with it: again until the store takes it."""
        while True:
            try:
                await self._store.write(job)
                return
            except StoreUnavailable as error:
                log.warning("cannot note what became of a message: %s", error)
                await asyncio.sleep(STORE_RETRY_S)

    async def _wait(self, line: _Line, wait_ms: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(wait_ms / 1000, IDLE_S_MAX))):
                await line.woken.wait()

    async def _prune(self) -> None:
        while True:
            with contextlib.suppress(StoreUnavailable):
                await self._store.write(lambda c: rows.prune(c, self._now_ms() - KEPT_MS))
            await asyncio.sleep(PRUNE_EVERY_S)


def backoff_ms(tries: int) -> int:
    """How long a message waits after so many tries before."""
    return min(BACKOFF_MS << min(tries, 20), BACKOFF_MS_MAX)


def _note(answer: Answer) -> str:
    return f" ({answer.text})" if answer.text else ""
