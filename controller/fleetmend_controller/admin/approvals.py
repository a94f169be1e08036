"""Orders that wait for people: who is asked, who approved, and their yes or no."""

from __future__ import annotations

import re

import sqlalchemy as sa

from fleetmend.v1 import admin_pb2 as pb

from ..core.events import Approve, Deny
from ..core.gates.approval import digest, needed, next_order, person
from ..core.incidents import WAITING, playbook_of
from ..core.matching import substitute
from ..core.model import ActionStep, Incident, Params, Phase, Playbook, Trust
from ..core.standing import effective_trust
from ..pki.names import Caller, Kind, parse_role
from ..store.tables import incidents
from .case import pairs
from .convert import cost_of, role_of
from .desk import Desk
from .errors import AdminError, invalid, not_found, not_now

REASON_CHARS_MAX = 500
LISTED_MAX = 1000
_ORDER = re.compile(r"ord-([1-9]\d{0,17})-([1-9]\d{0,8})")
_LS = "`fleetmend approvals ls` lists the orders that wait"


def waiting(desk: Desk) -> list[pb.ApprovalRequest]:
    """Orders that people are asked for and may still approve, the one whose time ends first first."""
    now_ms = desk.now_ms()
    asked = (incident for incident in desk.decider.fleet.incidents.values() if incident.asked_ms is not None)
    found = [_request_of(desk, i, playbook, step) for i in asked if (wanted := _wanted(desk, i)) for playbook, step in [wanted]]
    alive = sorted((r for r in found if r.until_ms > now_ms), key=lambda r: (r.until_ms, r.order_id))
    return alive[:LISTED_MAX]


async def approve(desk: Desk, request: pb.ApproveRequest, who: Caller) -> pb.ApproveResponse:
    """One person's yes. The order is given as soon as enough people said it and no other gate holds."""
    order = request.order_id
    incident, playbook, step = await _asked_for(desk, "approve", order, request.digest, who)
    if not request.digest:
        raise invalid(f"cannot approve {order} unseen: give the digest of what you saw; {_LS}")
    if incident.run is not None and person(str(who)) == person(playbook.owner):
        raise not_now(f"cannot approve {order}: you asked for it, and it takes another person's word")
    given = _people(incident, order, desk.now_ms() - playbook.approval.within_ms)
    if person(str(who)) in [person(by) for by in given]:
        raise not_now(f"cannot approve {order} twice: {who} approved it already; {_still(playbook, given)}")
    detail = {"order": order, "action": step.action, "digest": request.digest}
    await desk.decider.audit("approved", str(who), incident.subject.host, detail)
    await desk.decider.submit([Approve(desk.now_ms(), order, str(who), request.digest)])
    if not _counted(incident, order, str(who)):
        raise not_now(f"cannot approve {order}: it changed at this moment; see `fleetmend explain {incident.id}`")
    return _approved(desk, incident, playbook, step, order, (*given, str(who)))


async def deny(desk: Desk, request: pb.DenyRequest, who: Caller) -> pb.DenyResponse:
    """One person's no: the incident goes to people."""
    reason = request.reason.strip()
    if not reason:
        raise invalid("cannot deny without a reason; say why with --reason, whoever gets the incident will ask")
    if len(reason) > REASON_CHARS_MAX:
        raise invalid(f"cannot deny: the reason has {len(reason)} characters, at most {REASON_CHARS_MAX}")
    order = request.order_id
    incident, _, step = await _asked_for(desk, "deny", order, request.digest, who)
    detail = {"order": order, "action": step.action, "reason": reason}
    await desk.decider.audit("denied", str(who), incident.subject.host, detail)
    await desk.decider.submit([Deny(desk.now_ms(), order, str(who), reason, request.digest)])
    if incident.phase in WAITING and next_order(incident) == order:
        raise not_now(
            f"cannot deny {order}: it was not asked for any more at this moment; see `fleetmend explain {incident.id}`"
        )
    return pb.DenyResponse(order_id=order, incident_id=incident.id)


async def _asked_for(desk: Desk, verb: str, order: str, seen: str, who: Caller) -> tuple[Incident, Playbook, ActionStep]:
    """The incident, playbook and step of an order that people are asked for now; else an error that says why they are not."""
    numbers = _ORDER.fullmatch(order)
    if numbers is None:
        raise invalid(f"cannot {verb} {order[:64]!r}: an order is named ord-<number>-<number>; {_LS}")
    incident_id = f"inc-{numbers[1]}"
    incident = desk.decider.fleet.incidents.get(incident_id)
    if incident is None:
        raise await _not_open(desk, verb, order, incident_id)
    if order in [attempt.order for attempt in incident.attempts]:
        raise not_now(f"cannot {verb} {order}: it was given already; see `fleetmend explain {incident_id}`")
    if incident.phase is Phase.ESCALATED:
        raise not_now(f"cannot {verb} {order}: {await _why_over(desk, incident)}; see `fleetmend explain {incident_id}`")
    wanted = _wanted(desk, incident)
    if wanted is None or next_order(incident) != order or incident.asked_ms is None:
        held = f"; {', '.join(incident.holds)} hold it" if incident.holds and next_order(incident) == order else ""
        raise not_now(f"cannot {verb} {order}: nobody asks for it{held}; {_LS}")
    playbook, step = wanted
    if seen and seen != digest(playbook, step, _params(incident, step)):
        raise not_now(f"cannot {verb} {order}: it changed since you saw it; look again with `fleetmend approvals ls`")
    over_ms = desk.now_ms() - incident.asked_ms - playbook.approval.within_ms
    if over_ms >= 0:
        raise not_now(f"cannot {verb} {order}: its time was over {over_ms // 1000} s ago; people have {incident_id} now")
    role = parse_role(playbook.approval.role)
    if who.kind is Kind.OPERATOR and role is not None and (who.role is None or who.role < role):
        raise not_now(f"cannot {verb} {order}: {playbook.name} asks for the role {role.word}, and you are {who}")
    return incident, playbook, step


async def _not_open(desk: Desk, verb: str, order: str, incident_id: str) -> AdminError:
    query = sa.select(incidents.c.why).where(incidents.c.id == incident_id)
    why = await desk.store.read(lambda connection: connection.execute(query).scalar())
    if why is None:
        return not_found(f"cannot {verb} {order}: the journal knows no {incident_id}; {_LS}")
    return not_now(f"cannot {verb} {order}: {incident_id} is over ({why}); see `fleetmend explain {incident_id}`")


async def _why_over(desk: Desk, incident: Incident) -> str:
    query = sa.select(incidents.c.why).where(incidents.c.id == incident.id)
    why = await desk.store.read(lambda connection: connection.execute(query).scalar())
    words = {"approval_expired": "its time is over", "denied": "somebody denied it"}
    # The store may be a moment behind the fleet.
    text = words.get(str(why), "its time is over" if _is_late(desk, incident) else "nobody asks for it")
    return f"{text}, and people have {incident.id} now"


def _is_late(desk: Desk, incident: Incident) -> bool:
    playbook = playbook_of(incident)
    if playbook is None or incident.asked_ms is None:
        return False
    return desk.now_ms() >= incident.asked_ms + playbook.approval.within_ms


def _wanted(desk: Desk, incident: Incident) -> tuple[Playbook, ActionStep] | None:
    """The step of a waiting incident that needs people's approval."""
    playbook = playbook_of(incident)
    if playbook is None or incident.phase not in WAITING or incident.step >= len(playbook.steps):
        return None
    step = playbook.steps[incident.step]
    trust = Trust.ACT if incident.run is not None else effective_trust(desk.decider.fleet, playbook)
    if not isinstance(step, ActionStep) or not needed(playbook, step, trust):
        return None
    return playbook, step


def _request_of(desk: Desk, incident: Incident, playbook: Playbook, step: ActionStep) -> pb.ApprovalRequest:
    order = next_order(incident)
    params = _params(incident, step)
    wanted = playbook.approval
    host = desk.decider.fleet.hosts.get(incident.subject.host)
    asked_ms = incident.asked_ms or 0
    return pb.ApprovalRequest(
        order_id=order,
        incident_id=incident.id,
        host_id=incident.subject.host,
        host_name=host.name if host is not None else incident.subject.host,
        summary=incident.summary,
        action=step.action,
        params=pairs(params),
        cost=cost_of(step.cost.value),
        playbook=playbook.name,
        asked=playbook.escalate.to if incident.run is None else desk.decider.rules.policy.default_escalate_to,
        asked_ms=asked_ms,
        until_ms=asked_ms + wanted.within_ms,
        people_needed=wanted.people,
        approved_by=_people(incident, order, desk.now_ms() - wanted.within_ms),
        role=role_of(wanted.role),
        digest=digest(playbook, step, params),
    )


def _params(incident: Incident, step: ActionStep) -> Params:
    """What the order would get; nothing where the finding lacks a value, and then it is not asked for either."""
    params = substitute(step, incident)
    return () if isinstance(params, str) else params


def _counted(incident: Incident, order: str, by: str) -> bool:
    """Whether the core took a yes; an order that is out, or an incident that ended meanwhile, has no list of them any more."""
    asked = incident.phase in WAITING and next_order(incident) == order
    return not asked or any(given.by == by and given.order == order for given in incident.approvals)


def _approved(
    desk: Desk, incident: Incident, playbook: Playbook, step: ActionStep, order: str, people: tuple[str, ...]
) -> pb.ApproveResponse:
    ordered = order in [attempt.order for attempt in incident.attempts]
    request = _request_of(desk, incident, playbook, step)
    request.order_id, request.approved_by[:] = order, people
    if ordered:
        text = f"{order} is given to {request.host_name}"
    elif incident.phase not in WAITING:
        text = f"{order} is not needed any more; see `fleetmend explain {incident.id}`"
    elif len(people) < playbook.approval.people:
        text = _still(playbook, people)
    else:
        text = f"it is approved, and given as soon as no other gate holds it: {', '.join(incident.holds) or 'none does now'}"
    return pb.ApproveResponse(approval=request, ordered=ordered, text=text)


def _people(incident: Incident, order: str, since_ms: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(given.by for given in incident.approvals if given.order == order and given.at_ms > since_ms))


def _still(playbook: Playbook, people: tuple[str, ...]) -> str:
    missing = playbook.approval.people - len(people)
    return (
        f"{missing} more {'person' if missing == 1 else 'people'} must approve it"
        if missing > 0
        else "enough people approved it"
    )
