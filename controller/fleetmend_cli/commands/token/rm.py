"""`fleetmend token rm`: make a token worthless."""

from __future__ import annotations

import click

from ...command import Session, command
from ...wire import pb


def _run(session: Session, token: str) -> None:
    session.show(session.call("DeleteToken", pb.DeleteTokenRequest(id=token)), _print)


def _print(answer: pb.DeleteTokenResponse, _now_ms: int) -> None:
    click.echo(f"removed token {answer.id}; hosts that joined with it stay")


COMMAND = command(
    "rm",
    "Make a join token worthless.",
    _run,
    params=[click.Argument(["token"])],
    examples=["fleetmend token rm 0123456789ab"],
    json="DeleteTokenResponse",
    text="TOKEN is the id that `fleetmend token ls` shows.",
)
