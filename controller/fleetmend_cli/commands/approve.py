"""`fleetmend approve`: say yes to an order that waits for people."""

from __future__ import annotations

import sys

import click

from fleetmend.plain import plain_line

from ..asked import digest_option, look_up, told
from ..command import Session, command
from ..confirm import confirm, yes_option
from ..wire import pb


def _run(session: Session, order: str, digest: str | None, yes: bool) -> None:
    if digest is None:
        wanted = look_up(session, order)
        if wanted is not None and sys.stdin.isatty():
            confirm(f"Approve {order}: {told(wanted)}?", yes=yes)
        digest = wanted.digest if wanted is not None else ""
    session.show(session.call("Approve", pb.ApproveRequest(order_id=order, digest=digest)), _print)


def _print(answer: pb.ApproveResponse, _now_ms: int) -> None:
    click.echo(plain_line(f"you approved {answer.approval.order_id}: {told(answer.approval)}"))
    click.echo(plain_line(answer.text))


COMMAND = command(
    "approve",
    "Approve an order that waits for people.",
    _run,
    params=[click.Argument(["order"]), digest_option("what the order would do now"), yes_option()],
    examples=[
        "fleetmend approve ord-17-1",
        "fleetmend approve ord-17-1 --digest 5e9d81c0aa0b41f2",
        "fleetmend approve ord-17-1 --output json | jq .ordered",
    ],
    json="ApproveResponse",
    text="`fleetmend approvals ls` lists the orders that wait. A terminal shows what would be done and asks once more. What"
    " changed since it was shown is refused; every other gate must still allow the order when it is given.",
)
