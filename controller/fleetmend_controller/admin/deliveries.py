"""Who was told of an incident, over which channel, and who was not yet: the end of its story."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..handover import rows
from ..store.tables import notifications
from .explain import Line

LINES_MAX = 40
_WORDS = {
    rows.SENT: "told",
    rows.PENDING: "not told yet",
    rows.FAILED: "never told",
    rows.FOLDED: "told by the page of {part_of}",
    rows.OVER: "was told by the page of {part_of}",
    rows.DROPPED: "had not been told, so needs no end",
}


def read_deliveries(connection: Connection, incident: str) -> list[Line]:
    """One line a message, in the order in which they were written."""
    wanted = sa.select(notifications).where(notifications.c.incident == incident).order_by(notifications.c.number)
    return [_line(row) for row in connection.execute(wanted.limit(LINES_MAX))]


def _line(row: sa.Row[tuple[object, ...]]) -> Line:
    kind = str(row.kind).partition(":")[0]
    who = f"channel {row.channel}" if row.channel else "people"
    text = f"{who}: {kind}: {_WORDS.get(row.state, row.state).format(part_of=row.part_of)}"
    tries = f", {row.tries} tries" if row.tries > 1 else ""
    reminders = f", reminded {row.reminded} times" if row.reminded else ""
    why = f": {row.error}" if row.error and row.state in (rows.PENDING, rows.FAILED) else ""
    at_ms = row.done_ms if row.state == rows.SENT and row.done_ms is not None else row.at_ms
    return Line(at_ms, f"{text}{tries}{reminders}{why}", why="notification")
