"""From an open incident to its end: match, gates, order, outcome, proof, next try or a person."""

from __future__ import annotations

from . import alone, draining, lost, permits, proof, standing, storms
from .effects import Verdict, Why
from .ending import end, freed, give_up, reconsider
from .events import EvidenceConfirmed, Observed, OrderEnded
from .gates import storm as storm_gate
from .gates.observer import many_lost
from .incidents import WAITING, playbook_of, release, release_host, sample_time_ms
from .matching import match
from .model import (
    ActionStep,
    Attempt,
    Cost,
    Host,
    Incident,
    Outcome,
    Phase,
    Playbook,
    Status,
    WaitStep,
)
from .orders import DRAIN, POWER_CYCLE, REBOOT, UNDRAIN, ask_check, record_end, record_late_end, resend
from .permission import RECHECK_MS, ask_anew, hold_for_storm, try_step
from .transitions import Trigger
from .turn import Turn

# How often one turn looks at the same incident.
LOOKS_MAX = 3
# A fault that the agent calls gone is looked at again after this time at the latest.
GONE_RECHECK_MS = 5_000
# Later than any boot lasts.
NOT_IN_THIS_BOOT_MS = 2**53

_OUTCOME_WHY = {
    Outcome.DONE: Why.ACTION_DONE,
    Outcome.FAILED: Why.ACTION_FAILED,
    Outcome.REFUSED: Why.ACTION_REFUSED,
    Outcome.EXPIRED: Why.ACTION_EXPIRED,
    Outcome.UNKNOWN: Why.ACTION_UNKNOWN,
}
_REFUSAL_WHY = {"fault_gone": Why.FAULT_GONE, "executor_unreachable": Why.EXECUTOR_UNREACHABLE, "expired": Why.ACTION_EXPIRED}


def consider(turn: Turn, incident: Incident) -> None:
    """Decide what to do about a waiting incident now."""
    host = turn.fleet.hosts[incident.subject.host]
    if not lost.is_judged(turn, incident):
        return
    if incident.run is None and incident.status is Status.OK:
        end(turn, incident, Trigger.RECOVERED, Why.WENT_AWAY, f"{incident.subject.check} says ok again")
        return
    playbook = _playbook(turn, incident, host)
    many = incident.inquiry is not None and many_lost(turn.fleet, turn.policy)
    fresh = incident.phase is Phase.OPEN or (incident.inquiry is not None and not incident.noted)
    # Where most seem lost people have one page for that, whatever witnesses say of each.
    if incident.run is None and fresh and not many:
        limit = playbook.limits.storm if playbook is not None else None
        storms.note(turn, incident, limit or turn.policy.storm)
    if playbook is None:
        _unanswered(turn, incident, many)
        return
    step = _due_step(turn, incident, playbook)
    if step is not None:
        try_step(turn, host, incident, playbook, step)


def _unanswered(turn: Turn, incident: Incident, many_are_lost: bool) -> None:
    storm = storm_gate.judge(turn.fleet, incident, turn.policy.storm, turn.now_ms)
    if storm.why is Why.STORM or (storm.verdict is Verdict.HOLD and not many_are_lost):
        hold_for_storm(turn, incident, storm)
        return
    if incident.inquiry is not None:
        lost.tell(turn, incident)
        return
    give_up(turn, incident, Trigger.REFUSE, Why.NO_PLAYBOOK, f"no playbook answers {incident.subject.check} here")


def settle(turn: Turn) -> None:
    """Look at everything that may go on now. Each incident a few times a turn at most, so this ends."""
    looks: dict[str, int] = {}
    while turn.later:
        incident_id = next(iter(turn.later))
        del turn.later[incident_id]
        incident = turn.fleet.incidents.get(incident_id)
        if incident is None or looks.get(incident_id, 0) >= LOOKS_MAX or incident.phase not in WAITING:
            continue
        looks[incident_id] = looks.get(incident_id, 0) + 1
        consider(turn, incident)


def incident_of_order(turn: Turn, host: str, order: str) -> Incident | None:
    """The open incident on this host that an order id belongs to, or that a permit was used on."""
    if permits.is_permit(order):
        known = turn.fleet.hosts[host].permits.used.get(order)
        return None if known is None else turn.fleet.incidents.get(known.incident)
    number = order.removeprefix("ord-").split("-")[0]
    incident = turn.fleet.incidents.get(f"inc-{number}")
    return incident if incident is not None and incident.subject.host == host else None


def order_ended(turn: Turn, incident: Incident, event: OrderEnded) -> None:
    """What an outcome leads to."""
    if incident.order is None or incident.order.id != event.order or incident.phase not in (Phase.ORDERED, Phase.RUNNING):
        if permits.is_permit(event.order):
            alone.ended_beside(turn, incident, event)
        else:
            record_late_end(turn, incident, event)
        return
    why = _REFUSAL_WHY.get(event.refusal, _OUTCOME_WHY[event.outcome])
    record_end(turn, incident, event)
    turn.say(incident, why, f"{event.order} {event.refusal or event.outcome.value}{': ' if event.detail else ''}{event.detail}")
    if incident.run is not None:
        ran = Why.RAN if event.outcome is Outcome.DONE else why
        end(turn, incident, Trigger.RECOVERED, ran, f"{incident.summary}: {event.outcome.value}")
    elif incident.order.action in (DRAIN, UNDRAIN):
        _drain_step(turn, incident, incident.order.action, event)
    elif event.outcome in (Outcome.DONE, Outcome.UNKNOWN):
        _acted(turn, incident, event.boot, event.ended_clock_ms)
    elif incident.order.cost is Cost.HARMLESS or event.outcome is Outcome.FAILED:
        _next_try(turn, incident, why, f"{event.order} did not work")
    elif why is Why.FAULT_GONE:
        _fault_gone(turn, incident)
    elif incident.order.permit:
        # The host would not do it alone; whether it obeys an order the gates decide, by the rules as they are now.
        incident.policy = ""
        _back_to_gates(turn, incident, Trigger.RETRY)
    elif event.outcome is Outcome.EXPIRED or why is Why.EXECUTOR_UNREACHABLE:
        _back_to_gates(turn, incident, Trigger.RETRY)
    else:
        give_up(turn, incident, Trigger.GIVEN_UP, why, f"the host refused {event.order}: {event.detail}")


def _drain_step(turn: Turn, incident: Incident, action: str, event: OrderEnded) -> None:
    if event.outcome is Outcome.DONE:
        draining.done_by_step(turn, incident, action)
        _next_step(turn, incident, Trigger.NEXT, Why.STEPS_EXHAUSTED, f"the last step, {action}, is done and proves nothing")
        return
    if action == DRAIN:
        # It may be drained all the same; it is given back when the incident ends.
        draining.done_by_step(turn, incident, action)
    text = f"cannot {action} the host: {event.detail}; the repair stops here"
    give_up(turn, incident, Trigger.GIVEN_UP, Why.DRAIN_FAILED, text)
    ask_check(turn, incident)


def storm_tick(turn: Turn, incident: Incident) -> None:
    """Whether a storm is over; then who waited for its end may go on, each by fresh evidence."""
    fault = incident.subject.key
    outbreak = turn.fleet.outbreaks[fault]
    # If nobody has compared its hosts so far, people must not wait for that.
    storms.tell(turn, incident, outbreak)
    text = storms.ending(turn, fault, outbreak)
    if not text:
        turn.wake(incident, storms.look_again_ms(turn, outbreak))
        return
    del turn.fleet.outbreaks[fault]
    turn.permits_differ(turn.fleet.hosts.values())
    end(turn, incident, Trigger.RECOVERED, Why.STORM_OVER, text)
    reconsider(turn, [i.id for i in turn.fleet.incidents.values() if i.fault == fault and i.phase in WAITING])


def order_overdue(turn: Turn, incident: Incident) -> None:
    """No word although the order must have ended: whether it had an effect is unknown."""
    order = incident.order
    if order is None:
        return
    if order.drain:
        # It was never sent.
        draining.failed(turn, turn.fleet.hosts[order.host], incident, order, "its drain hook has not answered")
        return
    order_lost(turn, incident, f"no word about {order.id} although it must have ended")


def order_lost(turn: Turn, incident: Incident, text: str) -> None:
    """The end of an order cannot be learned; only the check can tell whether it helped."""
    host = turn.fleet.hosts[incident.subject.host]
    order = incident.order
    if order is None:
        return
    rebooted = host.boot != order.boot
    clock_ms = 0 if rebooted else turn.now_ms + host.clock_offset_ms
    # Another boot is what these actions are for: it tells their end better than any word that was lost on the way.
    outcome = Outcome.DONE if rebooted and order.action in (REBOOT, POWER_CYCLE) else Outcome.UNKNOWN
    if order.drain:
        # It waits for its host to be drained, and was never sent.
        outcome = Outcome.EXPIRED
    event = OrderEnded(turn.now_ms, host.id, order.id, outcome, "", text, host.boot, clock_ms, clock_ms)
    order_ended(turn, incident, event)


def host_back(turn: Turn, incident: Incident, host: Host, rebooted: bool) -> None:
    """A lost host is heard again. With another boot after a power cycle, that is the proof."""
    cycled = incident.order is not None and incident.order.action == POWER_CYCLE and rebooted
    if cycled and incident.phase in (Phase.ORDERED, Phase.RUNNING):
        order_lost(turn, incident, f"{host.name} is up with another boot")
    if not cycled or incident.phase is not Phase.PROVING:
        _end_of_what_is_out(turn, incident, host)
        end(turn, incident, Trigger.RECOVERED, Why.HOST_BACK, f"{host.name} is back")
        return
    if incident.book is not None:
        standing.proved(turn, incident, incident.book)
    end(turn, incident, Trigger.PROVED, Why.HEALED, f"{POWER_CYCLE} healed it: {host.name} is back with another boot")


def _end_of_what_is_out(turn: Turn, incident: Incident, host: Host) -> None:
    """It is not waited for: what has not begun will not, and a board that was asked already cannot be called back."""
    order = incident.order
    if order is None or incident.phase not in (Phase.ORDERED, Phase.RUNNING):
        return
    begun = incident.phase is Phase.RUNNING
    text = f"{host.name} came back {'while it was under way' if begun else 'before it began'}"
    outcome, clock_ms = Outcome.UNKNOWN if begun else Outcome.REFUSED, turn.now_ms + host.clock_offset_ms
    record_end(turn, incident, OrderEnded(turn.now_ms, host.id, order.id, outcome, "", text, host.boot, clock_ms, clock_ms))


def host_rebooted(turn: Turn, incident: Incident, host: Host) -> None:
    """A host has another boot while an order of this incident is out or being proved."""
    order = incident.order
    if order is None:
        return
    if order.action == REBOOT:
        turn.say(incident, Why.HOST_REBOOTED, f"{host.name} is up with another boot; now its check must say ok")
    if incident.phase is Phase.PROVING:
        ask_check(turn, incident)
    elif order.here:
        # The controller does it, whatever the host does meanwhile.
        resend(turn, incident)
    else:
        order_lost(turn, incident, f"{host.name} rebooted while {order.id} was out")


def proof_observed(turn: Turn, incident: Incident, event: Observed) -> None:
    """A result of the incident's own check while it is being proved."""
    step = _current_action(incident)
    if step is not None:
        answer = proof.judge(turn, incident, step, event)
        _proof_answered(turn, incident, answer, proof.spoiler(incident) or event.summary, sample_time_ms(event))


def symptom_observed(turn: Turn, incident: Incident, event: Observed) -> None:
    """Another check of the same target says that it is sick, while the incident is being proved."""
    step = _current_action(incident)
    if step is not None:
        answer = proof.spoiled(turn, incident, step, event)
        _proof_answered(turn, incident, answer, f"{event.check} says {event.status.value}")


def proof_confirmed(turn: Turn, incident: Incident, event: EvidenceConfirmed) -> None:
    """A heartbeat names the subject of an incident that is being proved."""
    step = _current_action(incident)
    if step is not None:
        _proof_answered(turn, incident, proof.confirmed(incident, step, event), incident.summary)


def proof_tick(turn: Turn, incident: Incident) -> None:
    """Time passed while an incident is being proved."""
    step = _current_action(incident)
    if step is None:
        _next_try(turn, incident, Why.PROOF_TIMEOUT, "the step has no proof")
        return
    _proof_answered(turn, incident, proof.tick(turn, incident, step), "")


def _playbook(turn: Turn, incident: Incident, host: Host) -> Playbook | None:
    if incident.run is None and (incident.book is None or incident.policy != turn.policy.digest):
        incident.policy = turn.policy.digest
        matched = match(turn, host, incident)
        if matched != incident.book:
            # Another playbook, or the same with other steps: its first step is the only place to begin.
            ask_anew(turn, incident, "the playbook changed")
            incident.book, incident.step, incident.wait_until_ms = matched, 0, None
    return playbook_of(incident)


def _due_step(turn: Turn, incident: Incident, playbook: Playbook) -> ActionStep | None:
    """The action whose turn it is; None while a wait step runs, or when nothing is left."""
    while incident.step < len(playbook.steps):
        step = playbook.steps[incident.step]
        if isinstance(step, ActionStep):
            return step
        if not _waited(turn, incident, step):
            return None
        incident.step, incident.wait_until_ms = incident.step + 1, None
    give_up(turn, incident, Trigger.REFUSE, Why.STEPS_EXHAUSTED, f"{playbook.name} has no further step")
    return None


def _waited(turn: Turn, incident: Incident, step: WaitStep) -> bool:
    if incident.wait_until_ms is None:
        incident.wait_until_ms = turn.now_ms + step.wait_ms
        turn.say(incident, Why.WAIT_STEP, f"waits {step.wait_ms / 1000:g} s before the next step", "", Verdict.HOLD)
    if turn.now_ms >= incident.wait_until_ms:
        return True
    turn.move(incident, Trigger.HOLD)
    turn.wake(incident, incident.wait_until_ms)
    return False


def _acted(turn: Turn, incident: Incident, boot: str, ended_clock_ms: int) -> None:
    step = _current_action(incident)
    if step is None or step.prove is None:
        _next_step(turn, incident, Trigger.NEXT, Why.STEPS_EXHAUSTED, "the last step is done and proves nothing")
        return
    turn.move(incident, Trigger.ENDED)
    release_host(turn, incident)
    if incident.order is not None and incident.order.action == REBOOT and boot == incident.order.boot:
        # What the old boot still says proves nothing: the reboot comes after the order's end.
        ended_clock_ms = NOT_IN_THIS_BOOT_MS
    proof.begin(turn, incident, step.prove, boot, ended_clock_ms)
    host = turn.fleet.hosts[incident.subject.host]
    if incident.order is not None and incident.order.permit and boot == host.boot:
        incident.ended_ms = min(turn.now_ms, ended_clock_ms - host.clock_offset_ms)
    freed(turn, incident.subject.host, ())


def _proof_answered(
    turn: Turn, incident: Incident, answer: proof.ProofAnswer, text: str, sampled_ms: int | None = None
) -> None:
    if answer is proof.ProofAnswer.PROVED:
        _recovered(turn, incident, sampled_ms)
    elif answer is proof.ProofAnswer.BROKEN:
        _next_try(turn, incident, Why.PROOF_BROKEN, f"it was ok for a moment, then not: {text}")
    elif answer is proof.ProofAnswer.TIMEOUT:
        _next_try(turn, incident, Why.PROOF_TIMEOUT, f"not proved: {text}")
    elif answer is proof.ProofAnswer.BLIND:
        give_up(turn, incident, Trigger.GIVEN_UP, Why.PROOF_TIMEOUT, "not proved: nobody could say whether it helped")
        ask_check(turn, incident)


def _recovered(turn: Turn, incident: Incident, sampled_ms: int | None) -> None:
    """The check is ok and stays so. Whether that is our doing is known only of an action that is known to have run."""
    order = incident.order
    by_permit = order is not None and order.permit
    # A permit's use may have other orders after it that never ran.
    attempt = next((a for a in incident.attempts if order is not None and a.order == order.id), incident.attempts[-1])
    if attempt.outcome is Outcome.DONE:
        if incident.book is not None:
            # What a host healed alone was over when it was well, not when it could tell.
            standing.proved(turn, incident, incident.book, sampled_ms if by_permit else None)
        _healed(turn, incident, attempt, sampled_ms, alone=by_permit)
    elif attempt.outcome in (Outcome.EXPIRED, Outcome.REFUSED):
        text = f"{incident.subject.check} says ok again by itself: {attempt.order} never ran"
        end(turn, incident, Trigger.PROVED, Why.WENT_AWAY, text)
    else:
        text = (
            f"{incident.subject.check} says ok again, but nobody knows whether {attempt.order} ran: it is not counted as healed"
        )
        end(turn, incident, Trigger.PROVED, Why.RECOVERED_UNSURE, text)


def _healed(turn: Turn, incident: Incident, attempt: Attempt, sampled_ms: int | None, *, alone: bool) -> None:
    if alone:
        name = turn.fleet.hosts[incident.subject.host].name
        incident.ok_ms = sampled_ms
        text = f"{name} healed it alone by {attempt.action}: the check was ok after it and stayed ok"
        end(turn, incident, Trigger.PROVED, Why.HEALED_ALONE, text)
        return
    end(turn, incident, Trigger.PROVED, Why.HEALED, f"{attempt.action} healed it: the check was ok after it and stayed ok")


def _next_try(turn: Turn, incident: Incident, why: Why, text: str) -> None:
    turn.say(incident, why, text)
    if why in (Why.PROOF_BROKEN, Why.PROOF_TIMEOUT) and incident.book is not None:
        standing.failed(turn, incident, incident.book)
    _next_step(turn, incident, Trigger.RETRY, Why.STEPS_EXHAUSTED, f"every step of the playbook was tried; the last: {text}")


def _next_step(turn: Turn, incident: Incident, trigger: Trigger, why: Why, text: str) -> None:
    playbook = playbook_of(incident)
    incident.step += 1
    if playbook is None or incident.step >= len(playbook.steps):
        give_up(turn, incident, Trigger.GIVEN_UP, why, text)
        return
    _back_to_gates(turn, incident, trigger)


def _back_to_gates(turn: Turn, incident: Incident, trigger: Trigger) -> None:
    groups = incident.groups
    release(turn, incident)
    turn.move(incident, trigger)
    turn.wake(incident, turn.now_ms + RECHECK_MS)
    reconsider(turn, [incident.id])
    freed(turn, incident.subject.host, groups)


def _fault_gone(turn: Turn, incident: Incident) -> None:
    """The agent found the subject well when the order came. Its own result will say so; until then nothing is known."""
    healed = incident.alone
    if healed is not None and healed.ended_clock_ms is not None:
        # It was healed by permit while the order was on its way: that is what has to be proved.
        release_host(turn, incident)
        incident.order = healed.order
        _acted(turn, incident, healed.boot, healed.ended_clock_ms)
        return
    if incident.status is not Status.OK:
        incident.status = Status.UNKNOWN
        ask_check(turn, incident)
    _back_to_gates(turn, incident, Trigger.RETRY)
    turn.wake(incident, turn.now_ms + GONE_RECHECK_MS)


def _current_action(incident: Incident) -> ActionStep | None:
    playbook = playbook_of(incident)
    if playbook is None or incident.step >= len(playbook.steps):
        return None
    step = playbook.steps[incident.step]
    return step if isinstance(step, ActionStep) else None
