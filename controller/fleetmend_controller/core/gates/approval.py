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
        return allow("no approval is needed")
    order, what = next_order(c.incident), digest(c.playbook, c.step, c.params)
    given = [a for a in c.incident.approvals if a.order == order and a.what == what]
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
    return hold(Why.APPROVAL_NEEDED, f"{len(people)} of {wanted.people} people approved {order} ({c.step.action})", until_ms)


GATE = Gate("approval", 140, "Must people approve this, and have they?", _ask)
