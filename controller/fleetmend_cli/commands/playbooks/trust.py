"""`fleetmend playbooks trust`: lift a playbook's demotion."""

from __future__ import annotations

import click

from fleetmend.plain import plain_line

from ...command import Session, command
from ...output import word
from ...wire import pb


def _run(session: Session, name: str, *, restore: bool) -> None:
    if not restore:
        raise click.UsageError(
            "cannot change trust from here: it stands in the playbook's file; --restore lifts a demotion, and "
            f"`fleetmend playbooks show {name}` shows its record"
        )
    session.show(session.call("RestoreTrust", pb.RestoreTrustRequest(name=name)), _print)


def _print(answer: pb.RestoreTrustResponse, _now_ms: int) -> None:
    trust = word(pb.PlaybookTrust.DESCRIPTOR, answer.playbook.effective_trust)
    click.echo(plain_line(f"{answer.playbook.name} has the trust {trust} again; its record begins anew"))


COMMAND = command(
    "trust",
    "Lift a playbook's demotion.",
    _run,
    params=[click.Argument(["name"]), click.Option(["--restore"], is_flag=True, help="Back to the trust in its file.")],
    examples=["fleetmend playbooks trust restart-failed-unit --restore"],
    json="RestoreTrustResponse",
    text="A playbook whose repairs are not proved three times in a row is demoted by one step, and says so.",
)
