"""The replay: recorded inputs and the world's answers, in order of time, through the production core."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..core.effects import Effect, RequestCheck, SendOrder, Step, WakeAt
from ..core.events import Event, PolicyLoaded, Woken
from ..core.flow import advance
from ..core.incidents import WAITING
from ..core.model import Fleet, Subject
from ..core.policy import Policy
from .record import Input
from .world import ANSWER_MS, Due, World

Watch = Callable[[Event, Step, Fleet], None]


@dataclass(slots=True)
class Replay:
    """One run. `policies` gives the rules for a digest; `watch` sees every event with what it led to."""

    policies: Callable[[str], Policy]
    world: World
    watch: Watch
    fleet: Fleet = field(default_factory=Fleet)
    policy: Policy | None = None
    events: int = 0
    _heap: list[tuple[int, int, Due | str]] = field(default_factory=list)
    _count: int = 0

    def prepare(self, before: Sequence[Event]) -> None:
        """Bring the fleet to where the window begins."""
        self.policy = self.policies("")
        for event in before:
            self._feed(event)

    def run(self, inputs: Sequence[Input], to_ms: int) -> None:
        """Everything up to a time."""
        for item in inputs:
            self._until(item.at_ms)
            events, dues = self.world.happens(self.fleet, item)
            for event in events:
                self._feed(event)
            self._later(dues)
        self._until(to_ms)

    def _until(self, ms: int) -> None:
        while self._heap and self._heap[0][0] <= ms:
            at_ms, _, due = heapq.heappop(self._heap)
            if isinstance(due, str):
                self._wake(due, at_ms)
            else:
                self._due(due)

    def _wake(self, incident_id: str, at_ms: int) -> None:
        incident = self.fleet.incidents.get(incident_id)
        if incident is None or incident.wake_ms is None or incident.wake_ms > at_ms:
            return
        if incident.phase in WAITING and incident.evidence_ms < self.fleet.doubt_ms:
            # What was seen before the doubt is not believed; the next heartbeat tells anew.
            confirmed = self.world.confirmed(self.fleet, incident.subject, at_ms)
            if confirmed is not None:
                self._feed(confirmed)
        self._feed(Woken(at_ms, incident_id))

    def _due(self, due: Due) -> None:
        if due.ends is not None:
            for told in self.world.ended(self.fleet, due.ends, due.at_ms):
                self._feed(told)
        event: Event | None = due.event if due.asks is None else self.world.asked(self.fleet, due.asks, due.at_ms)
        if event is not None:
            self._feed(event)

    def _feed(self, event: Event) -> None:
        if isinstance(event, PolicyLoaded):
            self.policy = self.policies(event.digest)
        if self.policy is None:
            self.policy = self.policies("")
        self.events += 1
        step = advance(self.fleet, event, self.policy)
        self.watch(event, step, self.fleet)
        for effect in step.effects:
            self._perform(effect, self.fleet.now_ms)

    def _perform(self, effect: Effect, now_ms: int) -> None:
        if isinstance(effect, WakeAt):
            self._push(effect.at_ms, effect.incident)
        elif isinstance(effect, RequestCheck):
            self._ask(effect.subject, now_ms + ANSWER_MS)
        elif isinstance(effect, SendOrder):
            self._later(self.world.ordered(self.fleet, effect.order))

    def _ask(self, subject: Subject, at_ms: int) -> None:
        self._push(at_ms, Due(at_ms, asks=subject))

    def _later(self, dues: Sequence[Due]) -> None:
        for due in dues:
            self._push(due.at_ms, due)

    def _push(self, at_ms: int, what: Due | str) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at_ms, self._count, what))
