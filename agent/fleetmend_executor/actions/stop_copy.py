"""End a second copy of a declared unit's program that runs outside the unit."""

from __future__ import annotations

from typing import Any

from ..copies import StopCopy
from ..effects import Effect, UnitGuard
from ..rules import HostRules
from ..starting import details, spared_units
from ..strangers import process_id
from . import Action, Cost, Param, Refused


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Only for units that may be restarted; whether it is a copy, by command line and user, is looked at on the host."""
    unit = params["unit"]
    if rules.unit(ACTION.name, unit, interrupts=True).restart == "clean-only":
        raise Refused("clean_only", f"cannot stop a copy of {unit}: it is declared restart: clean-only")
    if unit not in rules.declaration.units:
        raise Refused("undeclared", f"cannot stop a copy of {unit}: no declaration names it")
    process_id(params)
    text = str(details(rules, unit).get("process", ""))
    spared = spared_units(rules, ACTION.name)
    copy = StopCopy(unit, params["pid"], params["start_ticks"], params["name"], spared, text)
    return UnitGuard(unit, rules.forbidden_units(ACTION.name)), copy


ACTION = Action(
    name="stop_copy",
    summary="End a process outside a declared unit that has the unit's own command line and user.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(
        Param("unit", "text", "Full name of the unit, e.g. shop.service.", required=True),
        Param("pid", "integer", "The process.", required=True),
        Param("start_ticks", "integer", "When it started: field 22 of /proc/PID/stat.", required=True),
        Param("name", "text", "Its name as in /proc/PID/comm; empty: any.", default=""),
    ),
    proved_by=("unit_process", "listener_owner", "process_count", "nagios_plugin"),
    timeout_s=60.0,
)
