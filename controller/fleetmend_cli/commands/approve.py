"""`fleetmend approve`: say yes to an order that waits for people."""

from __future__ import annotations

import click

from fleetmend.plain import plain_line

from ..command import Session, command
from ..wire import pb


def _run(session: Session, order: str) -> None:
    session.show(session.call("Approve", pb.ApproveRequest(order_id=order)), _print)


def _print(answer: pb.ApproveResponse, _now_ms: int) -> None:
    wanted = answer.approval
    params = " ".join(f"{name}={value}" for name, value in sorted(wanted.params.items()))
    click.echo(plain_line(f"you approved {wanted.order_id}: {wanted.action} {params}".rstrip() + f" on {wanted.host_name}"))
    click.echo(plain_line(answer.text))


COMMAND = command(
    "approve",
    "Approve an order that waits for people.",
    _run,
    params=[click.Argument(["order"])],
    examples=["fleetmend approve ord-17-1", "fleetmend approve ord-17-1 --output json | jq .ordered"],
    json="ApproveResponse",
    text="`fleetmend approvals ls` lists the orders that wait. Every other gate must still allow the order when it is given.",
)
