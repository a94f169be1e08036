"""Must people approve this, and have they? What cannot be undone is asked for, unless the playbook says otherwise plainly."""

from __future__ import annotations

from ..effects import Why
from ..model import ActionStep, Cost, Incident, NeedApproval, Playbook, Trust
from . import Answer, Candidate, Gate, allow, hold, refuse


def next_order(incident: Incident) -> str:
    """The id that the incident's next order would get: what people approve."""
    return f"ord-{incident.id.removeprefix('inc-')}-{len(incident.attempts) + 1}"


def needed(playbook: Playbook, step: ActionStep, trust: Trust) -> bool:
    """Whether people must approve this step."""
    if step.cost is Cost.HARMLESS:
        return False
    if trust is Trust.SUGGEST or playbook.approval.needed_for is NeedApproval.DISRUPTIVE:
        return True
    return step.cost is Cost.DESTRUCTIVE and playbook.approval.needed_for is not NeedApproval.NEVER


def _ask(c: Candidate) -> Answer:
    wanted = c.playbook.approval
    if not needed(c.playbook, c.step, c.trust):
        return allow("no approval is needed")
    order = next_order(c.incident)
    since_ms = c.now_ms - wanted.within_ms
    people = list(dict.fromkeys(a.by for a in c.incident.approvals if a.order == order and a.at_ms > since_ms))
    if len(people) >= wanted.people:
        return allow(f"{order} is approved by {', '.join(people)}")
    asked_ms = c.incident.asked_ms
    if asked_ms is not None and c.now_ms >= asked_ms + wanted.within_ms:
        given = list(dict.fromkeys(a.by for a in c.incident.approvals if a.order == order))
        who = f"only {', '.join(given)}" if given else "nobody"
        return refuse(Why.APPROVAL_EXPIRED, f"{who} approved {order} within {wanted.within_ms // 60_000} min")
    until_ms = (c.now_ms if asked_ms is None else asked_ms) + wanted.within_ms
    return hold(Why.APPROVAL_NEEDED, f"{len(people)} of {wanted.people} people approved {order} ({c.step.action})", until_ms)


GATE = Gate("approval", 140, "Must people approve this, and have they?", _ask, ahead=True)
