"""Restart a systemd unit that runs, without ever killing it."""

from __future__ import annotations

from typing import Any

from ..effects import Effect, UnitGuard
from ..rules import HostRules
from ..starting import start
from ..stopping import CleanStop
from . import Action, Cost, Param, Refused


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """It is asked to end; only when it has ended by itself it is started. One that does not end is left to people."""
    unit = params["unit"]
    rule = rules.unit(ACTION.name, unit, interrupts=True)
    if rule.desired == "stopped":
        raise Refused("desired_stopped", f"cannot restart {unit}: it is declared desired: stopped")
    if not unit.endswith((".service", ".socket")):
        raise Refused("bad_parameter", f"cannot restart {unit} cleanly: it is no service and no socket")
    forbidden = rules.forbidden_units(ACTION.name)
    asked = (UnitGuard(unit, forbidden), CleanStop(unit, forbidden))
    return (*asked, *start(rules, ACTION.name, unit, "start", rule))


ACTION = Action(
    name="restart_cleanly",
    summary="Ask a running unit to end, wait for it, and start it again; it is never killed.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("unit", "text", "Full name of the service or socket, e.g. store.service.", required=True),),
    proved_by=(
        "unit_active",
        "unit_memory",
        "unit_descriptors",
        "unit_zombies",
        "unit_frozen",
        "unit_binary",
        "unit_process",
        "http_endpoint",
        "tcp_port",
        "journal_write",
        "file_age",
        "nagios_plugin",
    ),
    timeout_s=120.0,
    target="unit",
)
