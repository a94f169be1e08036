"""`fleetmend resume`: switch healing on again."""

from __future__ import annotations

import click

from fleetmend.plain import plain_line

from ..command import Session, command
from ..times import relative
from ..wire import pb


def _run(session: Session, scope: str) -> None:
    session.show(session.call("Resume", pb.ResumeRequest(scope=scope)), _print)


def _print(answer: pb.ResumeResponse, now_ms: int) -> None:
    pause = answer.pause
    click.echo(plain_line(f"healing goes on for {pause.scope}; it was paused by {pause.by} {relative(pause.since_ms, now_ms)}"))


COMMAND = command(
    "resume",
    "Switch healing on again in a scope.",
    _run,
    params=[click.Argument(["scope"])],
    examples=["fleetmend resume global", "fleetmend resume host:web-3"],
    json="ResumeResponse: the pause that ended",
    text="SCOPE is one that `fleetmend pause` lists.",
)
