"""End a process of a declared unit: TERM, then KILL after a grace."""

from __future__ import annotations

from typing import Any

from ..effects import Effect, KillProcess, UnitGuard
from ..rules import HostRules
from . import Action, Cost, Param, Refused

GRACE_MS_MAX = 60_000


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """By unit, or by pid with start time and name: a pid alone may be another process by now."""
    unit, pid, grace_ms = params["unit"], params["pid"], params["grace_ms"]
    if grace_ms > GRACE_MS_MAX:
        raise Refused("bad_parameter", f"cannot kill: grace_ms {grace_ms} is more than {GRACE_MS_MAX}")
    if bool(unit) == bool(pid):
        raise Refused("bad_parameter", "cannot kill: give either unit, or pid with start_ticks and name")
    if unit and (params["start_ticks"] or params["name"]):
        raise Refused("bad_parameter", "cannot kill: start_ticks and name belong to a pid, not to a unit")
    if unit:
        return _by_unit(unit, grace_ms, rules)
    if pid <= 1 or not params["start_ticks"] or not params["name"]:
        raise Refused("bad_parameter", "cannot kill: a pid above 1, its start_ticks and its name are needed together")
    killable = rules.killable_units(ACTION.name)
    return (KillProcess(killable, "", pid, params["start_ticks"], params["name"], grace_ms / 1000),)


def _by_unit(unit: str, grace_ms: int, rules: HostRules) -> tuple[Effect, ...]:
    rule = rules.unit(ACTION.name, unit, interrupts=True)
    if rule.restart == "clean-only":
        raise Refused("clean_only", f"cannot kill {unit}: it is declared restart: clean-only")
    if unit not in rules.declaration.units:
        raise Refused("undeclared", f"cannot kill {unit}: no declaration names it")
    return UnitGuard(unit, rules.forbidden_units(ACTION.name)), KillProcess((unit,), unit, grace_s=grace_ms / 1000)


ACTION = Action(
    name="kill_process",
    summary="End a unit's main process, or one process of a declared unit: TERM, then KILL after a grace.",
    cost=Cost.DESTRUCTIVE,
    plan=_plan,
    params=(
        Param("unit", "text", "End the main process of this unit.", default=""),
        Param("pid", "integer", "End this process; start_ticks and name must be given and fit.", default=0),
        Param("start_ticks", "integer", "When the process started: field 22 of /proc/PID/stat.", default=0),
        Param("name", "text", "The process's name as in /proc/PID/comm.", default=""),
        Param("grace_ms", "duration_ms", "Time between TERM and KILL.", default=10_000),
    ),
    proved_by=(
        "unit_active",
        "unit_failed",
        "process_count",
        "cpu_load",
        "memory_available",
        "memory_pressure",
        "nagios_plugin",
    ),
    timeout_s=120.0,
)
