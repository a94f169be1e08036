"""Does this come and go? Repairing what flaps hides it; a person is told once."""

from __future__ import annotations

from ..effects import Why
from . import Answer, Candidate, Gate, allow, hold, refuse


def _ask(c: Candidate) -> Answer:
    limit = c.playbook.limits.flapping
    if c.incident.run is not None:
        return allow("an operator asked for it")
    times = c.fleet.opened_at.get(c.incident.tried, [])
    recent = [t for t in times if t > c.now_ms - limit.within_ms]
    flap = c.fleet.flapping.get(c.incident.tried)
    if flap is not None and len(times) > 1 and times[-1] - times[-2] < limit.quiet_ms:
        calm_ms = times[-1] + limit.quiet_ms
        if c.now_ms < calm_ms:
            return hold(Why.FLAPPING, f"flaps since {(c.now_ms - flap.since_ms) / 1000:.0f} s; people know", calm_ms)
    text = f"turned bad {len(recent)} times within {limit.within_ms // 60_000} min, limit {limit.count}"
    if len(recent) >= limit.count:
        return refuse(Why.FLAPPING, text)
    return allow(text)


GATE = Gate("flapping", 70, "Does this come and go?", _ask)
