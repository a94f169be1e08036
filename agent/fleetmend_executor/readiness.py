"""What must be right before a unit is started: its configuration passes its own test, no dead process's lock is in its way."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import ClassVar

from . import processes
from .actions import Refused
from .run import ActionFailed, Run, hosted_argv
from .systemd import show

_DEAD = ("inactive", "failed")
_LOCK_BYTES_MAX = 4096
_PID = re.compile(r"\s*(\d{1,10})\b")
_ARGV = re.compile(r"argv\[\]=(.*?) ; ignore_errors=")


@dataclass(frozen=True, slots=True)
class ConfigTest:
    """Run the owner's test of a unit's configuration; the action ends here with `config_broken` when it fails."""

    unit: str
    argv: tuple[str, ...]
    timeout_s: float
    output_bytes_max: int
    performer: ClassVar[str] = "readiness"


@dataclass(frozen=True, slots=True)
class RemoveLock:
    """Remove the declared lock file of a unit that is dead, if the process it names is gone or is another program.

    `in_passing`: before a start; then nothing is done for a unit that runs or has no lock, and that is well.
    """

    unit: str
    path: str
    in_passing: bool = False
    performer: ClassVar[str] = "readiness"


def perform(effect: ConfigTest | RemoveLock, run: Run) -> None:
    """One of the two."""
    if isinstance(effect, ConfigTest):
        _test(effect, run)
    else:
        _unlock(effect, run)


def _test(effect: ConfigTest, run: Run) -> None:
    timeout_s = min(effect.timeout_s, run.left_s())
    finished = run.argv(*hosted_argv(effect.argv, timeout_s), timeout_s=timeout_s, output_bytes_max=effect.output_bytes_max)
    run.output.append(f"== configuration test of {effect.unit}\n{finished.output}")
    if finished.exit:
        last = finished.output.strip().rpartition("\n")[2][:300]
        text = f"cannot start {effect.unit}: the test of its configuration ends with {finished.exit}: {last}"
        raise ActionFailed("config_broken", text)


def _unlock(effect: RemoveLock, run: Run, proc: str = "/proc") -> None:
    state = show(effect.unit, run, "ActiveState", "ExecStart")
    if state["ActiveState"] not in _DEAD:
        if effect.in_passing:
            return
        raise Refused(
            "unit_runs", f"cannot remove {effect.path}: {effect.unit} is {state['ActiveState'] or 'in an unknown state'}"
        )
    folder = _folder(effect.path)
    try:
        name = os.path.basename(effect.path)
        content = _content(folder, name, effect.path)
        if content is None:
            if effect.in_passing:
                return
            raise ActionFailed("no_lock", f"cannot remove {effect.path}: there is no such file")
        _check_holder(effect, content, _ARGV.findall(state["ExecStart"]), proc)
        os.unlink(name, dir_fd=folder)
    except OSError as error:
        raise ActionFailed("lock_kept", f"cannot remove {effect.path}: {error.strerror}") from error
    finally:
        os.close(folder)
    run.detail.append(f"removed {effect.path}, which named {content.strip()[:80]!r}")


def _folder(path: str) -> int:
    """The folder of the file, opened component by component, never through a link."""
    current = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in path.strip("/").split("/")[:-1]:
        try:
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
        except OSError as error:
            raise ActionFailed("lock_kept", f"cannot reach {path}: {error.strerror}; links are not followed") from error
        finally:
            os.close(current)
        current = deeper
    return current


def _content(folder: int, name: str, path: str) -> str | None:
    """What the lock says; None if there is none. Only a small regular file is a lock."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LOCK_BYTES_MAX or found.st_nlink != 1:
            raise Refused("no_lock", f"cannot remove {path}: it is no lock file, but something larger or other")
        return os.read(descriptor, _LOCK_BYTES_MAX).decode("utf-8", "replace")
    finally:
        os.close(descriptor)


def _check_holder(effect: RemoveLock, content: str, commands: list[str], proc: str) -> None:
    """Failed while somebody may hold the lock: who is named in it and still is that program, or who has the file open."""
    named = _PID.match(content)
    if named is None:
        raise ActionFailed("lock_unknown", f"cannot remove {effect.path}: it names no process, so nobody can tell whose it is")
    holder = processes.read(int(named[1]), proc)
    if holder is not None and not holder.is_zombie:
        line = " ".join(processes.command_line(holder.pid, proc))
        if holder.unit == effect.unit or not commands or line in commands:
            raise ActionFailed(
                "lock_held", f"cannot remove {effect.path}: pid {holder.pid} ({holder.name}) runs and may hold it"
            )
    for process in processes.every(proc):
        if any(target == effect.path for _, target in processes.open_files(process.pid, proc)):
            raise ActionFailed("lock_held", f"cannot remove {effect.path}: pid {process.pid} ({process.name}) has it open")
