"""Run a command that the host's owner offers by name."""

from __future__ import annotations

from typing import Any

from ..effects import Command, Effect
from ..rules import HostRules
from . import PROVED_BY_MOST, Action, Cost, Param


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """The argument vector is the owner's, whole: nothing of the order gets into it."""
    command = rules.command(ACTION.name, params["command"])
    return (Command(command.argv, command.timeout_s, command.output_bytes_max, hosted=command.hosted),)


ACTION = Action(
    name="run_command",
    summary="Run a command that this host's policy file offers by name.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("command", "text", "Name of the command in the host's policy file.", required=True),),
    proved_by=(*PROVED_BY_MOST, "tls_certificate", "trust_store"),
    timeout_s=3600.0,
    target="command",
)
