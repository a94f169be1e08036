"""Let a running systemd unit read its configuration again."""

from __future__ import annotations

from typing import Any

from ..effects import Effect, UnitGuard, UnitJob
from ..rules import HostRules
from . import Action, Cost, Param


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    rules.unit(ACTION.name, params["unit"])
    return UnitGuard(params["unit"], rules.forbidden_units(ACTION.name)), UnitJob("reload", params["unit"])


ACTION = Action(
    name="reload_unit",
    summary="Reload a systemd unit's configuration without stopping it.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("unit", "text", "Full name of the unit, e.g. shop.service.", required=True),),
    proved_by=("unit_active", "http_endpoint", "tcp_port", "file_age", "tls_certificate", "nagios_plugin"),
    timeout_s=60.0,
)
