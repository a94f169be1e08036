"""Recorded history: what the fleet told, what was decided then, and the rules of the time. From the journal, or from a file.

A file has one JSON object a line: first `history`, then `policy` (documents under their digest), `event` (an event of the core)
and `decision` (orders, their ends, ends of incidents and escalations as they were decided). Gzip if its name ends with .gz.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..core import events as happened
from ..core.effects import ActionEnded, Closed, Effect, Escalated, PermitSpent, SendOrder
from ..core.events import Event, PolicyLoaded
from ..decider.ledger import load_policy
from ..store import codec, journal
from ..store.engine import open_engine
from ..store.tables import journal as rows

VERSION = 1
EVENTS_MAX = 10_000_000
LINE_BYTES_MAX = 4 * 1024 * 1024
# Of the time before the window only who belongs to the fleet and what was switched off matters.
STANDING = ("HostEnrolled", "HostRemoved", "HostConnected", "PolicyLoaded", "Paused", "Resumed", "WindowAdded", "WindowRemoved")
# True whatever the controller decides. Outcomes, wake-ups, people's runs and approvals answer what was decided then.
KEPT = (
    happened.HostEnrolled,
    happened.HostRemoved,
    happened.HostConnected,
    happened.HostSilent,
    happened.PolicyLoaded,
    happened.Paused,
    happened.Resumed,
    happened.WindowAdded,
    happened.WindowRemoved,
    happened.PersonSeen,
    happened.TrustRestored,
    happened.ObserverDoubted,
    happened.CommonCause,
    happened.DeciderStarted,
)
USED = (happened.Observed, happened.AlertSaid, *KEPT)
_DECISIONS = (SendOrder, PermitSpent, ActionEnded, Closed, Escalated)


class HistoryError(ValueError):
    """History that cannot be read; the text begins with `cannot` and names the way out."""


@dataclass(frozen=True, slots=True)
class Decided:
    """One thing that was decided then."""

    at_ms: int
    effect: Effect


@dataclass(slots=True)
class History:
    """What happened from `from_ms` to `to_ms`, oldest first. `before` says how the fleet stood when it begins."""

    from_ms: int
    to_ms: int
    before: list[Event] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    decided: list[Decided] = field(default_factory=list)
    policies: dict[str, dict[str, str]] = field(default_factory=dict)


def from_database(url: str, since_ms: int) -> History:
    """The last `since_ms` before the newest row. Reads one snapshot of the database and changes nothing in it."""
    file = sa.engine.make_url(url).database or ""
    if url.startswith("sqlite") and not Path(file).is_file():
        # Opening it would make an empty one.
        raise HistoryError(f"cannot read the journal: there is no {file}; name the right configuration with --config")
    engine = open_engine(url)
    options: dict[str, Any] = {"fleetmend_reader": True}
    if engine.dialect.name == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    try:
        with engine.connect().execution_options(**options) as connection:
            return _read(connection, since_ms)
    except sa.exc.SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error)
        raise HistoryError(f"cannot read the journal: {cause}; name the right file with --config") from error
    finally:
        engine.dispose()


def _read(connection: Connection, since_ms: int) -> History:
    newest = connection.execute(sa.select(rows.c.seq, rows.c.at_ms).order_by(rows.c.seq.desc()).limit(1)).one_or_none()
    if newest is None:
        raise HistoryError("cannot replay history: the journal is empty")
    history = History(newest.at_ms - since_ms, newest.at_ms)
    first = _first_at(connection, newest.seq, history.from_ms)
    history.before = [codec.decode_event(json.loads(body)) for body in _standing(connection, first)]
    for _, _, entry, _ in journal.scan(connection, first - 1):
        if entry.kind == "event":
            _add_event(history, codec.decode_event(json.loads(entry.body)))
        elif entry.kind == "decision":
            effects = json.loads(entry.body)["effects"]
            history.decided += [Decided(entry.at_ms, effect) for effect in map(_effect, effects) if effect is not None]
    loaded = [event.digest for event in (*history.before, *history.events) if isinstance(event, PolicyLoaded)]
    history.policies = {digest: load_policy(connection, digest) for digest in dict.fromkeys(loaded)}
    return history


def _first_at(connection: Connection, last_seq: int, from_ms: int) -> int:
    """The first row of the window. Rows are in order of time but for the moments after a clock was set back."""
    low, high = 1, last_seq
    while low < high:
        middle = (low + high) // 2
        at_ms = connection.execute(sa.select(rows.c.at_ms).where(rows.c.seq == middle)).scalar() or 0
        low, high = (middle + 1, high) if at_ms < from_ms else (low, middle)
    return low


def _standing(connection: Connection, before_seq: int) -> Iterator[str]:
    wanted = sa.or_(*(rows.c.body.contains(f'"type":"{name}"', autoescape=True) for name in STANDING))
    statement = sa.select(rows.c.body).where(rows.c.seq < before_seq, rows.c.kind == "event", wanted).order_by(rows.c.seq)
    for row in connection.execute(statement):
        # A text that a host sent may hold the same words.
        if json.loads(row.body)["type"] in STANDING:
            yield row.body


def _effect(value: dict[str, Any]) -> Effect | None:
    kind = codec.EFFECTS.get(str(value.get("type")))
    if kind not in _DECISIONS:
        return None
    effect: Effect = codec.decode(kind, value)
    return effect


def _add_event(history: History, event: Event) -> None:
    if not isinstance(event, USED):
        return
    if len(history.events) >= EVENTS_MAX:
        raise HistoryError(f"cannot replay more than {EVENTS_MAX} events at once: ask for less with --since")
    history.events.append(event)


def write_file(history: History, path: Path) -> int:
    """Write a history file; the number of its lines. The same history gives the same bytes."""
    count = 0
    with path.open("wb") as file:
        if path.suffix != ".gz":
            return sum(1 for line in lines(history) if file.write(line))
        with gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as packed:
            for line in lines(history):
                packed.write(line)
                count += 1
    return count


def lines(history: History) -> Iterator[bytes]:
    """The lines of a history file."""
    head = {"type": "history", "version": VERSION, "from_ms": history.from_ms, "to_ms": history.to_ms}
    yield _line(head)
    for digest, documents in history.policies.items():
        yield _line({"type": "policy", "digest": digest, "documents": documents})
    for kind, events in (("before", history.before), ("event", history.events)):
        for event in events:
            yield _line({"type": kind, "event": codec.encode_tagged(event)})
    for decided in history.decided:
        yield _line({"type": "decision", "at_ms": decided.at_ms, "effect": codec.encode_tagged(decided.effect)})


def _line(value: dict[str, Any]) -> bytes:
    return codec.dumps(value).encode() + b"\n"


def read_file(path: Path, since_ms: int | None = None) -> History:
    """A history file; only its last `since_ms` if given. HistoryError names the first line that cannot be read."""
    try:
        with path.open("rb") as file:
            source = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            history = read_lines(_bounded(source), str(path))
    except (gzip.BadGzipFile, EOFError) as error:
        raise HistoryError(f"cannot read {path}: not a whole gzip file; export it again") from error
    return history if since_ms is None else _shortened(history, history.to_ms - since_ms)


def _bounded(file: Any) -> Iterator[bytes]:
    while line := file.readline(LINE_BYTES_MAX):
        yield line


def read_lines(source: Iterable[bytes], name: str) -> History:
    """A history from the lines of a file."""
    history: History | None = None
    for number, line in enumerate(source, 1):
        try:
            value = json.loads(line)
            if history is None:
                history = _head(value)
            else:
                _add_line(history, value)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, HistoryError):
                raise
            raise HistoryError(f"{name}:{number}: cannot read this line of history: {error}") from error
    if history is None:
        raise HistoryError(f"cannot read {name}: it is empty")
    return history


def _head(value: dict[str, Any]) -> History:
    if value["type"] != "history" or value["version"] != VERSION:
        raise ValueError(f"a history file of version {VERSION} must begin with its head")
    return History(int(value["from_ms"]), int(value["to_ms"]))


def _add_line(history: History, value: dict[str, Any]) -> None:
    kind = value["type"]
    if kind == "event":
        _add_event(history, codec.decode_event(value["event"]))
    elif kind == "before":
        history.before.append(codec.decode_event(value["event"]))
    elif kind == "policy":
        history.policies[value["digest"]] = {str(k): str(v) for k, v in value["documents"].items()}
    elif kind == "decision":
        effect = _effect(value["effect"])
        if effect is not None:
            history.decided.append(Decided(int(value["at_ms"]), effect))
    else:
        raise ValueError(f"unknown type {kind!r}")


def _shortened(history: History, from_ms: int) -> History:
    if from_ms <= history.from_ms:
        return history
    early = [event for event in history.events if event.at_ms < from_ms and type(event).__name__ in STANDING]
    return History(
        from_ms,
        history.to_ms,
        history.before + early,
        [event for event in history.events if event.at_ms >= from_ms],
        [decided for decided in history.decided if decided.at_ms >= from_ms],
        history.policies,
    )
