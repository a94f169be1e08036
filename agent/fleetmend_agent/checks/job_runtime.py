"""One job (a unit that runs now and then) does not run longer than it may: one that hangs blocks every later run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, Context, Field, Gauge, Kind, Param, Result, Status
from ._source import human_seconds
from ._units import FIELDS, finding, is_masked
from .unit_active import full_name

if TYPE_CHECKING:
    from ..host import UnitState

_UNDER_WAY = frozenset({"activating", "deactivating", "reloading", "refreshing"})


def _run(context: Context) -> Iterable[Result]:
    from ..host import UnitState

    name = full_name(context.params["unit"])
    unit = context.host.units(context.fresh).get(name) or UnitState(name, load="not-loaded")
    facts = finding(unit, is_masked(context.host, unit))
    if not is_running(unit):
        facts["running_seconds"] = 0
        return [
            Result(Status.OK, f"{name} does not run now: {unit.active}", finding=facts, gauges={"job_runtime_seconds": 0.0})
        ]
    took_s = max(0, context.host.clock_ms() - unit.since_clock_ms) / 1000
    limit_s = context.params["max_runtime"] / 1000
    facts["running_seconds"] = round(took_s)
    words = f"{name} has been running for {human_seconds(took_s)}"
    hangs = took_s > limit_s
    text = f"{words}, it may for {human_seconds(limit_s)}" if hangs else words
    return [Result(Status.CRIT if hangs else Status.OK, text, finding=facts, gauges={"job_runtime_seconds": round(took_s, 3)})]


def is_running(unit: UnitState) -> bool:
    """Whether the job runs now: a oneshot is `activating` meanwhile, other services are active with a process."""
    return unit.active in _UNDER_WAY or (unit.active == "active" and unit.sub == "running")


CHECK = Check(
    name="job_runtime",
    summary="A job does not run longer than it may",
    run=_run,
    params=(
        Param("unit", Kind.TEXT, "the job's unit; .service may be left away", required=True),
        Param("max_runtime", Kind.DURATION, "CRIT when one run lasts longer", required=True),
    ),
    finding=(*FIELDS, Field("running_seconds", Kind.INTEGER, "how long the run under way has lasted, 0 if there is none")),
    gauges=(Gauge("job_runtime_seconds", "how long the run under way has lasted, 0 if there is none"),),
    signal="systemd",
    every_s=15.0,
)
