"""`fleetmend approvals ls`: orders that wait for people."""

from __future__ import annotations

from ...command import Session, command
from ...tables import print_approvals
from ...wire import pb


def _run(session: Session) -> None:
    session.show(session.call("ListApprovals", pb.ListApprovalsRequest()), _print)


def _print(answer: pb.ListApprovalsResponse, now_ms: int) -> None:
    print_approvals(answer.approvals, now_ms)


COMMAND = command(
    "ls",
    "List the orders that wait for people's approval, and until when.",
    _run,
    examples=["fleetmend approvals ls", "fleetmend approvals ls --output json | jq -r .approvals[].order_id"],
    json="ListApprovalsResponse",
    text="An order that nobody approves in time is not given; its incident goes to people.",
)
