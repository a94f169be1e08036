"""May the next step run now? Asks every gate, and orders, holds, or hands over."""

from __future__ import annotations

from . import flaps, lost, standing
from .effects import ApprovalWanted, Verdict, Why
from .ending import give_up, reconsider
from .events import Approve, Deny
from .gates import Answer, Candidate, Gate
from .gates.approval import digest, next_order
from .gates.fleet_budget import places
from .gates.storm import GATE as STORM
from .incidents import WAITING
from .matching import substitute
from .model import ActionStep, Approved, Host, Incident, Phase, Playbook, Trust
from .orders import ask_check, issue
from .transitions import Trigger
from .turn import Turn

# A held incident looks at itself this often although nothing told it to. Each look is a journal row.
RECHECK_MS = 300_000

# People are asked anew when what they were asked for changes; what never stands still is not for asking.
CHANGES_MAX = 5

# Many faults are one problem then, which people have already.
_ONE_CAUSE = {Why.STORM, Why.STORM_BREWING, Why.MANY_HOSTS_LOST, Why.OBSERVER_DOUBTED}
_BLIND = {Why.EVIDENCE_STALE, Why.EVIDENCE_UNKNOWN, Why.FAULT_EASED, Why.OBSERVER_DOUBTED}
_BLIND_WORDS = frozenset(why.value for why in _BLIND)
# A fresh word of witnesses is what a lost host then needs.
_OLD_WORDS = {Why.EVIDENCE_STALE, Why.OBSERVER_DOUBTED}
# What should pass by itself soon; if it does not, a person must know.
_STUCK = _BLIND | {Why.FLEET_BUDGET, Why.MINIMUM_HEALTHY, Why.HOST_BUSY, Why.GROUP_UNKNOWN}


def waits_for_evidence(incident: Incident) -> bool:
    """Whether a sample that says the same again may end what holds an incident. All else has events of its own, or a time."""
    return not incident.holds or any(hold.rpartition(":")[2] in _BLIND_WORDS for hold in incident.holds)


def try_step(turn: Turn, host: Host, incident: Incident, playbook: Playbook, step: ActionStep) -> None:
    """Order the step if every gate allows it; else hold, or hand over."""
    params = substitute(step, incident)
    if isinstance(params, str):
        give_up(turn, incident, Trigger.REFUSE, Why.PLAYBOOK_BAD_PARAMETER, params)
        return
    if incident.asked_ms is not None and incident.asked_what != digest(playbook, step, params):
        ask_anew(turn, incident, f"{step.action} would not be what people were asked for any more")
        if incident.changes > CHANGES_MAX:
            text = f"{next_order(incident)} changed {incident.changes} times while people were asked to approve it"
            give_up(turn, incident, Trigger.REFUSE, Why.APPROVAL_CHANGED, text)
            return
    trust = Trust.ACT if incident.run is not None else standing.trust_of(turn, playbook)
    candidate = Candidate(turn.now_ms, turn.fleet, turn.policy, host, incident, playbook, step, trust, params)
    answers = [(gate, gate.ask(candidate)) for gate in turn.policy.gates]
    blockers = [(gate, answer) for gate, answer in answers if answer.verdict is not Verdict.ALLOW]
    if not blockers:
        _say_gates(turn, incident, answers)
        incident.asked_ms, incident.changes = None, 0
        incident.approvals.clear()
        flaps.ends(turn, incident.tried, f"by the limit of {playbook.name}")
        issue(turn, host, incident, playbook, step, params)
        return
    refusal = next((answer for _, answer in blockers if answer.verdict is Verdict.REFUSE), None)
    if incident.run is None and any(answer.why in _ONE_CAUSE for _, answer in blockers):
        # One page for all was sent, or will be: what this playbook may not do is no second one.
        refusal = None
    holds = tuple(f"{gate.name}:{answer.why.value}" for gate, answer in blockers)
    if holds != incident.holds or refusal is not None:
        _say_gates(turn, incident, answers)
    incident.holds = holds
    if refusal is not None:
        give_up(turn, incident, Trigger.REFUSE, refusal.why, refusal.text)
        if refusal.why is Why.FLAPPING:
            flaps.begins(turn, incident, playbook.limits.flapping.quiet_ms)
        return
    holding = [answer for _, answer in blockers if answer.verdict is Verdict.HOLD]
    _hold(turn, candidate, holding)


def ask_anew(turn: Turn, incident: Incident, because: str) -> None:
    """What people approved, or were asked for, is not what would be done now: nobody's yes carries over."""
    if incident.asked_ms is None and not incident.approvals:
        return
    incident.approvals.clear()
    incident.asked_ms, incident.asked_what = None, ""
    incident.changes += 1
    turn.say(incident, Why.APPROVAL_CHANGED, f"{next_order(incident)} needs approval anew: {because}")


def hold_for_storm(turn: Turn, incident: Incident, answer: Answer) -> None:
    """No playbook answers it, and people have the storm: the ticket for this one host can wait for its end."""
    holds = (f"{STORM.name}:{answer.why.value}",)
    if holds != incident.holds:
        turn.say(incident, answer.why, answer.text, STORM.name, answer.verdict)
    incident.holds = holds
    turn.move(incident, Trigger.HOLD)
    brewing = answer.why is Why.STORM_BREWING and answer.recheck_ms is not None
    turn.wake(incident, answer.recheck_ms if brewing else turn.now_ms + RECHECK_MS)


def _hold(turn: Turn, c: Candidate, answers: list[Answer]) -> None:
    incident = c.incident
    whys = {answer.why for answer in answers}
    if _wants_witnesses(incident, whys) and lost.ask_again(turn, incident):
        return
    # People have a time of their own to answer, see the approval gate; what else holds must pass before they are asked.
    whys_apart = whys - {Why.APPROVAL_NEEDED}
    since_ms = incident.phase_since_ms
    if incident.run is not None:
        since_ms = max([incident.opened_ms, *(given.at_ms for given in incident.approvals)])
    elif whys_apart <= _BLIND:
        since_ms = incident.evidence_ms
    may_be_stuck = bool(whys_apart) and (incident.run is not None or whys_apart <= _STUCK)
    if incident.inquiry is not None and Why.APPROVAL_NEEDED in whys and whys_apart <= _OLD_WORDS:
        # What witnesses said grows old while people think; they are asked afresh once people have answered.
        may_be_stuck = False
    if may_be_stuck and turn.now_ms - since_ms >= turn.policy.stuck_ms:
        give_up(turn, incident, Trigger.REFUSE, answers[0].why, f"held for too long: {answers[0].text}")
        return
    if Why.FLEET_BUDGET in whys:
        for place in places(turn.fleet, turn.policy, c.host, incident, c.playbook):
            if place.full:
                turn.fleet.waiting.setdefault(place.group, {})[incident.id] = None
    if Why.OBSERVER_DOUBTED in whys and incident.phase is Phase.OPEN:
        ask_check(turn, incident)
    turn.move(incident, Trigger.HOLD)
    if whys == {Why.APPROVAL_NEEDED} and incident.asked_ms is None:
        _ask_people(turn, c, answers[0].text)
    rechecks = [answer.recheck_ms for answer in answers if answer.recheck_ms is not None]
    if may_be_stuck:
        rechecks.append(since_ms + turn.policy.stuck_ms)
    turn.wake(incident, min([*rechecks, turn.now_ms + RECHECK_MS]))


def _wants_witnesses(incident: Incident, whys: set[Why]) -> bool:
    """Whether a fresh word about a lost host is all that is missing; while people think about it, nobody is asked."""
    old = whys & _OLD_WORDS
    asked = {Why.APPROVAL_NEEDED} if incident.asked_ms is None else set()
    return incident.inquiry is not None and bool(old) and whys <= old | asked


def _ask_people(turn: Turn, c: Candidate, text: str) -> None:
    """Only approval is missing: now it is worth a person's time."""
    incident, wanted, what = c.incident, c.playbook.approval, digest(c.playbook, c.step, c.params)
    incident.asked_ms, incident.asked_what = turn.now_ms, what
    # Who asked for a run cannot be who is asked.
    to = c.playbook.escalate.to if incident.run is None else turn.policy.default_escalate_to
    until_ms = turn.now_ms + wanted.within_ms
    turn.do(ApprovalWanted(incident.id, next_order(incident), to, wanted.people, until_ms, text, what))


def answered(turn: Turn, event: Approve | Deny) -> None:
    """A person approved or denied the next order of an incident. An answer to what is not asked for is nothing."""
    number = event.order.removeprefix("ord-").split("-")[0]
    incident = turn.fleet.incidents.get(f"inc-{number}")
    if incident is None or incident.phase not in WAITING or next_order(incident) != event.order:
        return
    if incident.asked_ms is None:
        return
    if event.what != incident.asked_what and not (isinstance(event, Deny) and not event.what):
        text = f"{event.by} answered for {event.order} as it was before it changed: that does not count"
        turn.say(incident, Why.APPROVAL_CHANGED, text)
        return
    if isinstance(event, Deny):
        turn.say(incident, Why.DENIED, f"{event.by} denied {event.order}: {event.reason}", "approval", Verdict.REFUSE)
        give_up(turn, incident, Trigger.REFUSE, Why.DENIED, f"{event.by} denied {event.order}: {event.reason}")
        return
    given = Approved(event.order, event.by, turn.now_ms, event.what)
    if not any((known.by, known.order, known.what) == (given.by, given.order, given.what) for known in incident.approvals):
        incident.approvals.append(given)
        turn.say(incident, Why.APPROVED, f"{event.by} approved {event.order}")
    reconsider(turn, [incident.id])


def _say_gates(turn: Turn, incident: Incident, answers: list[tuple[Gate, Answer]]) -> None:
    for gate, answer in answers:
        turn.say(incident, answer.why, answer.text, gate.name, answer.verdict)
