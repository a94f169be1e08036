"""Every systemd unit in state failed, one subject each; the subject without a key stands for being able to see the units.

A failed unit that recovers stays a subject as long as the runner remembers it: OK once it is no longer failed, and unchanged
while systemd is between two states, so that an attempt to start it is not taken for its success.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from . import Check, Context, Gauge, Kind, Param, Result, Status
from ._units import FIELDS, finding, is_masked

if TYPE_CHECKING:
    from ..host import UnitState

# Repairs that the executor hands to systemd; what becomes of them is the outcome of their order.
_REPAIRS = "fleetmend-repair-"
_BETWEEN = frozenset({"activating", "deactivating"})


def _run(context: Context) -> Iterable[Result]:
    units = context.host.units(context.fresh)
    ignore: list[str] = context.params["ignore"]
    failed = [unit for unit in units.values() if _is_failed(unit) and not _matches(unit.name, [*ignore, f"{_REPAIRS}*"])]
    yield Result(
        Status.OK,
        f"{len(failed)} of {len(units)} units failed" if failed else f"no failed unit among {len(units)}",
        gauges={"systemd_failed_units": float(len(failed)), "systemd_loaded_units": float(len(units))},
    )
    for unit in failed:
        yield Result(Status.CRIT, f"{unit.name} failed: {unit.result or unit.sub}", unit.name, finding(unit, maintenance=False))
    reported = {unit.name for unit in failed}
    for name, before in context.known.items():
        if name and name not in reported:
            yield _remembered(context, name, units.get(name), before)


def _remembered(context: Context, name: str, unit: UnitState | None, before: Status) -> Result:
    """What became of a unit that failed once, or that somebody asks about."""
    if unit is None:
        # systemd forgets a unit that is neither running nor failed and that nothing refers to.
        from ..host import UnitState

        gone = UnitState(name, load="not-loaded")
        return Result(
            Status.OK,
            f"{name} is no longer failed: systemd has unloaded it",
            name,
            finding(gone, is_masked(context.host, gone)),
        )
    if is_masked(context.host, unit):
        return Result(Status.OK, f"{name} is masked: in maintenance", name, finding(unit, maintenance=True))
    if _matches(name, context.params["ignore"]):
        return Result(Status.OK, f"{name} is ignored by this check", name, finding(unit, maintenance=False))
    if unit.active in _BETWEEN:
        return Result(
            before, f"{name} is between two states: {unit.active} ({unit.sub})", name, finding(unit, maintenance=False)
        )
    return Result(Status.OK, f"{name} is {unit.active} ({unit.sub})", name, finding(unit, maintenance=False))


def _is_failed(unit: UnitState) -> bool:
    return unit.active == "failed" and unit.load != "masked"


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


CHECK = Check(
    name="unit_failed",
    summary="Every systemd unit that is in state failed",
    run=_run,
    params=(Param("ignore", Kind.TEXT_LIST, "patterns of unit names to leave out, with * and ?", default=["session-*.scope"]),),
    finding=FIELDS,
    gauges=(
        Gauge("systemd_failed_units", "units in state failed, without those ignored or masked"),
        Gauge("systemd_loaded_units", "units that systemd holds in memory"),
    ),
    signal="systemd",
    every_s=60.0,
)
