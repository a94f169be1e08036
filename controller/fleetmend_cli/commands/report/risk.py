"""`fleetmend report risk`: what is healed again and again."""

from __future__ import annotations

import click

from ...command import Session, command
from ...output import Column, print_table
from ...times import HOUR_MS, short, when
from ...wire import pb

_COLUMNS = (
    Column("HOST"),
    Column("WHAT", fixed=False),
    Column("HEALED", right=True),
    Column("HOURS HIDDEN", right=True),
    Column("TRIES LEFT", right=True),
    Column("OWNER", fixed=False),
    Column("LAST", fixed=False),
)


def _run(session: Session) -> None:
    session.show(session.call("GetRiskReport", pb.GetRiskReportRequest()), _print)


def _print(answer: pb.GetRiskReportResponse, now_ms: int) -> None:
    if not answer.entries:
        click.echo(f"nothing was healed twice within {short(answer.window_ms)}")
        return
    rows = [
        (
            entry.host_name,
            entry.target,
            str(entry.heals),
            f"{entry.hidden_ms / HOUR_MS:.2f}",
            str(entry.tries_left) if entry.HasField("tries_left") else "-",
            entry.owner or "-",
            when(entry.last_ms, now_ms),
        )
        for entry in answer.entries
    ]
    print_table(_COLUMNS, rows)


COMMAND = command(
    "risk",
    "List what is healed again and again: debt that healing hides.",
    _run,
    examples=["fleetmend report risk", "fleetmend report risk --output json | jq .entries[0]"],
    json="GetRiskReportResponse",
    text="The more often something is healed, the fewer tries it gets; its owner is told at 10, 30 and 100 repairs in 7 days.",
)
