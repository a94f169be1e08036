"""Run a declared job once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..effects import Effect, UnitGuard
from ..globs import any_unit
from ..jobs import RunJob
from ..units import checked_name
from . import Action, Cost, Param, Refused

if TYPE_CHECKING:
    from ..rules import HostRules

# Other repairs of the host wait for this one; a longer job goes on without being watched by the executor.
WAIT_S_MAX = 60.0
_TIMEOUT_S = 180.0


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Only jobs that their declaration lets be run."""
    unit, constraint = checked_name(params["unit"]), rules.constraint(ACTION.name)
    if any_unit(unit, rules.protected_units):
        raise Refused("protected", f"cannot run {unit}: it is protected")
    if any_unit(unit, constraint.excluded) or not any_unit(unit, constraint.units):
        raise Refused("not_permitted", f"cannot run {unit}: this host's policy file excludes it")
    jobs = rules.part("jobs")
    job = jobs.get(unit) if isinstance(jobs, dict) else None
    if not isinstance(job, dict):
        raise Refused("undeclared", f"cannot run {unit}: no declaration calls it a job")
    if job.get("run_once") != "allowed":
        raise Refused("run_once_never", f"cannot run {unit}: it is declared run_once: never")
    longest_ms = job.get("max_runtime_ms", 0)
    wait_s = min(WAIT_S_MAX, longest_ms / 1000) if isinstance(longest_ms, int) and longest_ms > 0 else WAIT_S_MAX
    guard = UnitGuard(unit, rules.forbidden_units(ACTION.name))
    return guard, RunJob(unit, params["stop_first"], wait_s)


ACTION = Action(
    name="run_job",
    summary="Run a declared job once, if told to after ending a run that hangs; never a second copy beside one that runs.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(
        Param("unit", "text", "Full name of the job's unit, e.g. backup.service.", required=True),
        Param("stop_first", "flag", "End a run under way before.", default=False),
    ),
    proved_by=("file_age", "job_runtime", "unit_failed", "nagios_plugin"),
    timeout_s=_TIMEOUT_S,
    target="unit",
)
