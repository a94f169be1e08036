"""Tables that several commands print."""

from __future__ import annotations

from collections.abc import Iterable

from .output import Column, print_table, word
from .times import when
from .wire import pb

_INCIDENT_COLUMNS = (
    Column("INCIDENT"),
    Column("HOST"),
    Column("CHECK", fixed=False),
    Column("PHASE"),
    Column("OPENED", fixed=False),
    Column("WHAT", fixed=False),
)


def print_incidents(incidents: Iterable[pb.Incident], now_ms: int) -> None:
    """Incidents, one a line."""
    rows = [
        (
            incident.id,
            incident.host_name,
            f"{incident.check} {incident.key}".strip(),
            word(pb.IncidentPhase.DESCRIPTOR, incident.phase),
            when(incident.opened_ms, now_ms),
            f"{incident.summary} [{incident.why}]" if incident.why else incident.summary,
        )
        for incident in incidents
    ]
    print_table(_INCIDENT_COLUMNS, rows)
