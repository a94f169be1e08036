"""Start the unit that is declared to rotate a log."""

from __future__ import annotations

from typing import Any

from ..effects import Effect, UnitGuard, UnitJob
from ..globs import any_unit
from ..rules import HostRules
from ..units import checked_name
from . import Action, Cost, Param, Refused


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """The log is left to its rotation: nothing else may move or truncate it under its writer."""
    path, constraint = params["path"], rules.constraint(ACTION.name)
    logs = rules.part("live_logs")
    rule = logs.get(path) if isinstance(logs, dict) else None
    if not isinstance(rule, dict) or not rule.get("rotated_by"):
        raise Refused("undeclared", f"cannot rotate {path}: no declaration says by what")
    unit = checked_name(rule["rotated_by"])
    if any_unit(unit, rules.protected_units):
        raise Refused("protected", f"cannot start {unit}: it is protected")
    if any_unit(unit, constraint.excluded) or not any_unit(unit, constraint.units):
        raise Refused("not_permitted", f"cannot start {unit}: this host's policy file excludes it")
    return UnitGuard(unit, rules.forbidden_units(ACTION.name)), UnitJob("start", unit)


ACTION = Action(
    name="rotate_log",
    summary="Start the unit that is declared to rotate a live log.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("path", "text", "The declared log.", required=True),),
    proved_by=("log_size",),
    timeout_s=120.0,
)
