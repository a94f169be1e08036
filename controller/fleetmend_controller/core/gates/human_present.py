"""Is somebody at work on this host? Then healing stands down there for a while."""

from __future__ import annotations

from ..effects import Why
from ..model import Cost
from . import Answer, Candidate, Gate, allow, hold


def _ask(c: Candidate) -> Answer:
    seen = c.fleet.presence.get(c.host.id)
    if c.step.cost is Cost.HARMLESS or c.incident.run is not None:
        return allow("the action disturbs nothing" if c.incident.run is None else "an operator asked for it")
    if seen is None or seen.until_ms <= c.now_ms:
        return allow(f"nobody is at work on {c.host.name}")
    return hold(Why.HUMAN_PRESENT, f"{seen.who} on {c.host.name}", seen.until_ms)


GATE = Gate("human_present", 130, "Is somebody at work on this host?", _ask, ahead=True)
