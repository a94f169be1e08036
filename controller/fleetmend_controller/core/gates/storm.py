"""Do many hosts fail in the same way? Then it is one problem for a person, not many repairs."""

from __future__ import annotations

from ..effects import Why
from ..model import Outbreak
from . import Answer, Candidate, Gate, allow, hold

RECHECK_MS = 60_000


def described(outbreak: Outbreak, check_type: str) -> str:
    """What a storm is, in one sentence."""
    groups = ", ".join(f"{group} ({count} hosts)" for group, count in outbreak.groups.items())
    return f"many hosts fail {check_type} together: {groups}; see {outbreak.incident}"


def _ask(c: Candidate) -> Answer:
    outbreak = c.fleet.outbreaks.get(c.incident.check_type)
    if outbreak is None or c.incident.run is not None:
        return allow("no storm of this check")
    return hold(Why.STORM, described(outbreak, c.incident.check_type), c.now_ms + RECHECK_MS)


GATE = Gate("storm", 120, "Do many hosts fail in the same way?", _ask)
