"""`fleetmend hosts rm`: a server leaves the fleet for ever."""

from __future__ import annotations

import click

from ...command import Session, command
from ...confirm import confirm, yes_option
from ...wire import pb


def _run(session: Session, host: str, yes: bool) -> None:
    confirm(f"Remove {host}? Its certificate is refused from now on; it can only come back as a new host.", yes=yes)
    session.show(session.call("RemoveHost", pb.RemoveHostRequest(host=host)), _print)


def _print(answer: pb.RemoveHostResponse, _now_ms: int) -> None:
    click.echo(f"removed {answer.name} ({answer.id})")


COMMAND = command(
    "rm",
    "Remove a host: refuse its certificate, end its stream, close its incidents.",
    _run,
    params=[click.Argument(["host"]), yes_option()],
    examples=["fleetmend hosts rm web-3", "fleetmend hosts rm h-0123456789abcdef --yes"],
    json="RemoveHostResponse",
)
