"""Clear the failed state and the start limit of a systemd unit."""

from __future__ import annotations

from typing import Any

from ..effects import Command, Effect, UnitGuard
from ..rules import HostRules
from . import Action, Cost, Param


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    unit = params["unit"]
    rules.unit(ACTION.name, unit)
    command = Command(("systemctl", "--no-ask-password", "reset-failed", "--", unit))
    return UnitGuard(unit, rules.forbidden_units(ACTION.name)), command


ACTION = Action(
    name="reset_failed_unit",
    summary="Clear the failed state and the start limit of a systemd unit; starts and stops nothing.",
    cost=Cost.HARMLESS,
    plan=_plan,
    params=(Param("unit", "text", "Full name of the unit, e.g. shop.service.", required=True),),
    proved_by=("unit_failed",),
    timeout_s=30.0,
)
