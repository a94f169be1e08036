"""`fleetmend incidents ls`: faults, open and past."""

from __future__ import annotations

import click

from ...command import Session, command, fetch_pages, limit_option, note_more
from ...options import since_option
from ...tables import print_incidents
from ...wire import pb

PHASES = ("open", "held", "ordered", "running", "proving", "resolved", "escalated")


def _run(session: Session, everything: bool, host: str | None, since: int | None, phase: str | None, limit: int) -> None:
    request = pb.ListIncidentsRequest(
        filter=pb.INCIDENT_FILTER_ALL if everything else pb.INCIDENT_FILTER_OPEN, host=host or "", since_ms=since or 0
    )
    if phase:
        request.phase = pb.IncidentPhase.Value(f"INCIDENT_PHASE_{phase.upper()}")
    session.show(fetch_pages(session, "ListIncidents", request, "incidents", limit), _print)


def _print(answer: pb.ListIncidentsResponse, now_ms: int) -> None:
    print_incidents(answer.incidents, now_ms)
    note_more(answer)


COMMAND = command(
    "ls",
    "List incidents, newest first.",
    _run,
    params=[
        click.Option(["--all", "everything"], is_flag=True, help="Closed ones too."),
        click.Option(["--host"], help="Only this host, by id or name."),
        since_option("Only those opened since then"),
        click.Option(["--phase"], type=click.Choice(PHASES), help="Only those in this phase."),
        limit_option(100),
    ],
    examples=[
        "fleetmend incidents ls",
        "fleetmend incidents ls --all --since 1d --host web-3",
        "fleetmend incidents ls --phase escalated --output json",
    ],
    json="ListIncidentsResponse",
)
