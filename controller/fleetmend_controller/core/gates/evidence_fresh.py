"""Do we know, from a recent sample, that the fault is there now?"""

from __future__ import annotations

from ..effects import Why
from ..inquiry import Inquiry, Judgement
from ..model import Status
from ..orders import POWER_CYCLE
from . import Answer, Candidate, Gate, allow, hold, refuse


def _ask(c: Candidate) -> Answer:
    incident, host = c.incident, c.host
    # An operator who waits at a terminal gets an answer now; a fault can wait for its host.
    not_now = refuse if incident.run is not None else hold
    if not host.boot:
        return not_now(Why.HOST_NEVER_CONNECTED, f"{host.name} has not connected since it was enrolled")
    if incident.inquiry is not None and c.step.here:
        return _witnessed(c, incident.inquiry)
    if host.lost_since_ms is not None:
        return not_now(Why.HOST_LOST, f"{host.name} is lost: nothing is known about it now")
    if incident.run is not None:
        return allow("an operator asked for it")
    if incident.status is Status.UNKNOWN:
        return hold(Why.EVIDENCE_UNKNOWN, f"{incident.subject.check} cannot judge now")
    if incident.status is not Status.CRIT:
        return hold(Why.FAULT_EASED, f"{incident.subject.check} says {incident.status.value}, not crit")
    age_ms = c.now_ms - incident.evidence_ms
    if age_ms > c.policy.evidence_max_age_ms:
        return hold(
            Why.EVIDENCE_STALE,
            f"the newest bad sample is {age_ms / 1000:.0f} s old, limit {c.policy.evidence_max_age_ms / 1000:.0f} s",
        )
    return allow(f"seen {max(0, age_ms) / 1000:.1f} s ago")


def _witnessed(c: Candidate, inquiry: Inquiry) -> Answer:
    """Of a lost host nobody hears anything but what witnesses say."""
    verdict = inquiry.verdict.value if inquiry.verdict is not None else "not judged yet"
    if c.step.action == POWER_CYCLE and inquiry.verdict is not Judgement.DEAD:
        return refuse(Why.HOST_NOT_DEAD, f"{c.host.name} is {verdict}, and only what is dead may be power-cycled")
    age_ms = c.now_ms - c.incident.evidence_ms
    if age_ms > c.policy.evidence_max_age_ms:
        return hold(Why.EVIDENCE_STALE, f"the witnesses' words are {age_ms / 1000:.0f} s old", c.now_ms + 30_000)
    return allow(f"{verdict}, by witnesses' words of {max(0, age_ms) / 1000:.1f} s ago")


GATE = Gate("evidence_fresh", 40, "Do we know, from a recent sample, that the fault is there now?", _ask)
