"""Was this tried too often, or too recently, on this subject? Back-off is geometric and ends with a person."""

from __future__ import annotations

from ..effects import Why
from ..model import Cost
from ..standing import debt, tries_left
from . import Answer, Candidate, Gate, allow, hold, refuse


def _ask(c: Candidate) -> Answer:
    limit = c.playbook.limits.attempts
    most = tries_left(limit.max, len(debt(c.fleet, c.incident.tried, c.now_ms)))
    if c.step.cost is Cost.HARMLESS:
        return allow("the action disturbs nothing")
    times = c.fleet.attempts_at.get(c.incident.tried, [])
    recent = [t for t in times if t > c.now_ms - limit.window_ms]
    if len(recent) >= most:
        return refuse(Why.ATTEMPTS_EXHAUSTED, f"tried {len(recent)} times within {limit.window_ms // 60_000} min, limit {most}")
    if not recent:
        return allow("not tried recently")
    pause_ms = limit.backoff_ms * limit.factor ** (len(recent) - 1)
    next_ms = recent[-1] + pause_ms
    if c.now_ms < next_ms:
        return hold(
            Why.BACKING_OFF, f"tried {len(recent)} times; the next try waits {pause_ms / 1000:g} s after the last", next_ms
        )
    return allow(f"tried {len(recent)} of {most} times")


GATE = Gate("attempts", 80, "Was this tried too often, or too recently, on this subject?", _ask)
