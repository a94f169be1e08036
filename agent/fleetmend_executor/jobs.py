"""Runs a declared job once: never a second copy beside one that runs, and no longer than the job may take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

from .commands import EXIT_TIMEOUT
from .effects import UnitJob
from .run import ActionFailed, Run
from .systemd import SYSTEMCTL, job, show

_IDLE = ("inactive", "failed")
# A run that hangs often does not hear that it should end. systemd would wait 90 s, and later runs with it.
GRACE_S = 20.0


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
        _end(effect.unit, run)
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


def _end(unit: str, run: Run) -> None:
    """Asks the run to end, and kills what does not within the grace; how long is its owner's word, if the unit has one."""
    asked = run.argv(*SYSTEMCTL, "stop", "--", unit, timeout_s=GRACE_S)
    if asked.exit == EXIT_TIMEOUT and _patience_is_systemds(unit, run):
        run.argv(*SYSTEMCTL, "kill", "--kill-who=all", "--signal=KILL", "--", unit)
        run.detail.append(f"{unit} did not end within {GRACE_S:g} s and was killed")
    if asked.exit:
        job(UnitJob("stop", unit), run)


def _patience_is_systemds(unit: str, run: Run) -> bool:
    """Whether nobody chose how long this unit may take to stop."""
    own = show(unit, run, "TimeoutStopUSec")["TimeoutStopUSec"]
    finished = run.argv(*SYSTEMCTL, "show", "--property=DefaultTimeoutStopUSec", timeout_s=10.0)
    return bool(own) and finished.exit == 0 and finished.output.strip() == f"DefaultTimeoutStopUSec={own}"
