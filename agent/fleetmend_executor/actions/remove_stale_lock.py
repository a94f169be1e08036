"""Remove the lock file that a crash of a declared unit left behind."""

from __future__ import annotations

from typing import Any

from ..effects import Effect, UnitGuard
from ..readiness import RemoveLock
from ..rules import HostRules
from ..starting import lock_of
from . import Action, Cost, Param, Refused


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Which file it is, the declaration says; that nobody holds it, the host."""
    unit = params["unit"]
    rules.unit(ACTION.name, unit)
    lock = lock_of(rules, unit)
    if not lock:
        raise Refused("undeclared", f"cannot remove a lock of {unit}: no declaration names its lock_file")
    return UnitGuard(unit, rules.forbidden_units(ACTION.name), must_be_dead=True), RemoveLock(unit, lock)


ACTION = Action(
    name="remove_stale_lock",
    summary="Remove the declared lock file of a dead unit, if the process it names is gone or is another program.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("unit", "text", "Full name of the unit, e.g. shop.service.", required=True),),
    proved_by=("unit_failed", "unit_active", "nagios_plugin"),
    timeout_s=30.0,
)
