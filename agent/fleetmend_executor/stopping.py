"""Ends a unit by asking it, and never by killing it: the unit's own signal, then patience. Who does not go stays as it is.

`systemctl stop` cannot do this: it ends with SIGKILL when the unit takes its time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

from .actions import Refused
from .effects import UnitGuard
from .globs import any_unit
from .run import ActionFailed, Run, failure
from .systemd import SYSTEMCTL, guard, show

_DEAD = ("inactive", "failed")
_RUNS = ("active", "reloading", "activating")
_LOOK_EVERY_S = 0.2
_PROPERTIES = ("ActiveState", "MainPID", "ExecStop", "KillSignal")


@dataclass(frozen=True, slots=True)
class CleanStop:
    """Ask a unit to end and wait for it. A socket is closed instead, and the services that it starts are asked.

    `forbidden` are unit globs that none of the names of what is asked may match. A socket that is `dead` already and whose
    services have ended needs nothing.
    """

    unit: str
    forbidden: tuple[str, ...] = ()
    grace_s: float = 20.0
    performer: ClassVar[str] = "stopping"


def perform(effect: CleanStop, run: Run) -> None:
    """Failed with `did_not_stop` when it still runs after the grace."""
    if not effect.unit.endswith(".socket"):
        _ask(effect.unit, effect.grace_s, run)
        return
    state = show(effect.unit, run, "ActiveState", "Triggers")
    services = [name for name in state["Triggers"].split() if name.endswith(".service")]
    for name in services:
        if any_unit(name, effect.forbidden):
            raise Refused("protected", f"cannot touch {effect.unit}: its {name} is protected")
        guard(UnitGuard(name, effect.forbidden), run)
    if state["ActiveState"] in _RUNS:
        finished = run.argv(*SYSTEMCTL, "stop", "--", effect.unit)
        if finished.exit:
            raise failure(finished)
    for name in services:
        _ask(name, effect.grace_s, run)


def _ask(unit: str, grace_s: float, run: Run) -> None:
    state = show(unit, run, *_PROPERTIES)
    if state["ActiveState"] not in _RUNS:
        return
    if state["ExecStop"]:
        text = f"cannot stop {unit} cleanly: it has a stop command of its own, after which systemd may kill it"
        raise Refused("clean_only", text)
    main = state["MainPID"]
    if not main.isdigit() or int(main) <= 1:
        raise Refused("clean_only", f"cannot stop {unit} cleanly: systemd knows no main process of it")
    for signal in (state["KillSignal"] or "15", "18"):
        # 18 is CONT: who was frozen would never see the first.
        finished = run.argv(*SYSTEMCTL, "kill", "--kill-who=main", f"--signal={signal}", "--", unit)
        if finished.exit and signal != "18":
            raise failure(finished)
    deadline_s = min(run.deadline_s, time.monotonic() + grace_s)
    while time.monotonic() < deadline_s:
        now = show(unit, run, "ActiveState", "MainPID")
        # systemd may have started it again by itself; that is another process.
        if now["ActiveState"] in _DEAD or now["MainPID"] not in {main, "0", ""}:
            run.detail.append(f"{unit} ended when it was asked to")
            return
        time.sleep(_LOOK_EVERY_S)
    text = f"cannot stop {unit} cleanly: it still runs {grace_s:g} s after it was asked, and is not killed"
    raise ActionFailed("did_not_stop", text)
