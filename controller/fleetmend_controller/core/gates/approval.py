"""Must people approve this, and have they? What cannot be undone is asked for, unless the playbook says otherwise plainly.

An approval is for what was shown: the digest of playbook, action, parameters and cost. A yes to anything else does not count.
"""

from __future__ import annotations

import hashlib

from ..effects import Why
from ..model import ActionStep, Cost, Incident, NeedApproval, Params, Playbook, Trust
from . import Answer, Candidate, Gate, allow, hold, refuse

DIGEST_CHARS = 16


def next_order(incident: Incident) -> str:
    """The id that the incident's next order would get: what people approve."""
    return f"ord-{incident.id.removeprefix('inc-')}-{len(incident.attempts) + 1}"


def digest(playbook: Playbook, step: ActionStep, params: Params) -> str:
    """Names by content what an order would do."""
    content = repr((playbook.name, step.action, params, step.cost.value))
    return hashlib.sha256(content.encode()).hexdigest()[:DIGEST_CHARS]


def person(by: str) -> str:
    """Who it is, in whatever role: `ann (admin)` and `ann (responder)` are one person."""
    return by.partition(" (")[0]


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
        return allow(_free(c))
    order, what = next_order(c.incident), digest(c.playbook, c.step, c.params)
    # A person's own request is one person's word already; it takes another's.
    asks = person(c.playbook.owner) if c.incident.run is not None else ""
    given = [a for a in c.incident.approvals if a.order == order and a.what == what and person(a.by) != asks]
    since_ms = c.now_ms - wanted.within_ms
    people = list(dict.fromkeys(person(a.by) for a in given if a.at_ms > since_ms))
    if len(people) >= wanted.people:
        return allow(f"{order} is approved by {', '.join(people)}")
    asked_ms = c.incident.asked_ms
    if asked_ms is not None and c.now_ms >= asked_ms + wanted.within_ms:
        some = list(dict.fromkeys(person(a.by) for a in given))
        who = f"only {', '.join(some)}" if some else "nobody"
        return refuse(Why.APPROVAL_EXPIRED, f"{who} approved {order} within {wanted.within_ms // 60_000} min")
    until_ms = (c.now_ms if asked_ms is None else asked_ms) + wanted.within_ms
    others = f" other than {asks}" if asks else ""
    text = f"{len(people)} of {wanted.people} people{others} approved {order} ({c.step.action})"
    return hold(Why.APPROVAL_NEEDED, text, until_ms)


def _free(c: Candidate) -> str:
    if c.incident.run is not None and c.step.cost is Cost.DESTRUCTIVE:
        return f"{c.playbook.owner} asked for it and approves it alone, in so many words"
    return "no approval is needed"


GATE = Gate("approval", 140, "Must people approve this, and have they?", _ask, ahead=True)
