"""Subjects that come and go: people are told when one begins to flap; it is said, too, when one has been quiet long enough."""

from __future__ import annotations

from .effects import Reason, Why
from .model import Flap, Fleet, Incident, Subject
from .turn import Turn


def begins(turn: Turn, incident: Incident, quiet_ms: int) -> None:
    """People get the incident because its subject flaps. It looks at itself again when that can be over."""
    turn.fleet.flapping[incident.tried] = Flap(turn.now_ms, quiet_ms, incident.id)
    turn.fleet.flaps_look_ms = turn.now_ms
    turn.wake(incident, calm_ms(turn.fleet, incident.tried))


def ends(turn: Turn, subject: Subject, because: str) -> None:
    """Say that a subject does not flap any more, with the incident by which people heard that it does."""
    flap = turn.fleet.flapping.pop(subject, None)
    if flap is None:
        return
    text = f"{subject.key or subject.check} flaps no more: {because}"
    known = turn.fleet.incidents.get(flap.incident)
    turn.reasons.append(Reason(flap.incident, Why.FLAPPING_OVER, text, "", None, known.playbook if known is not None else ""))


def look(turn: Turn) -> None:
    """Before an event: who has become quiet meanwhile? Costs nothing while nobody can have."""
    fleet = turn.fleet
    if not fleet.flapping or turn.now_ms < fleet.flaps_look_ms:
        return
    for subject in [s for s in fleet.flapping if calm_ms(fleet, s) <= turn.now_ms]:
        ends(turn, subject, f"it was quiet for {fleet.flapping[subject].quiet_ms // 60_000} min")
    fleet.flaps_look_ms = min((calm_ms(fleet, s) for s in fleet.flapping), default=0)


def calm_ms(fleet: Fleet, subject: Subject) -> int:
    """When a flapping subject will have been quiet for long enough, if nothing happens."""
    times = fleet.opened_at.get(subject)
    flap = fleet.flapping[subject]
    return (times[-1] if times else flap.since_ms) + flap.quiet_ms


def count(fleet: Fleet, now_ms: int) -> int:
    """How many subjects flap now."""
    return sum(1 for subject in fleet.flapping if calm_ms(fleet, subject) > now_ms)
