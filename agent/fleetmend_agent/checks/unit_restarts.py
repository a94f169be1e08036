"""Whether systemd restarts a unit over and over by itself: it looks active most of the time, and never works for long."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

from . import Check, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._source import human_seconds
from ._units import is_masked
from .unit_active import full_name

if TYPE_CHECKING:
    from ..host import UnitState

_LOOKS_MAX = 1000
# Somebody started the unit, and so long it has been well since: what was before is over.
_CALM_MS = 30_000


def _run(context: Context) -> Iterable[Result]:
    from ..host import UnitState

    name = full_name(context.params["service"])
    unit = context.host.units(context.fresh).get(name) or UnitState(name, load="not-loaded")
    now_ms, within_ms = context.host.clock_ms(), context.params["within"]
    recent = _climbed(context, unit, now_ms)
    facts: dict[str, Scalar] = {"service": name, "restarts": unit.n_restarts, "recent": recent}
    gauges = {"unit_restarts_total": float(unit.n_restarts)}
    text = f"systemd restarted {name} {recent} times within {human_seconds(within_ms / 1000)}"
    if is_masked(context.host, unit):
        return [Result(Status.OK, f"{name} is masked: in maintenance", finding=facts, gauges=gauges)]
    return [Result(Status.CRIT if recent >= context.params["most"] else Status.OK, text, finding=facts, gauges=gauges)]


def _climbed(context: Context, unit: UnitState, now_ms: int) -> int:
    """By how much the counter rose within the window. It falls back to 0 when somebody starts the unit: then it counts anew.

    What it says at first sight counts if the unit has changed its state within the window.
    """
    seen: dict[str, list[tuple[int, int]]] = context.host.kept.setdefault("unit_restarts", {})
    looks = seen.setdefault(unit.name, [])
    since_ms = now_ms - context.params["within"]
    if not looks:
        looks.append((now_ms, 0 if unit.since_clock_ms > since_ms else unit.n_restarts))
    if looks[-1][1] != unit.n_restarts:
        looks.append((now_ms, unit.n_restarts))
    while len(looks) > _LOOKS_MAX or (len(looks) > 1 and looks[1][0] <= since_ms):
        looks.pop(0)
    last_ms, last = looks[-1]
    if len(looks) > 1 and last < looks[-2][1] and now_ms - last_ms >= _CALM_MS and unit.active == "active":
        looks[:] = [looks[-1]]
    return sum(max(0, later - earlier) for (_, earlier), (_, later) in pairwise(looks))


CHECK = Check(
    name="unit_restarts",
    summary="systemd does not restart one unit over and over",
    run=_run,
    params=(
        Param("service", Kind.TEXT, "name of the unit; .service may be left away", required=True),
        Param("most", Kind.INTEGER, "CRIT from this many restarts within the time on", default=5, minimum=1),
        Param("within", Kind.DURATION, "the time in which restarts count", default=600_000, minimum=1000),
    ),
    finding=(
        Field("service", Kind.TEXT, "the unit's full name: no restart by others helps it"),
        Field("restarts", Kind.INTEGER, "restarts that systemd made by itself"),
        Field("recent", Kind.INTEGER, "how many of them within the time"),
    ),
    gauges=(Gauge("unit_restarts_total", "restarts that systemd made by itself since the unit was loaded"),),
    every_s=15.0,
)
