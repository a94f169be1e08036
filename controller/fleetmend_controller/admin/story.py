"""What the journal holds about one incident: its decisions, each with the event that led to it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..store.tables import journal

# An incident that was decided upon more often is told by its beginning and its end.
HEAD_ROWS_MAX = 500
TAIL_ROWS_MAX = 2500
_IN_CHUNK = 500
MEMBERS_MAX = 200
# Decisions of one event stand side by side: the one that noticed a storm may come after the first that it held.
NEIGHBOURS_MAX = 1000


@dataclass(frozen=True, slots=True)
class StoryRow:
    """One decision: journal row, time, the event behind it, and what followed, as the journal wrote them."""

    seq: int
    at_ms: int
    event: dict[str, Any] = field(hash=False)
    reasons: list[dict[str, Any]] = field(hash=False)
    effects: list[dict[str, Any]] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Story:
    """The decisions about one incident in order. `omitted` rows in the middle were left out."""

    incident: str
    rows: tuple[StoryRow, ...]
    omitted: int = 0


def read_story(connection: Connection, incident: str) -> Story:
    """Read an incident's story; one without rows is of an incident that the journal does not know."""
    mine = sa.select(journal.c.seq, journal.c.at_ms, journal.c.body).where(
        journal.c.incident == incident, journal.c.kind == "decision"
    )
    head = connection.execute(mine.order_by(journal.c.seq).limit(HEAD_ROWS_MAX)).all()
    rows = list(head)
    omitted = 0
    if len(head) == HEAD_ROWS_MAX:
        after = mine.where(journal.c.seq > head[-1].seq)
        rest = connection.execute(sa.select(sa.func.count()).select_from(after.subquery())).scalar_one()
        tail = connection.execute(after.order_by(journal.c.seq.desc()).limit(TAIL_ROWS_MAX)).all()
        rows.extend(reversed(tail))
        omitted = max(0, rest - len(tail))
    bodies = [json.loads(row.body) for row in rows]
    events = _events(connection, sorted({int(body["event_seq"]) for body in bodies}))
    story = (
        StoryRow(row.seq, row.at_ms, events.get(int(body["event_seq"]), {}), body.get("reasons", []), body.get("effects", []))
        for row, body in zip(rows, bodies, strict=True)
    )
    return Story(incident, tuple(story), omitted)


@dataclass(frozen=True, slots=True)
class CohortTold:
    """What the hosts of a storm share and healthy ones lack, as it was written down beside the storm's incident."""

    at_ms: int
    failing: str
    healthy: str
    lines: tuple[str, ...]


def read_cohort(connection: Connection, incident: str) -> CohortTold | None:
    """The newest comparison of a storm's hosts; None if the journal has none."""
    query = sa.select(journal.c.at_ms, journal.c.body).where(journal.c.incident == incident, journal.c.kind == "audit")
    for row in connection.execute(query.order_by(journal.c.seq.desc()).limit(_IN_CHUNK)):
        body = json.loads(row.body)
        if body.get("what") == "cohort":
            detail = body["detail"]
            return CohortTold(row.at_ms, detail["failing"], detail["healthy"], tuple(detail["difference"].splitlines()))
    return None


def read_members(connection: Connection, story: Story) -> tuple[str, ...]:
    """The incidents that a storm's incident held, by the journal: their gate named it. In order of the first time, bounded."""
    if not story.rows:
        return ()
    closes = [row.seq for row in story.rows if any(effect["type"] == "Closed" for effect in row.effects)]
    mine = sa.select(journal.c.incident, sa.func.min(journal.c.seq)).where(
        journal.c.kind == "decision",
        journal.c.seq > story.rows[0].seq - NEIGHBOURS_MAX,
        journal.c.incident != story.incident,
        journal.c.body.like(f'%see {story.incident}"%'),
    )
    if closes:
        mine = mine.where(journal.c.seq <= closes[-1])
    listed = mine.group_by(journal.c.incident).order_by(sa.func.min(journal.c.seq)).limit(MEMBERS_MAX)
    return tuple(str(row[0]) for row in connection.execute(listed))


def _events(connection: Connection, seqs: list[int]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for start in range(0, len(seqs), _IN_CHUNK):
        wanted = sa.select(journal.c.seq, journal.c.body).where(journal.c.seq.in_(seqs[start : start + _IN_CHUNK]))
        found.update((row.seq, json.loads(row.body)) for row in connection.execute(wanted))
    return found
