"""Start a systemd unit that does not run."""

from __future__ import annotations

from typing import Any

from ..effects import Effect
from ..rules import HostRules
from ..starting import start
from . import Action, Cost, Param, Refused


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Interrupts nothing, so restart: never does not forbid it; what is declared stopped stays stopped."""
    unit = params["unit"]
    rule = rules.unit(ACTION.name, unit)
    if rule.desired == "stopped":
        raise Refused("desired_stopped", f"cannot start {unit}: it is declared desired: stopped")
    return start(rules, ACTION.name, unit, "start", rule)


ACTION = Action(
    name="start_unit",
    summary="Start a systemd unit; does nothing to one that runs.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("unit", "text", "Full name of the unit, e.g. shop.service.", required=True),),
    proved_by=("unit_failed", "unit_active", "http_endpoint", "tcp_port", "file_age", "filesystem_readonly", "nagios_plugin"),
    timeout_s=120.0,
    target="unit",
)
