"""`fleetmend maintenance ls`: announced maintenance."""

from __future__ import annotations

from ...command import Session, command
from ...output import Column, print_table
from ...tables import window_hosts, window_times
from ...wire import pb

_COLUMNS = (
    Column("WINDOW"),
    Column("ON", fixed=False),
    Column("HOSTS", right=True),
    Column("WHEN", fixed=False),
    Column("BY", fixed=False),
    Column("REASON", fixed=False),
)


def _run(session: Session) -> None:
    session.show(session.call("ListMaintenance", pb.ListMaintenanceRequest()), _print)


def _print(answer: pb.ListMaintenanceResponse, now_ms: int) -> None:
    rows = [(w.id, window_hosts(w), str(w.hosts_covered), window_times(w, now_ms), w.by, w.reason) for w in answer.windows]
    print_table(_COLUMNS, rows)


COMMAND = command(
    "ls",
    "List announced maintenance: what is in force first, then what comes next.",
    _run,
    examples=["fleetmend maintenance ls", "fleetmend maintenance ls --output yaml"],
    json="ListMaintenanceResponse",
)
