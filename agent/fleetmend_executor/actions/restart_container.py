"""Restart a declared container."""

from __future__ import annotations

from typing import Any

from ..containers import RestartContainer, declared
from ..effects import Effect
from ..rules import HostRules
from . import Action, Cost, Param, Refused

GRACE_MS_MAX = 300_000


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Only by a declared name. The engine itself is never restarted, and nothing is removed."""
    name, grace_ms = params["name"], params["grace_ms"]
    rules.constraint(ACTION.name)
    engine, containers = declared(rules)
    rule = containers.get(name)
    if not isinstance(rule, dict):
        raise Refused("undeclared", f"cannot restart container {name[:80]!r}: no declaration names it")
    if rule.get("restart") != "allowed":
        raise Refused("restart_never", f"cannot restart container {name}: it is declared restart: never")
    if grace_ms > GRACE_MS_MAX:
        raise Refused("bad_parameter", f"cannot restart container {name}: grace_ms {grace_ms} is more than {GRACE_MS_MAX}")
    return (RestartContainer(engine, name, -(-grace_ms // 1000)),)


ACTION = Action(
    name="restart_container",
    summary="Restart a container that a declaration names, by its engine.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(
        Param("name", "text", "Name of the container.", required=True),
        Param("grace_ms", "duration_ms", "Time that the engine gives it between TERM and KILL.", default=10_000),
    ),
    proved_by=("container_health", "http_endpoint", "tcp_port", "nagios_plugin"),
    timeout_s=360.0,
)
