"""Restart a systemd unit."""

from __future__ import annotations

from typing import Any

from ..effects import Effect
from ..rules import HostRules
from ..starting import start
from . import Action, Cost, Param, Refused


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """A clean-only unit is only ever started, and only when it is dead: systemd may end a stop with SIGKILL."""
    unit = params["unit"]
    rule = rules.unit(ACTION.name, unit, interrupts=True)
    if rule.desired == "stopped":
        raise Refused("desired_stopped", f"cannot restart {unit}: it is declared desired: stopped")
    return start(rules, ACTION.name, unit, "start" if rule.restart == "clean-only" else "restart", rule)


ACTION = Action(
    name="restart_unit",
    summary="Restart a systemd unit; over when the job has ended.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("unit", "text", "Full name of the unit, e.g. shop.service.", required=True),),
    proved_by=(
        "unit_failed",
        "unit_active",
        "unit_memory",
        "unit_descriptors",
        "unit_zombies",
        "unit_frozen",
        "unit_binary",
        "unit_process",
        "listener_owner",
        "http_endpoint",
        "tcp_port",
        "journal_write",
        "file_age",
        "spool_age",
        "time_sync",
        "nagios_plugin",
    ),
    timeout_s=120.0,
    target="unit",
)
