"""`fleetmend report toil`: what healing spared people."""

from __future__ import annotations

import click

from ...command import Session, command
from ...options import since_option
from ...output import Column, print_table
from ...times import MINUTE_MS, short
from ...wire import pb

_COLUMNS = (
    Column("PLAYBOOK", fixed=False),
    Column("OWNER", fixed=False),
    Column("HEALED", right=True),
    Column("MINUTES EACH", right=True),
    Column("SPARED", right=True),
)


def _run(session: Session, since: int | None) -> None:
    session.show(session.call("GetToilReport", pb.GetToilReportRequest(since_ms=since or 0)), _print)


def _print(answer: pb.GetToilReportResponse, _now_ms: int) -> None:
    rows = [
        (e.playbook, e.owner or "-", str(e.heals), str(e.minutes_each) if e.minutes_each else "-", _spared(e.minutes))
        for e in answer.entries
    ]
    print_table(_COLUMNS, rows)
    click.echo(f"{answer.heals} repairs spared people {_spared(answer.minutes)}")


def _spared(minutes: int) -> str:
    return short(minutes * MINUTE_MS) if minutes else "-"


COMMAND = command(
    "toil",
    "List what healing spared people, by playbook.",
    _run,
    params=[since_option("Only repairs since")],
    examples=["fleetmend report toil", "fleetmend report toil --since 30d --output json | jq .minutes"],
    json="GetToilReportResponse",
    text="Counted are proved repairs only; what one would have cost a person is toil_minutes in the playbook's file.",
)
