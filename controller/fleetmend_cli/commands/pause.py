"""`fleetmend pause`: switch healing off for a while, or list where it is off."""

from __future__ import annotations

import click

from fleetmend.plain import plain_line

from ..command import Session, command
from ..options import until_option
from ..output import Column, print_table
from ..times import when
from ..wire import pb

_COLUMNS = (
    Column("SCOPE"),
    Column("BY"),
    Column("SINCE", fixed=False),
    Column("UNTIL", fixed=False),
    Column("REASON", fixed=False),
)


def _run(session: Session, scope: str | None, reason: str | None, for_ms: int | None) -> None:
    if scope is None:
        if reason is not None or for_ms is not None:
            raise click.UsageError("cannot pause without a scope: global, host:NAME, group:LABEL=VALUE or playbook:NAME")
        session.show(session.call("ListPauses", pb.ListPausesRequest()), _print_list)
        return
    if not reason:
        raise click.UsageError("cannot pause without --reason: people will ask")
    session.show(session.call("Pause", pb.PauseRequest(scope=scope, reason=reason, for_ms=for_ms)), _print)


def _print(answer: pb.PauseResponse, now_ms: int) -> None:
    pause = answer.pause
    until = f"until {when(pause.until_ms, now_ms)}" if pause.HasField("until_ms") else "until somebody resumes it"
    click.echo(plain_line(f"healing is paused for {pause.scope} {until}; faults are still seen"))


def _print_list(answer: pb.ListPausesResponse, now_ms: int) -> None:
    rows = [
        (p.scope, p.by, when(p.since_ms, now_ms), when(p.until_ms if p.HasField("until_ms") else None, now_ms), p.reason)
        for p in answer.pauses
    ]
    print_table(_COLUMNS, rows)


COMMAND = command(
    "pause",
    "Switch healing off in a scope; without a scope, list the pauses.",
    _run,
    params=[
        click.Argument(["scope"], required=False),
        click.Option(["--reason"], help="Why; kept with the pause and in the audit trail."),
        until_option("When it ends by itself"),
    ],
    examples=[
        'fleetmend pause global --reason "storage migration" --until 2h',
        'fleetmend pause host:web-3 --reason "debugging by hand"',
        'fleetmend pause group:role=db --reason "failover test" --until 18:30',
        "fleetmend pause",
    ],
    json="PauseResponse; without a scope ListPausesResponse",
    text="SCOPE is global, host:HOST, group:LABEL=VALUE or playbook:NAME. Faults are still seen and recorded.",
)
