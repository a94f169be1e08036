"""May the next step run now? Asks every gate, and orders, holds, or hands over."""

from __future__ import annotations

from . import lost, standing
from .effects import ApprovalWanted, Verdict, Why
from .ending import give_up, reconsider
from .events import Approve, Deny
from .gates import Answer, Candidate, Gate
from .gates.approval import next_order
from .incidents import WAITING
from .matching import substitute
from .model import ActionStep, Approved, Host, Incident, Phase, Playbook, Trust
from .orders import ask_check, issue
from .transitions import Trigger
from .turn import Turn

# A held incident looks at itself this often although nothing told it to. Each look is a journal row.
RECHECK_MS = 300_000

_BLIND = {Why.EVIDENCE_STALE, Why.EVIDENCE_UNKNOWN, Why.FAULT_EASED, Why.OBSERVER_DOUBTED}
# What should pass by itself soon; if it does not, a person must know.
_STUCK = _BLIND | {Why.FLEET_BUDGET, Why.MINIMUM_HEALTHY, Why.HOST_BUSY, Why.GROUP_UNKNOWN}


def try_step(turn: Turn, host: Host, incident: Incident, playbook: Playbook, step: ActionStep) -> None:
    """Order the step if every gate allows it; else hold, or hand over."""
    params = substitute(step, incident)
    if isinstance(params, str):
        give_up(turn, incident, Trigger.REFUSE, Why.PLAYBOOK_BAD_PARAMETER, params)
        return
    trust = Trust.ACT if incident.run is not None else standing.trust_of(turn, playbook)
    candidate = Candidate(turn.now_ms, turn.fleet, turn.policy, host, incident, playbook, step, trust)
    answers = [(gate, gate.ask(candidate)) for gate in turn.policy.gates]
    blockers = [(gate, answer) for gate, answer in answers if answer.verdict is not Verdict.ALLOW]
    if not blockers:
        _say_gates(turn, incident, answers)
        incident.asked_ms = None
        turn.fleet.flaps_told.pop(incident.tried, None)
        issue(turn, host, incident, playbook, step, params)
        return
    refusal = next((answer for _, answer in blockers if answer.verdict is Verdict.REFUSE), None)
    holds = tuple(f"{gate.name}:{answer.why.value}" for gate, answer in blockers)
    if holds != incident.holds or refusal is not None:
        _say_gates(turn, incident, answers)
    incident.holds = holds
    if refusal is not None:
        if refusal.why is Why.FLAPPING:
            turn.fleet.flaps_told[incident.tried] = turn.now_ms
        give_up(turn, incident, Trigger.REFUSE, refusal.why, refusal.text)
        return
    _hold(turn, host, incident, playbook, [answer for _, answer in blockers])


def _hold(turn: Turn, host: Host, incident: Incident, playbook: Playbook, answers: list[Answer]) -> None:
    whys = {answer.why for answer in answers}
    if _wants_witnesses(incident, whys) and lost.ask_again(turn, incident):
        return
    since_ms = incident.opened_ms if incident.run else incident.evidence_ms if whys <= _BLIND else incident.phase_since_ms
    if (incident.run is not None or whys <= _STUCK) and turn.now_ms - since_ms >= turn.policy.stuck_ms:
        give_up(turn, incident, Trigger.REFUSE, answers[0].why, f"held for too long: {answers[0].text}")
        return
    if Why.FLEET_BUDGET in whys:
        by = playbook.limits.fleet.by
        turn.fleet.waiting.setdefault((by, host.labels.get(by, "")), {})[incident.id] = None
    if Why.OBSERVER_DOUBTED in whys and incident.phase is Phase.OPEN:
        ask_check(turn, incident)
    turn.move(incident, Trigger.HOLD)
    if whys == {Why.APPROVAL_NEEDED} and incident.asked_ms is None:
        _ask_people(turn, incident, playbook, answers[0].text)
    rechecks = [answer.recheck_ms for answer in answers if answer.recheck_ms is not None]
    turn.wake(incident, min([*rechecks, turn.now_ms + RECHECK_MS]))


def _wants_witnesses(incident: Incident, whys: set[Why]) -> bool:
    """Whether a fresh word about a lost host is all that is missing; while people think about it, nobody is asked."""
    old = whys & {Why.EVIDENCE_STALE, Why.OBSERVER_DOUBTED}
    asked = {Why.APPROVAL_NEEDED} if incident.asked_ms is None else set()
    return incident.inquiry is not None and bool(old) and whys <= old | asked


def _ask_people(turn: Turn, incident: Incident, playbook: Playbook, text: str) -> None:
    """Only approval is missing: now it is worth a person's time."""
    incident.asked_ms = turn.now_ms
    wanted, order = playbook.approval, next_order(incident)
    turn.do(ApprovalWanted(incident.id, order, playbook.escalate.to, wanted.people, turn.now_ms + wanted.within_ms, text))


def answered(turn: Turn, event: Approve | Deny) -> None:
    """A person approved or denied the next order of an incident. An answer to an order that is not asked for is nothing."""
    number = event.order.removeprefix("ord-").split("-")[0]
    incident = turn.fleet.incidents.get(f"inc-{number}")
    if incident is None or incident.phase not in WAITING or next_order(incident) != event.order:
        return
    if isinstance(event, Deny):
        turn.say(incident, Why.DENIED, f"{event.by} denied {event.order}: {event.reason}", "approval", Verdict.REFUSE)
        give_up(turn, incident, Trigger.REFUSE, Why.DENIED, f"{event.by} denied {event.order}: {event.reason}")
        return
    if not any(given.by == event.by and given.order == event.order for given in incident.approvals):
        incident.approvals.append(Approved(event.order, event.by, turn.now_ms))
        turn.say(incident, Why.APPROVED, f"{event.by} approved {event.order}")
    reconsider(turn, [incident.id])


def _say_gates(turn: Turn, incident: Incident, answers: list[tuple[Gate, Answer]]) -> None:
    for gate, answer in answers:
        turn.say(incident, answer.why, answer.text, gate.name, answer.verdict)
