"""What a host did alone: its repair takes its place in the story, is proved by the same samples, and counts like an order.

The host tells twice of each use: that it began, and its sealed end. Either may come late, twice, or after a reboot; the first
that comes counts the use, under the permit's id, once. From then on it is an order that was given ahead of time.
"""

from __future__ import annotations

from dataclasses import replace

from . import fleet as members
from . import permits, storms
from .allowance import Used
from .effects import ActionEnded, PermitSpent, Why
from .events import Observed, OrderEnded, PermitUsed
from .incidents import hold_budget, open_incident, release
from .model import (
    ActionStep,
    AloneUse,
    Attempt,
    Attempts,
    Cost,
    EscalateTo,
    FleetBudget,
    Host,
    Incident,
    Limits,
    Order,
    Outcome,
    Phase,
    Playbook,
    Proof,
    Rate,
    Status,
    Subject,
    Trust,
)
from .orders import OUTCOME_GRACE_MS, count_order
from .permission import ask_anew
from .transitions import Trigger
from .turn import Turn

# Of a permit whose playbook is gone by now.
_LIMITS = Limits(Rate(permits.PERMITS_MAX, 3_600_000), FleetBudget("role", 10, 20), Attempts(5, 3_600_000, 5_000, 2))


def used(turn: Turn, event: PermitUsed) -> None:
    """A host tells that it used a permit: make it part of the incident that it was used on."""
    host = turn.fleet.hosts.get(event.host)
    if host is None or not members.is_new(host, event.outbox, event.seq) or event.permit in host.permits.used:
        return
    if not event.sealed and not permits.is_known(host, event.permit):
        # Its sealed end, which cannot be made up, will say.
        return
    incident = _incident(turn, host, event)
    book, index, step = _by_which(turn, event)
    if incident.phase is Phase.OPEN:
        # Nobody has heard of it so far; many that heal the same alone may have one cause like any others.
        storms.note(turn, incident, book.limits.storm or turn.policy.storm)
    started_ms = event.at_ms - max(0, event.clock_ms - event.started_clock_ms)
    order = _order(turn, incident, event, book, step, started_ms)
    host.permits.used[event.permit] = Used(incident.id, event.playbook, started_ms)
    permits.spend(host, event.permit, event.playbook, started_ms)
    incident.attempts.append(Attempt(order.id, order.action, started_ms, None, ""))
    if step.cost is not Cost.HARMLESS:
        count_order(turn, host, incident, book, started_ms)
    _say(turn, host, incident, event)
    turn.do(PermitSpent(order))
    turn.permits_differ([host])
    incident.alone = AloneUse(order)
    if incident.phase in (Phase.ORDERED, Phase.RUNNING):
        # An order of ours is out too. The host lets it begin only afterwards, and withdraws it if the fault is gone.
        return
    if incident.phase is Phase.PROVING:
        release(turn, incident)
        turn.move(incident, Trigger.RETRY)
    incident.playbook, incident.book, incident.step, incident.wait_until_ms = book.name, book, index, None
    incident.policy = turn.policy.digest
    ask_anew(turn, incident, f"{host.name} acted alone meanwhile")
    incident.holds = ()
    incident.order = order
    incident.ordered_ms = started_ms if incident.ordered_ms is None else incident.ordered_ms
    if step.cost is not Cost.HARMLESS:
        hold_budget(turn, incident, host, book)
    turn.move(incident, Trigger.ALONE)
    turn.wake(incident, turn.now_ms + step.timeout_ms + OUTCOME_GRACE_MS)


def ended_beside(turn: Turn, incident: Incident, event: OrderEnded) -> None:
    """The end of a permit's use on an incident that an order of ours stands for."""
    found = [n for n, attempt in enumerate(incident.attempts) if attempt.order == event.order]
    before = incident.attempts[found[0]] if found else None
    if before is None or before.outcome not in (None, Outcome.UNKNOWN):
        return
    incident.attempts[found[0]] = replace(before, outcome=event.outcome, detail=event.detail)
    turn.say(incident, Why.ALONE_USED, f"{event.order} {event.outcome.value}: {event.detail}".removesuffix(": "))
    alone = incident.alone
    if alone is None or alone.order.id != event.order:
        return
    order = alone.order
    if before.outcome is None:
        turn.do(ActionEnded(incident.id, order.id, order.host, order.action, order.params, event.outcome.value, event.detail))
    if event.outcome in (Outcome.DONE, Outcome.UNKNOWN):
        incident.alone = AloneUse(order, event.boot, event.ended_clock_ms)


def _incident(turn: Turn, host: Host, event: PermitUsed) -> Incident:
    """The incident that stands for what the permit was used on; a new one if the fault was over before it was told of."""
    subject, unit = Subject(host.id, event.check, event.key), event.finding.get("unit")
    fleet = turn.fleet
    known = fleet.by_subject.get(subject) or fleet.symptom_of.get(subject)
    known = known or (fleet.by_target.get((host.id, unit)) if isinstance(unit, str) and unit else None)
    if known is not None:
        return fleet.incidents[known]
    seen = Observed(
        at_ms=event.at_ms,
        host=host.id,
        check=event.check,
        check_type=event.check_type,
        key=event.key,
        status=Status.CRIT,
        finding=event.finding,
        summary=event.summary,
        boot=event.boot,
        sampled_clock_ms=event.since_clock_ms,
        clock_ms=event.clock_ms,
    )
    return open_incident(turn, seen)


def _by_which(turn: Turn, event: PermitUsed) -> tuple[Playbook, int, ActionStep]:
    """The playbook as it is now, if the permit still is what it would give; else one that says what the host did."""
    found = next((book for book in turn.policy.playbooks if book.name == event.playbook), None)
    step = permits.deed(found) if found is not None else None
    if found is not None and step is not None and step[1].action == event.action:
        return found, *step
    told = ActionStep(event.action, event.params, Cost.DISRUPTIVE, Proof(event.within_ms, event.stay_ok_ms), event.timeout_ms)
    owner = found.owner if found is not None else turn.policy.default_escalate_to
    book = Playbook(
        name=event.playbook,
        summary=f"{event.action} by permit",
        owner=owner,
        trust=Trust.ACT,
        check=event.check,
        where="",
        for_ms=0,
        steps=(told,),
        limits=found.limits if found is not None else _LIMITS,
        escalate=found.escalate if found is not None else EscalateTo(owner, "ticket"),
        toil_minutes=found.toil_minutes if found is not None else 0,
    )
    return book, 0, told


def _order(turn: Turn, incident: Incident, event: PermitUsed, book: Playbook, step: ActionStep, started_ms: int) -> Order:
    return Order(
        id=event.permit,
        incident=incident.id,
        host=event.host,
        check=event.check,
        key=event.key,
        boot=event.boot,
        action=event.action,
        params=event.params,
        cost=step.cost,
        timeout_ms=step.timeout_ms,
        issued_ms=started_ms,
        expires_ms=turn.now_ms,
        expires_clock_ms=event.clock_ms,
        requested_by=f"playbook {book.name}, by permit",
        started_ms=started_ms,
        permit=True,
    )


def _say(turn: Turn, host: Host, incident: Incident, event: PermitUsed) -> None:
    incident.playbook = incident.playbook or event.playbook
    params = " ".join(f"{name}={value}" for name, value in event.params)
    what = f"{host.name} used {event.permit} of {event.playbook} alone: {event.action} {params}".rstrip()
    turn.say(incident, Why.ALONE_USED, f"the controller was unreachable for {event.away_ms / 1000:.0f} s; {what}")
