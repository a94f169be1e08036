"""What people are asked to approve: an answer is for what was shown, so it is looked up before it is given."""

from __future__ import annotations

import click

from fleetmend.plain import plain_line

from .command import Session
from .output import word
from .wire import pb


def digest_option(otherwise: str) -> click.Option:
    """--digest."""
    return click.Option(
        ["--digest"], metavar="DIGEST", help=f"What you saw, as `approvals ls` names it; left away: {otherwise}."
    )


def look_up(session: Session, order: str) -> pb.ApprovalRequest | None:
    """The order as it is asked for at this moment; None if nobody asks for it, and then the controller says why."""
    listed = session.call("ListApprovals", pb.ListApprovalsRequest()).approvals
    return next((wanted for wanted in listed if wanted.order_id == order), None)


def told(wanted: pb.ApprovalRequest) -> str:
    """One line: what would be done, where, at what cost, and who wants it."""
    params = " ".join(f"{name}={value}" for name, value in sorted(wanted.params.items()))
    cost = word(pb.ActionCost.DESCRIPTOR, wanted.cost)
    return plain_line(f"{f'{wanted.action} {params}'.rstrip()} on {wanted.host_name} ({cost}, by {wanted.playbook})")
