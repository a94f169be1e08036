"""Is maintenance announced for this host? What starts in a window is handled when it ends, if the check still fails then."""

from __future__ import annotations

from ..effects import Why
from . import Answer, Candidate, Gate, allow, hold


def _ask(c: Candidate) -> Answer:
    if c.incident.run is not None:
        return allow("an operator asked for it")
    for window in c.fleet.windows.values():
        if not window.covers(c.host.id, c.host.labels):
            continue
        end_ms = c.policy.window_end(window, c.now_ms)
        if end_ms is not None:
            return hold(Why.MAINTENANCE, f"{window.by} announced maintenance {window.id}: {window.reason}", end_ms)
    return allow("no maintenance is announced for this host")


GATE = Gate("maintenance", 30, "Is maintenance announced for this host?", _ask, ahead=True)
