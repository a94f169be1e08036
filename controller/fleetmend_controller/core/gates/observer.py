"""Can the controller trust its own eyes? When most of the fleet seems lost, or it was away itself, it suspects itself first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..effects import Why
from ..model import Fleet
from . import Answer, Candidate, Gate, allow, hold

if TYPE_CHECKING:
    from ..policy import Policy

LOST_HOSTS_MIN = 3


def many_lost(fleet: Fleet, policy: Policy) -> bool:
    """Whether so many hosts are lost that the cause is more likely here than there."""
    return len(fleet.lost) >= max(LOST_HOSTS_MIN, len(fleet.hosts) * policy.lost_share_percent // 100)


def _ask(c: Candidate) -> Answer:
    if many_lost(c.fleet, c.policy):
        share = f"{len(c.fleet.lost)} of {len(c.fleet.hosts)} hosts seem lost"
        return hold(Why.MANY_HOSTS_LOST, f"{share}: the observer may be the one cut off")
    if c.incident.run is None and c.incident.evidence_ms < c.fleet.doubt_ms:
        return hold(Why.OBSERVER_DOUBTED, f"{c.fleet.doubt}; waiting for a sample taken since then", c.now_ms + 30_000)
    if c.incident.run is None and c.host.permits.version and c.incident.evidence_ms < c.host.connected_ms:
        text = f"{c.host.name} was out of reach and may have healed it alone; waiting for a sample taken since it is back"
        return hold(Why.OBSERVER_DOUBTED, text, c.now_ms + 30_000)
    return allow("nothing speaks against what the controller sees")


GATE = Gate("observer", 35, "Can the controller trust its own eyes?", _ask)
