"""Put a declared package on hold again."""

from __future__ import annotations

from typing import Any

from ..effects import Effect
from ..hosting import Hosted
from ..rules import HostRules
from . import Action, Cost, Param, Refused
from .reinstall_package import checked_package, declared


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """A hold keeps a package as it is, and is taken away as easily; it is set only where it is declared."""
    rules.constraint(ACTION.name)
    name = checked_package(params["package"])
    if declared(rules, name).get("hold") is not True:
        raise Refused("undeclared", f"cannot hold {name}: no declaration says hold: true")
    return (Hosted("hold_package", (name,)),)


ACTION = Action(
    name="hold_package",
    summary="Put a package on hold that is declared to be.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("package", "text", "Name of the declared package.", required=True),),
    proved_by=("package_files",),
    timeout_s=60.0,
)
