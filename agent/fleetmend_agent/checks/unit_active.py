"""One systemd unit is in the state in which it was declared to be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Status
from ._source import human_seconds
from ._units import FIELDS, finding, is_masked

if TYPE_CHECKING:
    from ..host import UnitState

# Boots are slow, and starts that wait for each other must not be hurried.
_BOOT_GRACE_MS = 300_000
_NAME_LENGTH_MAX = 255
_RUNNING = frozenset({"active", "reloading", "refreshing"})
_BETWEEN = frozenset({"activating", "deactivating", "reloading", "refreshing", "maintenance"})


def _run(context: Context) -> Iterable[Result]:
    from ..host import UnitState

    name = full_name(context.params["unit"])
    unit = context.host.units(context.fresh).get(name) or UnitState(name, load="not-loaded")
    desired: str = context.params["desired"]
    masked = is_masked(context.host, unit)
    if masked:
        status, text = Status.OK, f"{name} is masked: in maintenance"
    else:
        before = context.known.get("", Status.OK)
        status, text = judge(unit, desired, context.host.clock_ms(), context.params["grace"], before)
    facts = finding(unit, masked) | {"desired": desired, "pending": unit.job_pending}
    return [Result(status, text, finding=facts, gauges={"unit_restarts_total": float(unit.n_restarts)})]


def full_name(name: str) -> str:
    """The unit's name with its type; a service if none is given. Raises CheckUnknown for what cannot be a unit."""
    if not name or len(name) > _NAME_LENGTH_MAX or "/" in name or any(c.isspace() for c in name):
        raise CheckUnknown(f"cannot watch unit {name!r}: that is no unit name")
    return name if "." in name else f"{name}.service"


def judge(unit: UnitState, desired: str, clock_ms: int, grace_ms: int, before: Status) -> tuple[Status, str]:
    """Whether the unit is as desired. Between two states it keeps the status it had `before`, for at most the grace.

    In the first five minutes of a boot there is no end of that grace.
    """
    words = f"{unit.name} is {unit.active} ({unit.sub})"
    settled = unit.active not in _BETWEEN and not unit.job_pending
    running = unit.active in _RUNNING
    if settled and running == (desired == "running"):
        return Status.OK, words
    if settled:
        reason = next((f": {word}" for word in (unit.result, unit.load) if word not in {"", "success", "loaded"}), "")
        return Status.CRIT, f"{words}, it should be {desired}{reason}"
    since_ms = clock_ms - unit.since_clock_ms
    if since_ms < grace_ms or clock_ms < _BOOT_GRACE_MS:
        return before, f"{words}, a change is under way"
    if running and desired == "running" and unit.active == "active":
        return Status.OK, f"{words}, with a job that waits"
    return Status.CRIT, f"{words} for {human_seconds(since_ms / 1000)}, it should be {desired}"


CHECK = Check(
    name="unit_active",
    summary="One systemd unit runs (or is stopped) as declared",
    run=_run,
    params=(
        Param("unit", Kind.TEXT, "name of the unit; .service may be left away", required=True),
        Param("desired", Kind.TEXT, "running, or stopped", default="running", choices=("running", "stopped")),
        Param("grace", Kind.DURATION, "how long a change of state may take before it is a fault", default=30_000),
    ),
    finding=(
        *FIELDS,
        Field("desired", Kind.TEXT, "running or stopped"),
        Field("pending", Kind.FLAG, "systemd has a job for the unit that is not done"),
    ),
    gauges=(Gauge("unit_restarts_total", "restarts that systemd made by itself since the unit was loaded"),),
    signal="systemd",
    every_s=60.0,
)
