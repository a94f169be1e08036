"""`fleetmend maintenance rm`: end or withdraw maintenance."""

from __future__ import annotations

import click

from fleetmend.plain import plain_line

from ...command import Session, command
from ...tables import window_hosts
from ...wire import pb


def _run(session: Session, window: str) -> None:
    session.show(session.call("RemoveMaintenance", pb.RemoveMaintenanceRequest(id=window)), _print)


def _print(answer: pb.RemoveMaintenanceResponse, _now_ms: int) -> None:
    click.echo(plain_line(f"removed {answer.window.id}: healing goes on for {window_hosts(answer.window)}"))


COMMAND = command(
    "rm",
    "End or withdraw maintenance.",
    _run,
    params=[click.Argument(["window"])],
    examples=["fleetmend maintenance rm mnt-0123abcd"],
    json="RemoveMaintenanceResponse",
    text="WINDOW is the id that `fleetmend maintenance ls` shows. What failed meanwhile and still fails is handled at once.",
)
