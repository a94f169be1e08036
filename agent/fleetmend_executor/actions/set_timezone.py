"""Set the declared time zone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..hosting import Hosted
from . import Action, Cost, Refused

if TYPE_CHECKING:
    from ..effects import Effect
    from ..rules import HostRules

ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z][A-Za-z0-9_+-]*){0,2}", re.ASCII)


def _plan(_params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """The zone is the declaration's; the order has no say in it."""
    rules.constraint(ACTION.name)
    zone = rules.part("timezone")
    if not isinstance(zone, str) or not ZONE.fullmatch(zone):
        raise Refused("undeclared", "cannot set the time zone: no declaration names one")
    return (Hosted("set_timezone", (zone,)),)


ACTION = Action(
    name="set_timezone",
    summary="Let the host keep the declared time zone; programs that run go on with the one before until they are restarted.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    proved_by=("timezone", "nagios_plugin"),
    timeout_s=20.0,
)
