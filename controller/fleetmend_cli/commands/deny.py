"""`fleetmend deny`: say no to an order that waits for people."""

from __future__ import annotations

import click

from fleetmend.plain import plain_line

from ..asked import digest_option
from ..command import Session, command
from ..wire import pb


def _run(session: Session, order: str, digest: str | None, reason: str | None) -> None:
    if not reason:
        raise click.UsageError("cannot deny without --reason: whoever gets the incident will ask")
    session.show(session.call("Deny", pb.DenyRequest(order_id=order, reason=reason, digest=digest or "")), _print)


def _print(answer: pb.DenyResponse, _now_ms: int) -> None:
    click.echo(plain_line(f"{answer.order_id} is not given; people have {answer.incident_id} now"))


COMMAND = command(
    "deny",
    "Say no to an order that waits for people; its incident goes to them.",
    _run,
    params=[
        click.Argument(["order"]),
        click.Option(["--reason"], help="Why; kept with the incident and in the audit trail."),
        digest_option("whatever the order would do"),
    ],
    examples=['fleetmend deny ord-17-1 --reason "the files are still needed"'],
    json="DenyResponse",
    text="`fleetmend approvals ls` lists the orders that wait.",
)
