"""Has the fault lasted long enough not to be a blip?"""

from __future__ import annotations

from ..effects import Why
from . import Answer, Candidate, Gate, allow, hold


def _ask(c: Candidate) -> Answer:
    # A fault that comes back after a repair is new: it may be the blip of a slow start.
    since_ms = c.incident.fault_since_ms if c.incident.bad_since_ms is None else c.incident.bad_since_ms
    lasted_ms = c.now_ms - since_ms
    if lasted_ms < c.playbook.for_ms:
        return hold(
            Why.FAULT_TOO_YOUNG,
            f"lasts {lasted_ms / 1000:.1f} s, {c.playbook.name} waits for {c.playbook.for_ms / 1000:g} s",
            since_ms + c.playbook.for_ms,
        )
    return allow(f"lasts {lasted_ms / 1000:.1f} s")


GATE = Gate("fault_duration", 50, "Has the fault lasted long enough not to be a blip?", _ask)
