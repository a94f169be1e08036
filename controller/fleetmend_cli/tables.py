"""Tables that several commands print."""

from __future__ import annotations

from collections.abc import Iterable

from .output import Column, labels_text, print_table, word
from .times import relative, short, when
from .wire import pb

_INCIDENT_COLUMNS = (
    Column("INCIDENT"),
    Column("HOST"),
    Column("CHECK", fixed=False),
    Column("PHASE"),
    Column("OPENED", fixed=False),
    Column("WHAT", fixed=False),
)

_APPROVAL_COLUMNS = (
    Column("ORDER"),
    Column("HOST"),
    Column("ACTION", fixed=False),
    Column("WHY", fixed=False),
    Column("APPROVED", fixed=False),
    Column("DIGEST"),
    Column("UNTIL", fixed=False),
)


def print_incidents(incidents: Iterable[pb.Incident], now_ms: int) -> None:
    """Incidents, one a line."""
    rows = [
        (
            incident.id,
            incident.host_name,
            f"{incident.check} {incident.key}".strip(),
            word(pb.IncidentPhase.DESCRIPTOR, incident.phase) + (f", {incident.taken_by} has it" if incident.taken_by else ""),
            when(incident.opened_ms, now_ms),
            f"{incident.summary} [{incident.why}]" if incident.why else incident.summary,
        )
        for incident in incidents
    ]
    print_table(_INCIDENT_COLUMNS, rows)


def print_approvals(approvals: Iterable[pb.ApprovalRequest], now_ms: int) -> None:
    """Orders that wait for people, one a line."""
    rows = [
        (
            wanted.order_id,
            wanted.host_name,
            " ".join([wanted.action, *(f"{name}={value}" for name, value in sorted(wanted.params.items()))]),
            wanted.summary,
            f"{len(wanted.approved_by)} of {wanted.people_needed}" + "".join(f", {by}" for by in wanted.approved_by),
            wanted.digest,
            when(wanted.until_ms, now_ms),
        )
        for wanted in approvals
    ]
    print_table(_APPROVAL_COLUMNS, rows)


def window_hosts(window: pb.MaintenanceWindow) -> str:
    """The hosts of maintenance as they were chosen."""
    return labels_text(window.labels) if window.labels else ", ".join(window.host_names)


def window_times(window: pb.MaintenanceWindow, now_ms: int) -> str:
    """When maintenance is: `until ..` while in force, else when it begins; and how it repeats."""
    if window.HasField("ends_ms"):
        text = f"until {when(window.ends_ms, now_ms)}"
    elif window.HasField("next_ms"):
        text = f"from {when(window.next_ms, now_ms)} for {short(window.length_ms)}"
    else:
        text = f"over {relative(window.start_ms + window.length_ms, now_ms)}"
    return f"{text}, {window.repeat}" if window.repeat else text
