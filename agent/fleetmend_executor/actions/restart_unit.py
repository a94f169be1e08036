"""Restart a systemd unit."""

from __future__ import annotations

from typing import Any

from ..effects import Effect, UnitGuard, UnitJob
from ..rules import HostRules
from . import Action, Cost, Param, Refused


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """A clean-only unit is only ever started, and only when it is dead: systemd may end a stop with SIGKILL."""
    unit = params["unit"]
    rule = rules.unit(ACTION.name, unit, interrupts=True)
    if rule.desired == "stopped":
        raise Refused("desired_stopped", f"cannot restart {unit}: it is declared desired: stopped")
    clean_only = rule.restart == "clean-only"
    guard = UnitGuard(unit, rules.forbidden_units(ACTION.name), must_be_dead=clean_only)
    return guard, UnitJob("start" if clean_only else "restart", unit)


ACTION = Action(
    name="restart_unit",
    summary="Restart a systemd unit; over when the job has ended.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("unit", "text", "Full name of the unit, e.g. shop.service.", required=True),),
    proved_by=("unit_failed", "unit_active", "http_endpoint", "tcp_port", "file_age", "time_sync", "nagios_plugin"),
    timeout_s=120.0,
)
