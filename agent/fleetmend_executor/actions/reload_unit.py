"""Let a running systemd unit read its configuration again."""

from __future__ import annotations

from typing import Any

from ..effects import Effect, UnitGuard, UnitJob
from ..rules import HostRules
from ..starting import details
from . import Action, Cost, Param, Refused


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    unit = params["unit"]
    rules.unit(ACTION.name, unit)
    if details(rules, unit).get("reload") == "never":
        raise Refused("reload_never", f"cannot reload {unit}: it is declared reload: never")
    return UnitGuard(unit, rules.forbidden_units(ACTION.name)), UnitJob("reload", unit)


ACTION = Action(
    name="reload_unit",
    summary="Reload a systemd unit's configuration without stopping it.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("unit", "text", "Full name of the unit, e.g. shop.service.", required=True),),
    proved_by=("unit_active", "http_endpoint", "tcp_port", "file_age", "tls_certificate", "nagios_plugin"),
    timeout_s=60.0,
    target="unit",
)
