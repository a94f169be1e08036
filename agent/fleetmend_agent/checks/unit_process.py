"""What a unit was started for really runs, and as often as declared: systemd's word `active` does not say so.

One too few inside the unit is a matter for a restart. One too many, outside the unit, is a second copy that somebody started:
the unit is well, and the finding leaves it out.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import Check, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._processes import command_line, heads, look
from ._programs import FIELDS as STRANGER
from ._programs import doubles, facts
from ._services import REPORT_ONLY
from ._units import is_masked
from .unit_active import full_name


def _run(context: Context) -> Iterable[Result]:
    from ..host import UnitState

    params = context.params
    name = full_name(params["service"])
    unit = context.host.units(context.fresh).get(name) or UnitState(name, load="not-loaded")
    finding: dict[str, Scalar] = {"service": name, "processes": 0, "instances": params["instances"], "extra": 0}
    settling = context.host.clock_ms() - unit.since_clock_ms < params["grace"] and not context.fresh
    if unit.active != "active" or unit.job_pending or settling or is_masked(context.host, unit):
        return [Result(Status.OK, f"{name} is {unit.active} ({unit.sub}): its processes are not judged now", finding=finding)]
    seen = look(context.host, context.fresh)
    text: str = params["process"]
    inside = [p for p in seen.of_unit(name) if not text or text in " ".join(command_line(context.host, p.pid))]
    count = len(heads(inside))
    finding["processes"] = count
    gauges = {"unit_main_processes": float(count)}
    what = f"processes with {text!r}" if text else "processes"
    wanted = params["instances"] or 1
    if count < wanted or (params["instances"] and count > wanted):
        if not params["report_only"]:
            finding["unit"] = name
        words = f"{name} is active but has {count} {what}, expected {wanted}" + ("" if params["instances"] else " at least")
        return [Result(Status.CRIT, words, finding=finding, gauges=gauges)]
    others = heads(doubles(context.host, seen, name, params["declared_units"], text)) if params["instances"] else []
    if others:
        first = others[0]
        finding |= {"extra": len(others), **facts(context.host, first, same=True)}
        where = f"{first.name} (pid {first.pid}) in {first.unit or 'no unit'}"
        words = f"{len(others)} more {what} like those of {name} outside it: {where}"
        return [Result(Status.CRIT, words, finding=finding, gauges=gauges)]
    return [Result(Status.OK, f"{name} has {count} {what}", finding=finding, gauges=gauges)]


CHECK = Check(
    name="unit_process",
    summary="An active unit has the processes that it was started for, and nobody runs a second copy",
    run=_run,
    params=(
        Param("service", Kind.TEXT, "name of the unit; .service may be left away", required=True),
        Param("process", Kind.TEXT, "text in the command line of the processes that count; empty: every process", default=""),
        Param(
            "instances", Kind.INTEGER, "exactly so many, children of theirs not counted; 0: at least one", default=0, minimum=0
        ),
        Param("grace", Kind.DURATION, "how long after a change of the unit its processes are not judged", default=5_000),
        Param(
            "declared_units", Kind.TEXT_LIST, "units whose processes are no strangers; filled in by declarations", default=[]
        ),
        REPORT_ONLY,
    ),
    finding=(
        Field("service", Kind.TEXT, "the unit's full name"),
        Field("unit", Kind.TEXT, "the same, where a restart of it is the answer"),
        Field("processes", Kind.INTEGER, "how many were found in the unit"),
        Field("instances", Kind.INTEGER, "how many there should be; 0: at least one"),
        Field("extra", Kind.INTEGER, "copies of them outside the unit"),
        *STRANGER,
    ),
    gauges=(Gauge("unit_main_processes", "processes of the unit that count, without their children"),),
    blocking=True,
    every_s=10.0,
)
