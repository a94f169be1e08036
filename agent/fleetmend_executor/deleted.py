"""Frees the space of files that were deleted and are still open: their holder is restarted, or stopped, if it was declared so.

Who holds most is found here. A file that has no name any more is nobody's to be kept, but its holder may work with it. So only
one that may be restarted or stopped anyway is, only the one that holds most, and only if that is much of the filesystem.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import ClassVar

from . import processes, strays
from . import run as runs
from .actions import Refused
from .effects import Effect
from .processes import Process
from .run import ActionFailed, Run

SHARE_PERCENT_MIN = 5
_DELETED = " (deleted)"


@dataclass(frozen=True, slots=True)
class ReleaseDeleted:
    """`restarts`: how each unit that may be restarted is. `users` and `spared`: as for strays."""

    mount: str
    restarts: tuple[tuple[str, tuple[Effect, ...]], ...]
    users: tuple[str, ...]
    spared: tuple[str, ...]
    performer: ClassVar[str] = "deleted"


@dataclass(frozen=True, slots=True)
class Holder:
    """A process, and what it holds of the filesystem in files without a name."""

    process: Process
    size_bytes: int
    path: str


def perform(effect: ReleaseDeleted, run: Run, proc: str = "/proc") -> None:
    """Refused when whoever holds most is neither a unit that may be restarted nor a killable user's stray."""
    space = os.statvfs(effect.mount)
    least = space.f_blocks * space.f_frsize * SHARE_PERCENT_MIN // 100
    holder = max(holders(effect.mount, proc), key=lambda each: each.size_bytes, default=None)
    if holder is None or holder.size_bytes < least:
        raise ActionFailed("nothing_held", f"cannot free {effect.mount}: no deleted file that is still open takes much of it")
    process = holder.process
    text = f"{process.name} (pid {process.pid}) in {process.unit or 'no unit'} holds {holder.size_bytes} bytes: {holder.path}"
    run.output.append(f"== deleted files\n{text}")
    for unit, effects in effect.restarts:
        if unit == process.unit:
            for each in effects:
                runs.perform(each, run)
            run.detail.append(f"restarted {unit}: {text}")
            return
    try:
        stray = strays.StopStray(effect.users, effect.spared, process.pid, process.start_ticks)
        strays.perform(stray, run, proc)
    except Refused as error:
        raise Refused(error.reason, f"cannot free {effect.mount}: {text}; {error}") from error


def holders(mount: str, proc: str = "/proc") -> list[Holder]:
    """Who holds deleted files of the filesystem that is mounted there; a file counts for the first that has it open."""
    device, counted, found = os.stat(mount).st_dev, set[int](), []
    for process in processes.every(proc):
        size, largest, path = 0, 0, ""
        for descriptor, target in processes.open_files(process.pid, proc):
            if not target.endswith(_DELETED):
                continue
            try:
                status = os.stat(f"{proc}/{process.pid}/fd/{descriptor}")
            except OSError:
                continue
            if status.st_dev != device or not stat.S_ISREG(status.st_mode) or status.st_nlink or status.st_ino in counted:
                continue
            counted.add(status.st_ino)
            taken = status.st_blocks * 512
            size += taken
            if taken > largest:
                largest, path = taken, target.removesuffix(_DELETED)
        if size:
            found.append(Holder(process, size, path))
    return found
