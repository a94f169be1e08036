"""Heals this host while no controller can be asked, and only by the sealed permits that one gave ahead of time.

A fault is matched with the permits, looked at afresh, and handed to the executor, which judges the permit once more and keeps
its ledger. Then the same check must prove it. One at a time, with back-off, and after two repairs that were not proved never
again on the same target. All of it goes into the outbox; the controller hears of it in order and counts each use once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fleetmend import permits as shared
from fleetmend.permits import Grant, Sighting
from fleetmend.v1 import link_pb2 as pb

from .checks import Result, Status
from .executor_client import AnswerLost, ExecutorRefused, ExecutorUnreachable, SealedOutcome
from .log import LOG
from .permits import FORGET_MS, Permits, Tries
from .runner import Observed, Runner

UNPROVED_MAX = 2
RETRY_MS_MIN = 5_000
# After an order of the controller's the host is left in peace for so long: the order may still have to show that it helped.
AFTER_ORDER_MS = 60_000
LOOK_TIMEOUT_S = 20.0
LOOK_EVERY_S = (1.0, 1.0, 1.0, 1.0, 1.0, 3.0)
ASK_EXECUTOR_TRIES = 60
ASK_EXECUTOR_S = 1.0
SAID_MAX = 256

# The set itself is void: no other permit of it will do better.
_VOID = frozenset({"stale_epoch", "stale_version", "wrong_boot", "wrong_host", "bad_seal"})
_DID_SOMETHING = ("done", "unknown")


class Executor(Protocol):
    """What is needed of the executor."""

    async def keep_permits(self, payload: bytes, mac: bytes) -> None:
        """Hands on a set."""

    async def permit(
        self, payload: bytes, mac: bytes, permit: str, trigger: dict[str, Any], started: Callable[[str, int, str], None]
    ) -> SealedOutcome:
        """Uses a permit and waits for the outcome."""

    async def used(self, permit: str) -> SealedOutcome:
        """What became of a permit that was used before."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What healing alone needs of the rest of the agent.

    `away_ms`: for how long no controller could be asked, None while one can. `busy`: an order is under way. `present`: who is
    at work.
    """

    runner: Runner
    executor: Executor
    clock_ms: Callable[[], int]
    away_ms: Callable[[], int | None]
    busy: Callable[[], bool]
    present: Callable[[], list[str]]
    keep: Callable[[pb.PermitUse], None]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True, slots=True)
class Fault:
    """A confirmed CRIT result."""

    seen: Sighting
    summary: str
    since_clock_ms: int
    sampled_clock_ms: int

    @property
    def target(self) -> str:
        """What a repair would touch: the unit if the finding names one, whichever check sees it."""
        return f"unit {self.seen.unit}" if self.seen.unit else f"check {self.seen.check} {self.seen.key}".rstrip()

    def trigger(self, away_ms: int) -> dict[str, Any]:
        """What the executor is told."""
        return {
            "check": self.seen.check,
            "check_type": self.seen.check_type,
            "key": self.seen.key,
            "summary": self.summary[: shared.TEXT_CHARS_MAX],
            "finding": dict(self.seen.finding),
            "since_clock_ms": self.since_clock_ms,
            "sampled_clock_ms": self.sampled_clock_ms,
            "away_ms": away_ms,
        }


class Alone:
    """The permits of this host and the one repair that is under way. Belongs to the event loop's thread."""

    def __init__(self, desk: Desk, folder: Path, boot_id: str, after_ms: int) -> None:
        """`after_ms`: how long the controller must have been out of reach."""
        self._desk = desk
        self._after_ms = after_ms
        self._permits = Permits(folder, boot_id)
        self._permits.load()
        self._since: dict[tuple[str, str], int] = {}
        self._waiting: dict[tuple[str, str], asyncio.Future[Observed]] = {}
        self._task: asyncio.Task[None] | None = None
        self._acting: Fault | None = None
        self._settled = asyncio.Event()
        self._settled.set()
        self._order_ended_clock_ms: int | None = None
        self._said: dict[str, str] = {}
        # Used permits whose end this agent has not learned yet.
        self._unanswered: dict[str, None] = {}
        self._handed_on: tuple[bytes, bytes] | None = None

    # What the controller gives and takes.

    def take(self, sealed: pb.SealedPermits) -> bool:
        """A set of permits from the controller. False if it cannot be used."""
        return self._permits.take(sealed)

    @property
    def armed(self) -> bool:
        """Whether anything could be done alone."""
        return self._permits.held is not None and bool(self._permits.held.grants)

    @property
    def pending(self) -> bool:
        """Whether the executor has to be told of a newer set, or asked what became of a permit."""
        return self._permits.sealed != self._handed_on or bool(self._unanswered)

    async def hand_on(self) -> None:
        """The executor keeps the newest set too, so that what is withdrawn is withdrawn in both places. Raises as it does."""
        await self.recover(())
        wanted = self._permits.sealed
        if wanted is None or wanted == self._handed_on:
            self._handed_on = wanted
            return
        try:
            await self._desk.executor.keep_permits(*wanted)
        except ExecutorRefused as error:
            LOG.warning("the executor refused permits: %s: %s", error.reason, error.detail)
            if error.reason == "busy":
                return
        self._handed_on = wanted

    # What the rest of the agent tells.

    def observed(self, observed: Observed) -> None:
        """A result that changed or was asked for."""
        subject = (observed.check, observed.result.key)
        if observed.result.status is Status.CRIT:
            self._since.setdefault(subject, observed.sampled_clock_ms)
        else:
            self._since.pop(subject, None)
        waiting = self._waiting.get(subject)
        if waiting is not None and observed.requested and not waiting.done():
            waiting.set_result(observed)

    def order_ended(self) -> None:
        """An order of the controller's is over."""
        self._order_ended_clock_ms = self._desk.clock_ms()

    async def settled(self, check: str, key: str) -> None:
        """Until an order may begin: after an action that is under way, and on the same target after its proof."""
        acting = self._acting
        if acting is None:
            return
        mine = self._fault_of(check, key)
        same = (check, key) == (acting.seen.check, acting.seen.key) or (mine is not None and mine.target == acting.target)
        if same and self._task is not None:
            await asyncio.wait({self._task})
        else:
            await self._settled.wait()

    async def stop(self) -> None:
        """Lets go; what the executor began goes on by itself, and is asked for at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # Deciding.

    def tick(self) -> None:
        """About every second while the controller is away."""
        if self._task is not None or not self._may_begin():
            return
        chosen = self._choose()
        if chosen is None:
            return
        self._task = asyncio.get_running_loop().create_task(self._heal(*chosen))
        self._task.add_done_callback(self._ended)

    def _may_begin(self) -> bool:
        """Whether anything may be done alone at this moment, whatever is bad."""
        permits, away_ms, now_ms = self._permits.held, self._desk.away_ms(), self._desk.clock_ms()
        if permits is None or not permits.grants or away_ms is None or away_ms < self._after_ms:
            return False
        if now_ms >= permits.expires_clock_ms or self._desk.busy():
            return False
        return self._order_ended_clock_ms is None or now_ms - self._order_ended_clock_ms >= AFTER_ORDER_MS

    def _choose(self) -> tuple[Fault, Grant, str] | None:
        """The fault that lasts longest and has a permit left for it. Who is at work is asked last: it costs most."""
        for fault in sorted(self._faults(), key=lambda each: (each.since_clock_ms, each.seen.check, each.seen.key)):
            found = self._permit_for(fault)
            if found is None:
                continue
            people = self._desk.present()
            if people:
                self._say(fault, f"nothing is done alone: {', '.join(people)}")
                return None
            return fault, *found
        return None

    def _permit_for(self, fault: Fault) -> tuple[Grant, str] | None:
        permits, now_ms = self._permits.held, self._desk.clock_ms()
        tries = self._permits.tries.get(fault.target, Tries())
        if permits is None:
            return None
        if tries.unproved >= UNPROVED_MAX:
            self._say(fault, f"nothing more is done alone: {tries.unproved} repairs were not proved")
            return None
        for grant in permits.grants:
            if permits.why_not(grant, fault.seen) or now_ms - fault.since_clock_ms < grant.for_ms:
                continue
            if tries.count and now_ms - tries.last_clock_ms < _pause_ms(grant, tries.count):
                continue
            permit = next((each for each in grant.permits if each not in self._permits.used), None)
            if permit is not None:
                return grant, permit
            self._say(fault, f"nothing more is done alone: the permits of {grant.playbook} are used up")
        return None

    def _faults(self) -> Iterable[Fault]:
        for watch, key, subject in self._desk.runner.subjects():
            if subject.confirmed.status is Status.CRIT and subject.confirmed.latest is Status.CRIT:
                yield self._fault(watch.spec.name, watch.spec.type, key, subject.result, subject.sampled_clock_ms)

    def _fault_of(self, check: str, key: str) -> Fault | None:
        return next((each for each in self._faults() if (each.seen.check, each.seen.key) == (check, key)), None)

    def _fault(self, check: str, check_type: str, key: str, result: Result, sampled_clock_ms: int) -> Fault:
        since_ms = self._since.get((check, key), sampled_clock_ms)
        return Fault(Sighting(check, check_type, key, dict(result.finding)), result.summary, since_ms, sampled_clock_ms)

    # Doing.

    async def _heal(self, fault: Fault, grant: Grant, permit: str) -> None:
        """One permit, from a last look to its proof."""
        looked = await self._look(fault.seen)
        if looked is None or looked.result.status is not Status.CRIT:
            return
        fault = self._fault(looked.check, looked.check_type, looked.result.key, looked.result, looked.sampled_clock_ms)
        permits, away_ms = self._permits.held, self._desk.away_ms()
        # While it was looked at the controller may have come back, or a newer set.
        if permits is None or away_ms is None or not self._may_begin() or permits.grant_of(permit) is None:
            return
        if permits.why_not(grant, fault.seen):
            return
        self._acting = fault
        self._settled.clear()
        try:
            outcome = await self._use(fault, permit, away_ms)
        finally:
            self._settled.set()
        if outcome is None:
            return
        word, ended_clock_ms = outcome
        proved = word in _DID_SOMETHING and await self._prove(fault.seen, grant, ended_clock_ms)
        self._permits.note_try(fault.target, self._desk.clock_ms(), proved=proved)
        LOG.warning("%s %s", fault.target, f"was healed by {permit}" if proved else f"is not proved well after {permit}")

    async def _use(self, fault: Fault, permit: str, away_ms: int) -> tuple[str, int] | None:
        """The outcome's word and the clock of its end; None if nothing was done by it now."""
        payload, mac = self._permits.sealed or (b"", b"")
        asked_clock_ms = self._desk.clock_ms()
        LOG.warning("%s is bad and no controller was heard for %d s: %s is used", fault.target, away_ms // 1000, permit)
        try:
            sealed = await self._desk.executor.permit(payload, mac, permit, fault.trigger(away_ms), self._started)
        except ExecutorUnreachable as error:
            self._not_used(fault, str(error))
            return None
        except ExecutorRefused as error:
            self._not_used(fault, f"{error.reason}: {error.detail}")
            if error.reason in _VOID:
                self._permits.held = None
            return None
        except AnswerLost as error:
            LOG.warning("the answer about %s was lost: %s", permit, error)
            sealed_or_none = await self._ask_executor(permit)
            if sealed_or_none is None:
                self._not_used(fault, "the executor cannot say what became of it")
                return None
            sealed = sealed_or_none
        document = self._tell(permit, sealed)
        if int(document.get("started_clock_ms", 0)) < asked_clock_ms:
            # Its end of an earlier time: the ledger knew better than we did.
            return None
        return str(document.get("outcome")), int(document.get("ended_clock_ms", 0))

    async def _ask_executor(self, permit: str) -> SealedOutcome | None:
        for _ in range(ASK_EXECUTOR_TRIES):
            try:
                return await self._desk.executor.used(permit)
            except ExecutorRefused as error:
                if error.reason != "busy":
                    return None
            except (ExecutorUnreachable, AnswerLost):
                pass
            await self._desk.sleep(ASK_EXECUTOR_S)
        self._unanswered[permit] = None
        return None

    async def _prove(self, seen: Sighting, grant: Grant, ended_clock_ms: int) -> bool:
        """The same check must say OK within its time, and again after it stayed so. UNKNOWN proves nothing."""
        first_ok_ms: int | None = None
        looks = iter(LOOK_EVERY_S)
        while True:
            looked = await self._look(seen)
            sampled_ms = looked.sampled_clock_ms if looked is not None else self._desk.clock_ms()
            status = looked.result.status if looked is not None else Status.UNKNOWN
            if first_ok_ms is None and status is Status.OK and sampled_ms > ended_clock_ms:
                first_ok_ms = sampled_ms
            if first_ok_ms is not None and status is Status.CRIT:
                return False
            if first_ok_ms is not None and status is Status.OK and sampled_ms >= first_ok_ms + grant.stay_ok_ms:
                return True
            last_ms = (first_ok_ms or ended_clock_ms) + grant.within_ms + (grant.stay_ok_ms if first_ok_ms else 0)
            if sampled_ms >= last_ms:
                return False
            wait_s = next(looks, LOOK_EVERY_S[-1])
            due_ms = last_ms if first_ok_ms is None else first_ok_ms + grant.stay_ok_ms
            left_s = (due_ms - self._desk.clock_ms()) / 1000
            await self._desk.sleep(min(wait_s, left_s + 0.05) if left_s > 0 else wait_s)

    async def _look(self, seen: Sighting) -> Observed | None:
        """A fresh result of the subject; None if it did not come in time."""
        subject = (seen.check, seen.key)
        waiting: asyncio.Future[Observed] = asyncio.get_running_loop().create_future()
        self._waiting[subject] = waiting
        self._desk.runner.ask(seen.check, seen.key)
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                return await waiting
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(subject, None)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = self._acting = None
        if not task.cancelled():
            task.result()

    # Telling and remembering.

    async def recover(self, used: Iterable[str]) -> bool:
        """Tell of permits that the executor's ledger knows and this agent has not told of. False if some are still open."""
        self._unanswered.update(dict.fromkeys(permit for permit in used if permit not in self._permits.told))
        self._permits.used.update(self._unanswered)
        for permit in list(self._unanswered):
            try:
                self._tell(permit, await self._desk.executor.used(permit))
            except ExecutorRefused as error:
                if error.reason != "busy":
                    self._unanswered.pop(permit, None)
        return not self._unanswered

    def _started(self, permit: str, started_clock_ms: int, described: str) -> None:
        self._permits.used[permit] = None
        self._permits.save()
        self._desk.keep(pb.PermitUse(permit_id=permit, permit=described, started_clock_ms=started_clock_ms))

    def _tell(self, permit: str, sealed: SealedOutcome) -> dict[str, Any]:
        if permit not in self._permits.told:
            self._desk.keep(pb.PermitUse(permit_id=permit, payload=sealed.payload, mac=sealed.mac))
        self._permits.used[permit] = self._permits.told[permit] = None
        self._unanswered.pop(permit, None)
        self._permits.save()
        document = json.loads(sealed.payload)
        return document if isinstance(document, dict) else {}

    def _not_used(self, fault: Fault, why: str) -> None:
        """Nothing ran: not counted as unproved, but not tried again at once either."""
        LOG.warning("%s: nothing was done alone: %s", fault.target, why)
        self._permits.tries.setdefault(fault.target, Tries(count=1)).last_clock_ms = self._desk.clock_ms()

    def _say(self, fault: Fault, text: str) -> None:
        if self._said.get(fault.target) != text:
            LOG.info("%s: %s", fault.target, text)
        self._said = {**dict(list(self._said.items())[-SAID_MAX:]), fault.target: text}


def _pause_ms(grant: Grant, tries: int) -> int:
    """How long the next try waits after the last: longer each time."""
    pause_ms: int = grant.backoff_ms * grant.factor ** (tries - 1)
    return min(FORGET_MS, max(RETRY_MS_MIN, pause_ms))
