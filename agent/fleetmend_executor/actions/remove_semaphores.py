"""Remove System V semaphores that a killable user left behind."""

from __future__ import annotations

from typing import Any

from ..effects import Effect
from ..rules import HostRules
from ..semaphores import RemoveSemaphores
from ..starting import declared_units
from ..strangers import killable_users
from . import Action, Cost, Param, Refused


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Which sets they are is looked up on the host; the order only names the user."""
    user = params["user"]
    if user not in killable_users(rules, ACTION.name):
        raise Refused("undeclared", f"cannot remove semaphores of {user[:40]!r}: no declaration calls that user killable")
    return (RemoveSemaphores(user, declared_units(rules)),)


ACTION = Action(
    name="remove_semaphores",
    summary="Remove the System V semaphores of a user declared killable, while no declared unit runs for that user.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("user", "text", "The user.", required=True),),
    proved_by=("semaphores", "nagios_plugin"),
    timeout_s=60.0,
)
