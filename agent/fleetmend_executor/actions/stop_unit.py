"""Stop a systemd unit."""

from __future__ import annotations

from typing import Any

from ..effects import Effect, UnitGuard, UnitJob
from ..rules import HostRules
from . import Action, Cost, Param, Refused


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Not for clean-only units: systemd may end a stop with SIGKILL."""
    unit = params["unit"]
    if rules.unit(ACTION.name, unit, interrupts=True).restart == "clean-only":
        raise Refused("clean_only", f"cannot stop {unit}: it is declared restart: clean-only")
    return UnitGuard(unit, rules.forbidden_units(ACTION.name)), UnitJob("stop", unit)


ACTION = Action(
    name="stop_unit",
    summary="Stop a systemd unit.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("unit", "text", "Full name of the unit, e.g. shop.service.", required=True),),
    proved_by=("unit_active", "process_count", "cpu_load", "memory_available", "memory_pressure", "nagios_plugin"),
    timeout_s=120.0,
)
