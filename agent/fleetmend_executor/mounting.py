"""Starts a mount with its users paused, so that none writes below it. Moves and deletes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from .effects import UnitJob
from .run import ActionFailed, Run
from .systemd import job, show

SHADOWED_SHOWN_MAX = 50
SHADOWED_MAX = 5000
_STOPPED = ("inactive", "failed")


@dataclass(frozen=True, slots=True)
class MountUnit:
    """`users` are stopped if they run; those that ran before, and those of `wanted`, are started at the end."""

    unit: str
    path: str
    users: tuple[str, ...]
    wanted: tuple[str, ...]
    performer: ClassVar[str] = "mounting"


def perform(effect: MountUnit, run: Run) -> None:
    """ActionFailed when the mount does not come up; its users are put back as they were."""
    running = [user for user in effect.users if show(user, run, "ActiveState")["ActiveState"] not in _STOPPED]
    for user in running:
        job(UnitJob("stop", user), run)
    shadowed = list(below(effect.path))
    if shadowed:
        names = shadowed[:SHADOWED_SHOWN_MAX]
        run.output.append("\n".join([f"== {len(shadowed)} entries lie below the mount point and stay there", *names]))
    try:
        job(UnitJob("start", effect.unit), run)
    except ActionFailed:
        _start(running, run)
        raise
    _start(dict.fromkeys((*running, *effect.wanted)), run)
    run.detail.append(f"mounted {effect.path}" + (f"; {len(shadowed)} entries stay below it" if shadowed else ""))


def _start(users: list[str] | dict[str, None], run: Run) -> None:
    """Each gets its chance; that one does not start is noted, and is its own incident."""
    for user in users:
        try:
            job(UnitJob("start", user), run)
        except ActionFailed as error:
            run.detail.append(str(error))


def below(path: str) -> Iterator[str]:
    """What is written where the mount should be; nothing if it is mounted."""
    if os.path.ismount(path):
        return
    count = 0
    for folder, folders, files in os.walk(path, followlinks=False):
        for name in sorted((*folders, *files)):
            yield f"{folder}/{name}"
            count += 1
            if count >= SHADOWED_MAX:
                return
