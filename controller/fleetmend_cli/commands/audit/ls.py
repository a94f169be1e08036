"""`fleetmend audit ls`: who did what."""

from __future__ import annotations

import click

from ...command import Session, command, fetch_pages, limit_option, note_more
from ...options import since_option
from ...output import Column, print_table
from ...times import when
from ...wire import pb

_COLUMNS = (
    Column("ROW", right=True),
    Column("AT", fixed=False),
    Column("WHAT"),
    Column("WHO", fixed=False),
    Column("HOST"),
    Column("DETAIL", fixed=False),
)


def _run(session: Session, since: int | None, host: str | None, what: str | None, limit: int) -> None:
    request = pb.ListAuditRequest(since_ms=since or 0, host=host or "", what=what or "")
    session.show(fetch_pages(session, "ListAudit", request, "entries", limit), _print)


def _print(answer: pb.ListAuditResponse, now_ms: int) -> None:
    rows = [
        (
            str(e.seq),
            when(e.at_ms, now_ms),
            e.what,
            e.who,
            e.host_id or "-",
            ", ".join(f"{k}={v}" for k, v in sorted(e.detail.items()) if v),
        )
        for e in answer.entries
    ]
    print_table(_COLUMNS, rows)
    note_more(answer)


COMMAND = command(
    "ls",
    "List what operators did and what was refused, newest first.",
    _run,
    params=[
        since_option("Only entries since then"),
        click.Option(["--host"], help="Only about this host, by id or name."),
        click.Option(["--what"], metavar="WORD", help="Only this kind of entry, such as paused."),
        limit_option(100),
    ],
    examples=["fleetmend audit ls --since 1d", "fleetmend audit ls --what paused --output json"],
    json="ListAuditResponse",
)
