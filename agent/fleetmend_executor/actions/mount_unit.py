"""Bring a declared mount back, with its declared users out of the way meanwhile."""

from __future__ import annotations

from typing import Any

from ..effects import Effect, UnitGuard
from ..mounting import MountUnit
from ..rules import HostRules
from ..units import checked_name
from . import Action, Cost, Param, Refused


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Each user must be one that may be stopped: what is clean-only, never or undeclared makes it a person's."""
    unit = checked_name(params["unit"])
    rules.unit(ACTION.name, unit)
    mounts = rules.part("mounts")
    named = {str(rule.get("unit")): (path, rule) for path, rule in mounts.items()} if isinstance(mounts, dict) else {}
    if unit not in named:
        raise Refused("undeclared", f"cannot mount {unit}: no declaration has it as the unit of a mount")
    path, rule = named[unit]
    forbidden = rules.forbidden_units(ACTION.name)
    users = tuple(checked_name(user) for user in rule.get("users", ()))
    ruled = {user: rules.unit(ACTION.name, user, interrupts=True) for user in users}
    for user, each in ruled.items():
        if each.restart != "allowed":
            raise Refused("clean_only", f"cannot pause {user} to mount {unit}: it is declared restart: clean-only")
    wanted = tuple(user for user, each in ruled.items() if each.desired == "running")
    guards = tuple(UnitGuard(each, forbidden) for each in (unit, *users))
    return *guards, MountUnit(unit, path, users, wanted)


ACTION = Action(
    name="mount_unit",
    summary="Pause a mount's declared users, start its unit, start the users again; files below the mount point stay there.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("unit", "text", "The unit of a declared mount, e.g. srv-data.mount.", required=True),),
    proved_by=("mount_missing", "unit_active", "unit_failed", "filesystem_readonly"),
    timeout_s=120.0,
    target="unit",
)
