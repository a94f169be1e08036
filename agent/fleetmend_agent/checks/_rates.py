"""From counters that only rise to what happened since: a check compares its counters with those of some seconds ago.

The first run of a check looks twice, a second apart, so that it can judge at once and not only the next time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from . import Context

FIRST_LOOK_S = 1.0
# Older readings say nothing about now: the check was off, or the machine slept.
_STALE_WINDOWS = 10

Counters = Mapping[str, Mapping[str, int]]
"""Counters by thing (a disk, an interface) and name."""

_NUMBER = re.compile(r"[0-9]{1,20}\n?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Change:
    """What was counted of one thing within `seconds`."""

    seconds: float
    grown: dict[str, int]


def since(context: Context, take: Callable[[], Counters], window_s: float, *, from_nothing: bool = False) -> dict[str, Change]:
    """How much each thing's counters grew within about the window. `take` reads them and raises CheckUnknown.

    A thing that was not there before is left out, or counted from nothing on if its counters begin at 0 when it comes. Counters
    that went back mean another boot or another driver: the comparison begins anew. Sleeps in a first run, so only from a worker
    thread.
    """
    now, clock_ms = take(), context.host.clock_ms()
    kept: list[tuple[int, Counters]] = context.memory.setdefault("readings", [])
    stale_ms = clock_ms - int(window_s * 1000) * _STALE_WINDOWS
    kept[:] = [each for each in kept if stale_ms <= each[0] < clock_ms]
    if kept and _went_back(kept[-1][1], now):
        kept.clear()
    if not kept:
        kept.append((clock_ms, now))
        context.host.sleep(FIRST_LOOK_S)
        now, clock_ms = take(), context.host.clock_ms()
    # The newest reading that is a whole window old stays, and all that are younger.
    while len(kept) > 1 and clock_ms - kept[1][0] >= window_s * 1000:
        kept.pop(0)
    kept.append((clock_ms, now))
    changes = {}
    for thing, counters in now.items():
        before_ms, before = next(((at_ms, held[thing]) for at_ms, held in kept[:-1] if thing in held), (kept[0][0], None))
        if before is not None or from_nothing:
            changes[thing] = Change(max(0.001, (clock_ms - before_ms) / 1000), _grown(before or {}, counters))
    return changes


def number(text: str) -> int | None:
    """A counter's file; None when it holds something else."""
    return int(text) if _NUMBER.fullmatch(text) else None


def _grown(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    return {name: max(0, value - before.get(name, 0)) for name, value in now.items()}


def _went_back(before: Counters, now: Counters) -> bool:
    return any(
        value < before[thing].get(name, 0)
        for thing, counters in now.items()
        if thing in before
        for name, value in counters.items()
    )
