"""Reboots the host a moment after its order ended: the outcome is on disk and on its way before the machine goes down."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import ClassVar

from .run import ActionFailed, Run, failure

BOOT_ID = "/proc/sys/kernel/random/boot_id"
NOTE_DIR = "/var/lib/fleetmend-agent"
NOTE_NAME = "planned-reboot"
# One name: a second reboot while the first is on its way is refused by systemd itself.
UNIT = "fleetmend-reboot"


@dataclass(frozen=True, slots=True)
class Reboot:
    """Leave word for the next boot that this one ended on purpose, and let systemd reboot after `delay_s`."""

    delay_s: int = 5
    performer: ClassVar[str] = "rebooting"


def perform(effect: Reboot, run: Run) -> None:
    """The note first: a reboot without it would be taken for a crash. A host without an agent's folder needs none."""
    try:
        leave_note(NOTE_DIR, _boot_id())
    except FileNotFoundError:
        run.detail.append(f"no note: there is no {NOTE_DIR}")
    except OSError as error:
        raise ActionFailed("no_note", f"cannot reboot: cannot write {NOTE_DIR}/{NOTE_NAME}: {error.strerror}") from error
    finished = run.argv(*argv(effect.delay_s), timeout_s=20.0)
    if finished.exit:
        raise failure(finished)
    run.detail.append(f"reboots in {effect.delay_s} s")


def argv(delay_s: int) -> tuple[str, ...]:
    """Systemd keeps the time: the reboot comes even if this executor ends before it."""
    timer = (f"--on-active={delay_s}s", "--timer-property=AccuracySec=100ms")
    return ("systemd-run", "--quiet", "--collect", f"--unit={UNIT}", *timer, "--", "systemctl", "--no-ask-password", "reboot")


def leave_note(folder: str, boot_id: str) -> None:
    """Write the id of the boot that ends. The folder is the agent's: no link in it is followed, nothing of it overwritten."""
    where = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(NOTE_NAME, dir_fd=where)
        note = os.open(NOTE_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=where)
        try:
            os.write(note, boot_id.encode() + b"\n")
            os.fsync(note)
        finally:
            os.close(note)
        os.fsync(where)
    finally:
        os.close(where)


def _boot_id() -> str:
    with open(BOOT_ID, encoding="ascii") as file:
        return file.read(64).strip()
