"""The outbox of messages to people: rows that are written with the journal rows they follow from, or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..notify import Kind, Message
from ..store import codec
from ..store.tables import notifications

# FOLDED: people are told of its storm instead. OVER: the folded incident ended. DROPPED: nobody was told what it follows upon.
PENDING, SENT, FAILED, FOLDED, OVER, DROPPED = "pending", "sent", "failed", "folded", "over", "dropped"
LOOKED_AT_MAX = 500
# Kinds that tell of something that lasts: what ends it is told to whoever was told of it.
LASTING = (Kind.ESCALATED, Kind.APPROVAL)
ERROR_CHARS_MAX = 500

t = notifications.c


@dataclass(frozen=True, slots=True)
class Row:
    """One message for one channel."""

    number: int
    incident: str
    channel: str
    state: str
    at_ms: int
    next_ms: int | None
    tries: int
    reminded: int
    message: Message = field(hash=False)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a channel has to do: a row now, or nothing before `wake_ms` (None: nothing at all)."""

    row: Row | None = None
    wake_ms: int | None = None
    drop: tuple[int, ...] = ()


def insert(
    connection: Connection, kind: str, channel: str, message: Message, next_ms: int, *, fault: str = "", part_of: str = ""
) -> bool:
    """Add a row unless it is there. With `part_of` it is not sent: people are told of that incident."""
    same = (t.incident == message.incident, t.kind == kind, t.channel == channel)
    if connection.execute(sa.select(t.number).where(*same)).first() is not None:
        return False
    values = {
        "incident": message.incident,
        "kind": kind,
        "channel": channel,
        "at_ms": message.at_ms,
        "next_ms": None if part_of else next_ms,
        "state": FOLDED if part_of else PENDING,
        "tries": 0,
        "reminded": 0,
        "error": "",
        "fault": fault,
        "part_of": part_of,
        "body": codec.dumps(codec.encode(message)),
    }
    connection.execute(notifications.insert().values(**values))
    return True


def fold(connection: Connection, fault: str, part_of: str) -> int:
    """What waits about this fault and was never tried is told by the storm's page; how many."""
    waiting = (t.state == PENDING, t.fault == fault, t.tries == 0, t.kind == Kind.ESCALATED.value)
    done = connection.execute(notifications.update().where(*waiting).values(state=FOLDED, part_of=part_of, next_ms=None))
    return int(done.rowcount)


def told_of(connection: Connection, incidents: Sequence[str]) -> list[Row]:
    """The rows of these incidents that told, or will tell, of something that lasts; folded ones too."""
    wanted = sa.select(notifications).where(t.incident.in_(incidents), t.state.in_((PENDING, SENT, FOLDED))).order_by(t.number)
    return [row for row in map(_row, connection.execute(wanted)) if row.message.kind in LASTING]


def over(connection: Connection, incidents: Sequence[str]) -> None:
    """These ended: nothing of them is repeated, and what was folded is done."""
    mine = t.incident.in_(incidents)
    connection.execute(notifications.update().where(mine, t.state == FOLDED).values(state=OVER))
    connection.execute(notifications.update().where(mine, t.state == SENT).values(next_ms=None, remind_ms=None))


def calm(connection: Connection, incident: str) -> None:
    """Somebody took it: nobody is reminded any more."""
    connection.execute(notifications.update().where(t.incident == incident).values(remind_ms=None, taken=1))


def choose(connection: Connection, channel: str, now_ms: int) -> Choice:
    """What this channel sends next: in the order of the rows within one incident, and no end before the beginning was taken."""
    mine = t.channel == channel
    pending = sa.select(notifications).where(mine, t.state == PENDING).order_by(t.number).limit(LOOKED_AT_MAX)
    waits: set[str] = set()
    drop: list[int] = []
    wake: list[int] = []
    for row in map(_row, connection.execute(pending)):
        if row.incident in waits:
            continue
        waits.add(row.incident)
        if row.message.kind in (Kind.RESOLVED, Kind.ACKNOWLEDGED):
            if not _was_told(connection, row):
                drop.append(row.number)
                continue
            if row.message.kind is Kind.RESOLVED and _stands_for_others(connection, row.incident):
                continue
        if row.next_ms is None or row.next_ms <= now_ms:
            return Choice(row, drop=tuple(drop))
        wake.append(row.next_ms)
    again = _again(connection, channel, now_ms)
    if again.row is not None:
        return Choice(again.row, drop=tuple(drop))
    wake += [again.wake_ms] if again.wake_ms is not None else []
    return Choice(None, min(wake, default=None), tuple(drop))


def claim(connection: Connection, number: int) -> None:
    """Before it is sent: from now on it is not folded, and whoever looks sees that it was tried."""
    connection.execute(notifications.update().where(t.number == number).values(tries=t.tries + 1))


def sent(connection: Connection, row: Row, now_ms: int, again_ms: int | None, remind_ms: int | None, note: str) -> None:
    """It was taken. Repeated at `again_ms` and `remind_ms` unless the incident is over or in somebody's hands by now."""
    ended = sa.select(t.number).where(t.incident == row.incident, t.kind == Kind.RESOLVED.value).limit(1)
    taken = sa.select(t.number).where(t.incident == row.incident, t.taken == 1).limit(1)
    lasts = row.message.kind is Kind.ESCALATED and connection.execute(ended).first() is None
    remind = lasts and connection.execute(taken).first() is None
    values: dict[str, Any] = {
        "state": SENT,
        "error": note[:ERROR_CHARS_MAX],
        "next_ms": again_ms if lasts else None,
        "remind_ms": remind_ms if remind else None,
        "reminded": max(row.reminded, row.message.reminder),
    }
    first = t.done_ms.is_(None)
    connection.execute(notifications.update().where(t.number == row.number).values(**values))
    connection.execute(notifications.update().where(t.number == row.number, first).values(done_ms=now_ms))


def put_off(connection: Connection, row: Row, next_ms: int, error: str) -> None:
    """Not taken now: at this time again. Of a row that was taken before it is the repetition that is put off."""
    values: dict[str, Any] = {"error": error[:ERROR_CHARS_MAX]}
    column = "remind_ms" if row.state == SENT and row.message.reminder > row.reminded else "next_ms"
    still = t.state == row.state if row.state == SENT else t.state != FOLDED
    lasts = getattr(t, column).is_not(None) if row.state == SENT else sa.true()
    connection.execute(notifications.update().where(t.number == row.number, still, lasts).values(**values, **{column: next_ms}))


def end(connection: Connection, number: int, state: str, error: str, now_ms: int) -> None:
    """It is not sent any more."""
    values = {"state": state, "error": error[:ERROR_CHARS_MAX], "next_ms": None, "remind_ms": None, "done_ms": now_ms}
    connection.execute(notifications.update().where(t.number == number).values(**values))


def prune(connection: Connection, before_ms: int) -> int:
    """Forget what was done with before this time; what is repeated or folded stays."""
    old = (t.state.in_((SENT, FAILED, OVER, DROPPED)), t.at_ms < before_ms, t.next_ms.is_(None), t.remind_ms.is_(None))
    return int(connection.execute(notifications.delete().where(*old)).rowcount)


def hurry(connection: Connection, channel: str) -> None:
    """The channel takes messages again: what was put off need not wait for its time."""
    connection.execute(notifications.update().where(t.channel == channel, t.state == PENDING).values(next_ms=0))


@dataclass(frozen=True, slots=True)
class Standing:
    """How one channel stands: what nobody has yet, since when, why, and what was given up lately."""

    channel: str
    pending: int
    oldest_ms: int | None
    given_up: int
    problem: str


def standing(connection: Connection, since_ms: int) -> list[Standing]:
    """The channels with something undelivered, or given up since then."""
    bad = sa.or_(t.state == PENDING, sa.and_(t.state == FAILED, t.done_ms >= since_ms))
    wanted = sa.select(t.channel, t.state, sa.func.count(), sa.func.min(t.at_ms), sa.func.max(t.number)).where(bad)
    found: dict[str, Standing] = {}
    for channel, state, count, oldest_ms, number in connection.execute(wanted.group_by(t.channel, t.state)):
        before = found.get(channel, Standing(channel, 0, None, 0, ""))
        # Of what waits the newest may be untried; the oldest that was tried says why.
        why = sa.select(t.error).where(t.channel == channel, t.state == state, t.error != "").order_by(t.number).limit(1)
        problem = str(connection.execute(why).scalar() or "") if number else ""
        if state == PENDING:
            found[channel] = replace(before, pending=count, oldest_ms=oldest_ms, problem=problem or before.problem)
        else:
            found[channel] = replace(before, given_up=count, problem=before.problem or problem)
    return [found[channel] for channel in sorted(found)]


def count_pending(connection: Connection) -> int:
    """How many messages nobody has yet."""
    return int(connection.execute(sa.select(sa.func.count()).where(t.state == PENDING)).scalar_one())


def _again(connection: Connection, channel: str, now_ms: int) -> Choice:
    """What was taken and is to be repeated."""
    due = sa.func.coalesce(sa.case((t.next_ms < t.remind_ms, t.next_ms), else_=t.remind_ms), t.next_ms)
    wanted = sa.select(notifications, due.label("due_ms")).where(t.channel == channel, t.state == SENT, due.is_not(None))
    found = connection.execute(wanted.order_by(due, t.number).limit(1)).first()
    if found is None:
        return Choice()
    if found.due_ms > now_ms:
        return Choice(None, int(found.due_ms))
    row = _row(found)
    reminds = found.remind_ms is not None and found.remind_ms <= now_ms
    return Choice(_reminding(row) if reminds else row)


def _reminding(row: Row) -> Row:
    return replace(row, message=replace(row.message, reminder=row.reminded + 1))


def _was_told(connection: Connection, row: Row) -> bool:
    """Whether this channel took what is now to be ended or acknowledged."""
    before = (t.incident == row.incident, t.channel == row.channel, t.state == SENT, t.number < row.number)
    lasts = sa.or_(*(t.kind.startswith(kind.value) for kind in LASTING))
    return connection.execute(sa.select(t.number).where(*before, lasts).limit(1)).first() is not None


def _stands_for_others(connection: Connection, incident: str) -> bool:
    return connection.execute(sa.select(t.number).where(t.part_of == incident, t.state == FOLDED).limit(1)).first() is not None


def _row(row: Any) -> Row:
    message: Message = codec.decode(Message, json.loads(row.body))
    return Row(row.number, row.incident, row.channel, row.state, row.at_ms, row.next_ms, row.tries, row.reminded, message)
