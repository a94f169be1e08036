"""Proof: the same check, a result sampled after the action ended, OK and staying OK. UNKNOWN proves nothing.

From one failure to another is no recovery: while another check of the target says CRIT after the action, nothing is proved. It
has as long as the check itself to come up after the action; what fails after that breaks the proof.

Nor does silence: a window ends with a result that is not OK. While the host cannot be heard (its link is down, the controller
has just started) nobody knows whether the action helped, and doing it again could harm a service that is well.
"""

from __future__ import annotations

from enum import Enum, unique

from .effects import RequestCheck, Why
from .events import EvidenceConfirmed, Observed
from .model import ALERT_TYPE, ActionStep, Incident, Proof, Status, Symptom
from .orders import POWER_CYCLE, REBOOT, ask_check
from .turn import Turn

# A fresh result that was asked for and did not come is asked for again.
ASK_AGAIN_MS = 1_000
# A proof that may take long (an alert resolves minutes later) is not asked for each second all the while.
ASK_AGAIN_MS_MAX = 30_000


@unique
class ProofAnswer(Enum):
    """What a result or the passing of time says about a repair."""

    OPEN = "open"
    PROVED = "proved"
    BROKEN = "broken"
    TIMEOUT = "timeout"
    BLIND = "blind"


def begin(turn: Turn, incident: Incident, proof: Proof, boot: str, ended_clock_ms: int) -> None:
    """From now on only samples taken after `ended_clock_ms` of this boot, or in a later boot, count."""
    incident.ended_ms = turn.now_ms
    incident.ended_boot = boot
    incident.ended_clock_ms = ended_clock_ms
    incident.ok_clock_ms = None
    incident.ok_ms = None
    incident.was_ok = False
    incident.prove_by_ms = turn.now_ms + proof.within_ms
    ask_check(turn, incident)
    for symptom in incident.symptoms:
        turn.do(RequestCheck(symptom))
    turn.wake(incident, turn.now_ms + min(ASK_AGAIN_MS, proof.within_ms))


def judge(turn: Turn, incident: Incident, step: ActionStep, event: Observed) -> ProofAnswer:
    """What one result of the incident's own check says."""
    if not _counts(incident, event) or step.prove is None:
        return ProofAnswer.OPEN
    if event.status is Status.OK:
        return _good(turn, incident, step.prove, event)
    if event.status is Status.CRIT and (incident.ok_clock_ms is not None or incident.was_ok):
        return ProofAnswer.BROKEN
    return ProofAnswer.TIMEOUT if _is_late(incident, step.prove, event.sampled_clock_ms) else ProofAnswer.OPEN


def spoiled(turn: Turn, incident: Incident, step: ActionStep, event: Observed) -> ProofAnswer:
    """What a bad result of another check of the same target says."""
    if step.prove is None or event.check_type == ALERT_TYPE or not _counts(incident, event):
        return ProofAnswer.OPEN
    if event.sampled_clock_ms >= incident.ended_clock_ms + step.prove.within_ms:
        return ProofAnswer.BROKEN
    # What dies again is seen by several checks, in any order: that this one was first does not make the other's word less.
    incident.was_ok = incident.was_ok or incident.ok_clock_ms is not None
    incident.ok_clock_ms = None
    incident.ok_ms = None
    turn.wake(incident, turn.now_ms + ASK_AGAIN_MS)
    return ProofAnswer.OPEN


def spoiler(incident: Incident) -> str:
    """Which other check of the target is bad since the action, in words; empty if none is."""
    bad = next((symptom for symptom in incident.symptoms.values() if _is_after(incident, symptom)), None)
    return f"{bad.subject.check} still fails: {bad.summary}" if bad is not None else ""


def confirmed(incident: Incident, step: ActionStep, event: EvidenceConfirmed) -> ProofAnswer:
    """What a heartbeat says that names the subject as still not OK."""
    if step.prove is None or event.boot != incident.ended_boot:
        return ProofAnswer.OPEN
    return ProofAnswer.TIMEOUT if _is_late(incident, step.prove, event.sampled_clock_ms) else ProofAnswer.OPEN


def tick(turn: Turn, incident: Incident, step: ActionStep) -> ProofAnswer:
    """What the passing of time says: ask again, or nobody has answered for too long."""
    if step.prove is None or incident.prove_by_ms is None or incident.ended_ms is None:
        return ProofAnswer.OPEN
    if turn.now_ms >= incident.prove_by_ms + step.prove.stay_ok_ms + turn.policy.stuck_ms:
        return ProofAnswer.BLIND
    if turn.now_ms >= incident.prove_by_ms and _is_missing(turn, incident):
        return ProofAnswer.TIMEOUT
    due_ms = turn.now_ms if incident.ok_ms is None else incident.ok_ms + step.prove.stay_ok_ms
    if turn.now_ms >= due_ms:
        ask_check(turn, incident)
        for symptom in incident.symptoms:
            turn.do(RequestCheck(symptom))
    since_ms = turn.now_ms - incident.ended_ms
    again_ms = ASK_AGAIN_MS if since_ms < 60_000 else min(ASK_AGAIN_MS_MAX, since_ms // 10)
    turn.wake(incident, max(due_ms, turn.now_ms + again_ms))
    return ProofAnswer.OPEN


def _is_missing(turn: Turn, incident: Incident) -> bool:
    """Whether a host that was to come back with another boot did not: here silence is the answer."""
    order = incident.order
    if order is None or order.action not in (REBOOT, POWER_CYCLE):
        return False
    return turn.fleet.hosts[incident.subject.host].boot == order.boot


def _is_late(incident: Incident, proof: Proof, sampled_clock_ms: int) -> bool:
    """Whether a bad sample ends the window. Both on the host's clock: how long the word was on its way does not matter."""
    if incident.ok_clock_ms is not None:
        return sampled_clock_ms >= incident.ok_clock_ms + proof.stay_ok_ms + proof.within_ms
    return sampled_clock_ms >= incident.ended_clock_ms + proof.within_ms


def _counts(incident: Incident, event: Observed) -> bool:
    """Whether a result was sampled after the action ended. A later boot is after; then the first OK is asked for anew."""
    if event.boot == incident.ended_boot:
        return event.sampled_clock_ms > incident.ended_clock_ms
    incident.ended_boot = event.boot
    incident.ended_clock_ms = -1
    incident.ok_clock_ms = None
    incident.ok_ms = None
    incident.was_ok = False
    return True


def _is_after(incident: Incident, symptom: Symptom) -> bool:
    """Whether a symptom was seen bad after the action ended; one from before may be gone by now.

    That an alert fires is said again without a fresh look, and its end is said minutes late.
    """
    if symptom.check_type == ALERT_TYPE:
        return False
    return symptom.boot == incident.ended_boot and symptom.sampled_clock_ms > incident.ended_clock_ms


def _good(turn: Turn, incident: Incident, proof: Proof, event: Observed) -> ProofAnswer:
    if spoiler(incident):
        late = event.sampled_clock_ms >= incident.ended_clock_ms + proof.within_ms
        return ProofAnswer.TIMEOUT if late else ProofAnswer.OPEN
    if incident.ok_clock_ms is None:
        incident.ok_clock_ms = event.sampled_clock_ms
        incident.ok_ms = turn.now_ms
        turn.say(
            incident,
            Why.PROOF_FIRST_OK,
            f"{event.check} says ok after the action; it must stay so for {proof.stay_ok_ms / 1000:g} s",
        )
        turn.wake(incident, turn.now_ms + proof.stay_ok_ms)
    if event.sampled_clock_ms >= incident.ok_clock_ms + proof.stay_ok_ms:
        return ProofAnswer.PROVED
    return ProofAnswer.OPEN
