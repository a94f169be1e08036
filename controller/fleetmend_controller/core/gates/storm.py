"""Do many hosts fail in the same way? Then it is one problem for a person, not many repairs."""

from __future__ import annotations

from ..effects import Why
from . import Answer, Candidate, Gate, allow, hold

RECHECK_MS = 60_000


def _ask(c: Candidate) -> Answer:
    outbreak = c.fleet.outbreaks.get(c.incident.fault)
    if outbreak is None or c.incident.run is not None:
        return allow("no storm of this check")
    groups = ", ".join(f"{group} ({count} hosts)" for group, count in outbreak.groups.items())
    text = f"many hosts fail {c.incident.fault} together: {groups}; see {outbreak.incident}"
    return hold(Why.STORM, text, c.now_ms + RECHECK_MS)


GATE = Gate("storm", 120, "Do many hosts fail in the same way?", _ask, ahead=True)
