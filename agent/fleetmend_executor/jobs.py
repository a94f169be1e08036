"""Runs a declared job once: never a second copy beside one that runs, and no longer than the job may take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

from .effects import UnitJob
from .run import ActionFailed, Run
from .systemd import job, show

_IDLE = ("inactive", "failed")


@dataclass(frozen=True, slots=True)
class RunJob:
    """Start a job that does not run. `stop_first`: end a run that hangs before. `wait_s`: how long its end is awaited."""

    unit: str
    stop_first: bool = False
    wait_s: float = 60.0
    performer: ClassVar[str] = "jobs"


def perform(effect: RunJob, run: Run) -> None:
    """A job that is still running when the wait is over goes on in systemd: the check tells how it ends."""
    if effect.stop_first:
        job(UnitJob("stop", effect.unit), run)
    state = show(effect.unit, run, "ActiveState")["ActiveState"]
    if state not in _IDLE:
        raise ActionFailed("already_running", f"cannot run {effect.unit}: a run is under way, it is {state or 'unknown'}")
    run.deadline_s = min(run.deadline_s, time.monotonic() + effect.wait_s)
    try:
        job(UnitJob("start", effect.unit), run)
    except ActionFailed as error:
        if error.reason != "timeout":
            raise
        run.detail.append(f"{effect.unit} is still running; systemd goes on with it")
