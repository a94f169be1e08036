"""What is remembered of repairs: a playbook's record, which lowers its trust, and what keeps being healed, which is debt."""

from __future__ import annotations

from .effects import Escalated, Reason, Why
from .events import TrustRestored
from .model import Fleet, Heal, Incident, Playbook, Standing, Subject, Trust
from .turn import Turn

DEMOTED_AFTER_FAILED = 3
DEBT_WINDOW_MS = 7 * 24 * 3_600_000
# At each of these numbers of repairs within the window the owner is told, and the subject's tries shrink.
DEBT_STEPS = (10, 30, 100)
HEALS_KEPT_MAX = 200


def trust_of(turn: Turn, playbook: Playbook) -> Trust:
    """How far the playbook may go now."""
    return effective_trust(turn.fleet, playbook)


def effective_trust(fleet: Fleet, playbook: Playbook) -> Trust:
    """What the playbook declares, or less if it was demoted. Never more."""
    standing = fleet.standing.get(playbook.name)
    if standing is None or standing.lowered is None:
        return playbook.trust
    return min(playbook.trust, standing.lowered, key=_rank)


def debt(fleet: Fleet, target: Subject, now_ms: int) -> list[Heal]:
    """The repairs of a target that still count against it: gate, reports and metrics go by the same."""
    return [heal for heal in fleet.heals.get(target, ()) if heal.at_ms > now_ms - DEBT_WINDOW_MS]


def proved(turn: Turn, incident: Incident, playbook: Playbook, at_ms: int | None = None) -> None:
    """A repair was proved: good for the playbook's record, and one more on the subject's account. `at_ms`: then, not now."""
    standing = turn.fleet.standing.setdefault(playbook.name, Standing())
    standing.proved += 1
    standing.failed_in_row = 0
    heals = debt(turn.fleet, incident.tried, turn.now_ms)[-HEALS_KEPT_MAX + 1 :]
    well_ms = turn.now_ms if at_ms is None else at_ms
    heals.append(Heal(well_ms, max(0, well_ms - incident.fault_since_ms), playbook.name))
    turn.fleet.heals[incident.tried] = heals
    if len(heals) in DEBT_STEPS:
        hidden_min = sum(heal.hidden_ms for heal in heals) // 60_000
        text = f"healed {len(heals)} times within 7 days, {hidden_min} min of fault hidden: the cause needs its owner"
        turn.say(incident, Why.MASKING, text)
        turn.do(Escalated(incident.id, incident.subject, playbook.owner, "ticket", Why.MASKING, text, incident.fault))


def failed(turn: Turn, incident: Incident, playbook: Playbook) -> None:
    """A proof failed: too many in a row lower the playbook's trust by one step."""
    standing = turn.fleet.standing.setdefault(playbook.name, Standing())
    standing.failed += 1
    standing.failed_in_row += 1
    if standing.failed_in_row < DEMOTED_AFTER_FAILED:
        return
    trust = trust_of(turn, playbook)
    if trust is Trust.OBSERVE:
        return
    standing.lowered = Trust.SUGGEST if trust is Trust.ACT else Trust.OBSERVE
    standing.why = f"{standing.failed_in_row} repairs in a row were not proved"
    standing.failed_in_row = 0
    turn.permits_differ(turn.fleet.hosts.values())
    text = f"{playbook.name} is demoted to {standing.lowered.value}: {standing.why}"
    turn.say(incident, Why.TRUST_DEMOTED, text)
    turn.do(Escalated(incident.id, incident.subject, playbook.owner, "ticket", Why.TRUST_DEMOTED, text, incident.fault))


def restored(turn: Turn, event: TrustRestored) -> None:
    """An operator lifts a demotion; the record begins anew."""
    if turn.fleet.standing.pop(event.playbook, None) is not None:
        text = f"{event.by} restored {event.playbook}"
        turn.permits_differ(turn.fleet.hosts.values())
        turn.reasons.append(Reason("", Why.TRUST_RESTORED, text, "", None, event.playbook))


def tries_left(max_tries: int, heals: int) -> int:
    """How many tries a subject with this debt gets: half as many with each step of debt, but one at least."""
    steps = sum(1 for step in DEBT_STEPS if heals >= step)
    return max(1, max_tries >> steps)


def _rank(trust: Trust) -> int:
    return (Trust.OBSERVE, Trust.SUGGEST, Trust.ACT).index(trust)
