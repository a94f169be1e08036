"""A person's own request: one action on one host, through the same gates and budgets as a playbook's."""

from __future__ import annotations

from .events import RunRequested
from .incidents import open_run
from .model import (
    ActionStep,
    Approval,
    Attempts,
    Cost,
    EscalateTo,
    FleetBudget,
    Limits,
    NeedApproval,
    Playbook,
    Rate,
    Trust,
)
from .repair import consider
from .turn import Turn

# Beside the limits of every playbook, which bind people, too (see gates/fleet_budget, gates/minimum_healthy).
OPERATOR_LIMITS = Limits(Rate(60, 3_600_000), FleetBudget("role", 10, 20), Attempts(60, 3_600_000, 0, 1))


def requested(turn: Turn, event: RunRequested) -> None:
    """Open the incident that carries the request."""
    host = turn.fleet.hosts.get(event.host)
    if host is None:
        return
    step = ActionStep(event.action, event.params, Cost(event.cost), None, event.timeout_ms)
    playbook = Playbook(
        name="operator",
        summary=f"{event.action} for {event.by}",
        owner=event.by,
        trust=Trust.ACT,
        check="operator_run",
        where="",
        for_ms=0,
        steps=(step,),
        limits=OPERATOR_LIMITS,
        escalate=EscalateTo(event.by, "ticket"),
        toil_minutes=0,
        approval=_approval(turn, event),
    )
    consider(turn, open_run(turn, host, playbook, event.request, event.by))


def _approval(turn: Turn, event: RunRequested) -> Approval:
    """Who else must want what cannot be undone: as many people, of the role, that the strictest playbook asks for this action.

    Who asks is one of them already.
    """
    if event.approve_myself:
        return Approval(NeedApproval.NEVER)
    books = [p for p in turn.policy.playbooks if any(isinstance(s, ActionStep) and s.action == event.action for s in p.steps)]
    people = max((book.approval.people - 1 for book in books), default=1)
    role = "admin" if any(book.approval.role == "admin" for book in books) else "responder"
    return Approval(people=max(1, people), role=role)
