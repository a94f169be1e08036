"""One turn of the core: the fleet, the policy and the time of one event, and what it leads to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .effects import Effect, PhaseChanged, Reason, Step, Verdict, WakeAt, WakeHostAt, Why
from .model import Fleet, Host, Incident
from .policy import Policy
from .transitions import Trigger, after


@dataclass(slots=True)
class Turn:
    """Collects effects and reasons while one event is worked through.

    `later` holds incidents to look at again before the turn ends: something they waited for may have come free. A queue, not
    recursion, because one release can touch a thousand of them.
    """

    fleet: Fleet
    policy: Policy
    now_ms: int
    effects: list[Effect] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    later: dict[str, None] = field(default_factory=dict)

    def step(self) -> Step:
        """What the event led to."""
        return Step(tuple(self.effects), tuple(self.reasons))

    def say(self, incident: Incident, why: Why, text: str, gate: str = "", verdict: Verdict | None = None) -> None:
        """Record one reason."""
        self.reasons.append(Reason(incident.id, why, text, gate, verdict, incident.playbook))

    def do(self, effect: Effect) -> None:
        """Ask for one effect."""
        self.effects.append(effect)

    def move(self, incident: Incident, trigger: Trigger) -> None:
        """Move an incident along the table."""
        before = incident.phase
        incident.phase = after(before, trigger)
        if incident.phase is before:
            return
        self.do(PhaseChanged(incident.id, incident.subject, before, incident.phase, self.now_ms - incident.phase_since_ms))
        incident.phase_since_ms = self.now_ms

    def wake(self, incident: Incident, at_ms: int | None) -> None:
        """Set when the incident looks at itself again; None: only an event will make it."""
        incident.wake_ms = at_ms
        if at_ms is not None:
            self.do(WakeAt(incident.id, at_ms))

    def wake_host(self, host: Host, at_ms: int) -> None:
        """Set when the host's permits are looked at again."""
        host.permits.due_ms = at_ms
        self.do(WakeHostAt(host.id, at_ms))

    def permits_differ(self, hosts: Iterable[Host]) -> None:
        """Something changed that permits depend on: these hosts' are looked at again as soon as this turn is journalled."""
        for host in hosts:
            due_ms = host.permits.due_ms
            concerned = bool(self.policy.alone) or bool(host.permits.granted)
            if concerned and host.boot and host.lost_since_ms is None and (due_ms is None or due_ms > self.now_ms):
                self.wake_host(host, self.now_ms)
