"""`fleetmend incidents watch`: every change as it happens."""

from __future__ import annotations

import click

from fleetmend.plain import plain_line

from ...clock import now_ms
from ...command import Session, command
from ...output import plain, word
from ...times import clock_time
from ...wire import pb


def _run(session: Session, host: str | None, count: int | None) -> None:
    seen = 0
    request = pb.WatchIncidentsRequest(host=host or "", include_open=True)
    try:
        for change in session.stream("WatchIncidents", request):
            _print(session, change)
            seen += not change.listed
            if count is not None and seen >= count:
                return
    except KeyboardInterrupt:
        # Leaving is how a watch ends.
        return


def _print(session: Session, change: pb.WatchIncidentsResponse) -> None:
    if session.output != "table":
        session.show_value(plain(change), lines=True)
        return
    incident = change.incident
    phase = word(pb.IncidentPhase.DESCRIPTOR, incident.phase)
    at_ms = incident.opened_ms if change.listed else now_ms()
    what = f"{incident.check} {incident.key}".strip()
    line = f"{clock_time(at_ms)}  {incident.id:<9} {phase:<9} {incident.host_name}  {what}: {incident.summary} [{incident.why}]"
    click.echo(plain_line(line))


COMMAND = command(
    "watch",
    "Print open incidents, then every change as it happens, until interrupted.",
    _run,
    params=[
        click.Option(["--host"], help="Only this host, by id or name."),
        click.Option(["--count"], type=click.IntRange(1), metavar="N", help="End after this many changes."),
    ],
    examples=["fleetmend incidents watch", "fleetmend incidents watch --host web-3 --output json | jq -c .incident.phase"],
    json="WatchIncidentsResponse, one document a line; with --output yaml one document after another",
)
