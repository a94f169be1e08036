"""Has somebody switched healing off here?"""

from __future__ import annotations

from ..effects import Why
from ..model import Host
from . import Answer, Candidate, Gate, allow, hold


def scopes(host: Host, playbook: str) -> tuple[str, ...]:
    """Every scope whose pause covers this host and playbook."""
    groups = tuple(f"group:{label}={value}" for label, value in sorted(host.labels.items()))
    return ("global", f"host:{host.id}", *groups, f"playbook:{playbook}")


def _ask(c: Candidate) -> Answer:
    for scope in scopes(c.host, c.playbook.name):
        pause = c.fleet.pauses.get(scope)
        if pause is None or (pause.until_ms is not None and pause.until_ms <= c.now_ms):
            continue
        return hold(Why.PAUSED, f"{pause.by} paused {scope}: {pause.reason}", pause.until_ms)
    return allow("no pause covers this host or playbook")


GATE = Gate("paused", 10, "Has somebody switched healing off here?", _ask, ahead=True)
