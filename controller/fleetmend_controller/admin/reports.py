"""What healing hides and what it spares: reports over many repairs."""

from __future__ import annotations

import sqlalchemy as sa

from fleetmend.v1 import admin_pb2 as pb

from ..core.effects import PROVED
from ..core.model import Heal, Playbook, Subject
from ..core.standing import DEBT_WINDOW_MS, debt, tries_left
from ..store.tables import incidents
from .desk import Desk

_PROVED = tuple(why.value for why in PROVED)
ENTRIES_MAX = 500
# Healed once is luck; twice within the window begins to be debt.
HEALS_MIN = 2


def risk(desk: Desk) -> pb.GetRiskReportResponse:
    """Subjects that were healed again and again, the worst first."""
    fleet, now_ms = desk.decider.fleet, desk.now_ms()
    recent = ((target, debt(fleet, target, now_ms)) for target in fleet.heals)
    entries = [_risk(desk, target, heals) for target, heals in recent if len(heals) >= HEALS_MIN]
    entries.sort(key=lambda entry: (-entry.heals, -entry.hidden_ms, entry.host_name, entry.target))
    return pb.GetRiskReportResponse(entries=entries[:ENTRIES_MAX], window_ms=DEBT_WINDOW_MS)


async def toil(desk: Desk, since_ms: int) -> pb.GetToilReportResponse:
    """Proved repairs and the time that people did not spend on them, by playbook."""
    healed = sa.select(incidents.c.playbook, sa.func.count()).where(
        incidents.c.why.in_([why.value for why in PROVED]),
        incidents.c.closed_ms.is_not(None),
        incidents.c.closed_ms >= since_ms,
    )
    rows = await desk.store.read(lambda connection: connection.execute(healed.group_by(incidents.c.playbook)).all())
    entries = [_toil(_playbook(desk, str(row[0])), str(row[0]), int(row[1])) for row in rows]
    entries.sort(key=lambda entry: (-entry.minutes, -entry.heals, entry.playbook))
    return pb.GetToilReportResponse(
        entries=entries, minutes=sum(entry.minutes for entry in entries), heals=sum(entry.heals for entry in entries)
    )


def target_text(target: Subject) -> str:
    """What was repaired, as people name it: a unit, or a check and its key."""
    return f"{target.check} {target.key}".strip()


def _risk(desk: Desk, target: Subject, heals: list[Heal]) -> pb.RiskEntry:
    host = desk.decider.fleet.hosts.get(target.host)
    playbook = _playbook(desk, heals[-1].playbook)
    return pb.RiskEntry(
        host_id=target.host,
        host_name=host.name if host is not None else target.host,
        target=target_text(target),
        heals=len(heals),
        hidden_ms=sum(heal.hidden_ms for heal in heals),
        last_ms=heals[-1].at_ms,
        playbook=heals[-1].playbook,
        owner=playbook.owner if playbook is not None else "",
        tries_left=None if playbook is None else _tries_left(desk, target, playbook, len(heals)),
    )


def _tries_left(desk: Desk, target: Subject, playbook: Playbook, heals: int) -> int:
    limit = playbook.limits.attempts
    since_ms = desk.now_ms() - limit.window_ms
    used = sum(1 for at_ms in desk.decider.fleet.attempts_at.get(target, ()) if at_ms > since_ms)
    return max(0, tries_left(limit.max, heals) - used)


def _toil(playbook: Playbook | None, name: str, heals: int) -> pb.ToilEntry:
    each = playbook.toil_minutes if playbook is not None else 0
    owner = playbook.owner if playbook is not None else ""
    return pb.ToilEntry(playbook=name, owner=owner, heals=heals, minutes_each=each, minutes=heals * each)


def _playbook(desk: Desk, name: str) -> Playbook | None:
    return next((playbook for playbook in desk.decider.rules.policy.playbooks if playbook.name == name), None)
