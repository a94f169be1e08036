"""The table of systemd's units, kept by its signals: pure, so that the awkward order of signals can be told in tests.

systemd repeats PropertiesChanged with an unchanged state, sends one for each interface of a unit, and a restart passes through
`inactive`. The table says which units really changed since it was last asked; everything else is silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..host import UnitState

UNITS_MAX = 10_000
PATH_PREFIX = "/org/freedesktop/systemd1/unit/"

_ESCAPED = re.compile(r"_([0-9a-f]{2})")
_UNIT_INTERFACE = "org.freedesktop.systemd1.Unit"


class UnitTable:
    """The units by name.

    `clock_ms` is given with each change and becomes `since_clock_ms` when `active` changed. A unit seen for the first time
    counts from then on: how long it was so before, nobody saw.
    """

    def __init__(self) -> None:
        self.units: dict[str, UnitState] = {}
        self._changed: set[str] = set()

    def take_changed(self) -> set[str]:
        """The units that changed since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def replace_all(self, rows: Iterable[tuple[Any, ...]], clock_ms: int) -> None:
        """Takes the answer of ListUnits: name, description, load, active, sub, following, path, job id, job type, job path."""
        seen: set[str] = set()
        for row in rows:
            name, load, active, sub, job_id = row[0], row[2], row[3], row[4], row[7]
            if len(seen) >= UNITS_MAX:
                break
            seen.add(name)
            before = self.units.get(name)
            base = before or UnitState(name)
            # The result belongs to the state it came with; ListUnits does not tell it.
            result = base.result if before is not None and before.active == active else ""
            now = replace(base, load=load, active=active, sub=sub, job_pending=bool(job_id), result=result)
            self._put(before, now, clock_ms)
        for name in set(self.units) - seen:
            self.remove(name)

    def properties(self, path: str, interface: str, changed: Mapping[str, tuple[str, Any]], clock_ms: int) -> None:
        """Takes one PropertiesChanged signal of a unit's object; values are (signature, value)."""
        name = unit_name(path)
        before = self.units.get(name)
        if before is None and (interface != _UNIT_INTERFACE or len(self.units) >= UNITS_MAX):
            # Nothing is known of this unit yet: its state comes with the signal of the unit interface, or with the next list.
            return
        now = before or UnitState(name)
        if interface == _UNIT_INTERFACE:
            job = changed.get("Job")
            now = replace(
                now,
                load=_text(changed, "LoadState", now.load),
                active=_text(changed, "ActiveState", now.active),
                sub=_text(changed, "SubState", now.sub),
                job_pending=bool(job[1][0]) if job is not None else now.job_pending,
            )
        else:
            restarts = changed.get("NRestarts")
            now = replace(
                now,
                result=_text(changed, "Result", now.result),
                n_restarts=int(restarts[1]) if restarts is not None else now.n_restarts,
            )
        self._put(before, now, clock_ms)

    def job_removed(self, name: str, clock_ms: int) -> None:
        """A job of a unit is done. The unit's own signal says so too; this one comes even if that was lost."""
        before = self.units.get(name)
        if before is not None and before.job_pending:
            self._put(before, replace(before, job_pending=False), clock_ms)

    def remove(self, name: str) -> None:
        """Takes that a unit was unloaded."""
        if self.units.pop(name, None) is not None:
            self._changed.add(name)

    def _put(self, before: UnitState | None, now: UnitState, clock_ms: int) -> None:
        if before is not None and before.active == now.active:
            now = replace(now, since_clock_ms=before.since_clock_ms)
        else:
            now = replace(now, since_clock_ms=clock_ms)
        if now == before:
            return
        self.units[now.name] = now
        self._changed.add(now.name)


def unit_name(path: str) -> str:
    """The unit behind an object path: systemd writes every character but letters and digits as _ and two hex digits."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), path.removeprefix(PATH_PREFIX))


def _text(changed: Mapping[str, tuple[str, Any]], name: str, otherwise: str) -> str:
    value = changed.get(name)
    return str(value[1]) if value is not None else otherwise
