"""The list of incidents, kept beside the journal for those who ask."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from fleetmend_controller.core.model import Status
from fleetmend_controller.decider import ledger
from fleetmend_controller.store.engine import Store, open_engine
from fleetmend_controller.store.tables import incidents
from tests.unit.core.timeline import Timeline, playbook, policy


def row(number: int, phase: str) -> dict[str, object]:
    words = {"host": f"h-{number}", "check": "unit_failed", "key": "a", "phase": phase, "why": "", "summary": "down"}
    return {**words, "playbook": "p", "opened_ms": 1, "changed_ms": 2, "closed_ms": None}


def test_many_rows_are_kept_at_once_new_and_known_ones_together(database: Path, monkeypatch):
    monkeypatch.setattr(ledger, "IDS_MAX", 7)
    store = Store(open_engine(f"sqlite:///{database}"))
    with store.engine.begin() as connection:
        ledger._upsert(connection, {})
        ledger._upsert(connection, {f"inc-{n}": row(n, "open") for n in range(20)})
        ledger._upsert(connection, {f"inc-{n}": row(n, "held") for n in range(15, 30)})
        found = connection.execute(sa.select(incidents.c.id, incidents.c.host, incidents.c.phase)).all()
    store.close()
    assert sorted(found) == sorted((f"inc-{n}", f"h-{n}", "open" if n < 15 else "held") for n in range(30))


def test_a_fault_that_came_and_went_within_one_commit_is_listed_like_any_other(database: Path):
    """As of a host whose agent came back with both in its outbox; once it stood there without a word of what was wrong."""
    timeline = Timeline(policy(playbook(for_ms=60_000)))
    opened_ms = timeline.now_ms
    steps = [timeline.seen(Status.CRIT, sampled_ms=timeline.now_ms - 300)]
    timeline.now_ms += 5
    steps.append(timeline.seen(Status.OK))
    store = Store(open_engine(f"sqlite:///{database}"))
    with store.engine.begin() as connection:
        ledger.project(connection, timeline.fleet, steps, timeline.now_ms)
        found = connection.execute(sa.select(incidents)).mappings().one()
    store.close()
    assert (found["summary"], found["phase"], found["opened_ms"]) == ("nginx.service is crit", "resolved", opened_ms)
    assert found["closed_ms"] == timeline.now_ms
