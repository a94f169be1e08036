"""What the executor says to systemd: one job to its end, with the reason when it fails; and what it asks before."""

from __future__ import annotations

import time

from .actions import Refused
from .effects import UnitGuard, UnitJob
from .globs import any_unit
from .run import ActionFailed, Run, failure
from .units import is_masked, names_on_disk

SYSTEMCTL = ("systemctl", "--no-ask-password")
_DEAD = ("inactive", "failed")
_STARTING = ("restart", "start")
_NOT_LOADED = ("not-found", "masked", "bad-setting", "error")
_STATE = ("LoadState", "ActiveState", "SubState", "Result", "InactiveExitTimestampMonotonic")


def guard(effect: UnitGuard, run: Run) -> None:
    """Refused if the unit, under any of its names, is forbidden or masked, or must be dead and is not."""
    for name in names_on_disk(effect.unit)[1:]:
        if any_unit(name, effect.forbidden):
            raise Refused("protected", f"cannot touch {effect.unit}: on this host it is {name}, which is protected")
    if is_masked(effect.unit):
        raise Refused("maintenance", f"cannot touch {effect.unit}: it is masked, so somebody wants it down")
    if not effect.must_be_dead:
        return
    state = show(effect.unit, run, "ActiveState")["ActiveState"]
    if state not in _DEAD:
        is_now = state or "in an unknown state"
        raise Refused("clean_only", f"cannot restart {effect.unit}: it is declared restart: clean-only and is {is_now}")


def job(effect: UnitJob, run: Run) -> None:
    """Ends when the job has ended. If systemd started nothing, because of the start limit, it is reset and tried once more."""
    begun_us = int(time.monotonic() * 1e6)
    finished = run.argv(*SYSTEMCTL, effect.verb, "--", effect.unit)
    if finished.exit == 0:
        return
    if finished.exit == 124:
        raise ActionFailed("timeout", f"cannot {effect.verb} {effect.unit}: its job goes on in systemd after {finished.ms} ms")
    if finished.exit == 127:
        raise failure(finished)
    state = show(effect.unit, run, *_STATE)
    if effect.verb in _STARTING and _nothing_started(state, begun_us) and run.left_s() > 0:
        run.argv(*SYSTEMCTL, "reset-failed", "--", effect.unit)
        finished = run.argv(*SYSTEMCTL, effect.verb, "--", effect.unit)
        if finished.exit == 0:
            run.detail.append("its start limit was reset")
            return
        state = show(effect.unit, run, *_STATE)
    if state["LoadState"] in _NOT_LOADED:
        raise ActionFailed("unit_not_loaded", f"cannot {effect.verb} {effect.unit}: it is {state['LoadState']}")
    told = " ".join(finished.output.split())[:600]
    words = f"{state['ActiveState']}/{state['SubState']}, result {state['Result']}"
    raise ActionFailed("job_failed", f"cannot {effect.verb} {effect.unit}: {words}: {told}")


def _nothing_started(state: dict[str, str], begun_us: int) -> bool:
    """Whether the unit has not left the dead state since the job began.

    `Result` does not tell: a start that the limit refuses keeps the word of the failure before it.
    """
    left_dead_us = state["InactiveExitTimestampMonotonic"]
    loaded, dead = state["LoadState"] not in _NOT_LOADED, state["ActiveState"] in _DEAD
    return loaded and dead and left_dead_us.isdigit() and int(left_dead_us) < begun_us


def show(unit: str, run: Run, *properties: str) -> dict[str, str]:
    """Properties of a unit; each asked one is there, empty if systemd did not say."""
    finished = run.argv(*SYSTEMCTL, "show", f"--property={','.join(properties)}", "--", unit, timeout_s=10.0)
    values = dict.fromkeys(properties, "")
    for line in finished.output.splitlines() if finished.exit == 0 else ():
        name, _, value = line.partition("=")
        values[name] = value
    return values
