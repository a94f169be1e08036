"""Stop a process, or a whole unit of its own, that a killable user runs outside every declared unit."""

from __future__ import annotations

from typing import Any

from ..effects import Effect
from ..rules import HostRules
from ..starting import spared_units
from ..strangers import killable_users, process_id
from ..strays import StopStray
from . import Action, Cost, Param, Refused

GRACE_MS_MAX = 60_000
REACHES = ("process", "place")


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """A pid alone may be another process by now: its start must fit, and whose it is is looked at on the host."""
    users = killable_users(rules, ACTION.name)
    if params["grace_ms"] > GRACE_MS_MAX:
        raise Refused("bad_parameter", f"cannot stop: grace_ms {params['grace_ms']} is more than {GRACE_MS_MAX}")
    if params["reach"] not in REACHES:
        raise Refused("bad_parameter", f"cannot stop {params['reach'][:40]!r}: reach is one of {', '.join(REACHES)}")
    process_id(params)
    return (
        StopStray(
            users,
            spared_units(rules, ACTION.name),
            params["pid"],
            params["start_ticks"],
            params["name"],
            whole=params["reach"] == "place",
            grace_s=params["grace_ms"] / 1000,
        ),
    )


ACTION = Action(
    name="stop_stray",
    summary="Stop what a user declared killable runs outside every declared unit: its own unit as a whole, else the process.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(
        Param("pid", "integer", "The process.", required=True),
        Param("start_ticks", "integer", "When it started: field 22 of /proc/PID/stat.", required=True),
        Param("name", "text", "Its name as in /proc/PID/comm; empty: any.", default=""),
        Param("reach", "text", "process: it alone; place: with all that this user runs in the same unit.", default="process"),
        Param("grace_ms", "duration_ms", "Time between TERM and KILL.", default=5_000),
    ),
    proved_by=(
        "process_runaway",
        "pid_usage",
        "process_count",
        "cpu_load",
        "memory_available",
        "memory_pressure",
        "filesystem_space",
        "nagios_plugin",
    ),
    timeout_s=90.0,
)
