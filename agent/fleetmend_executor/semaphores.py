"""Removes System V semaphores of one user. They belong to nobody's life: a program that ends leaves them behind for ever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from . import processes
from .actions import Refused
from .copies import user_id
from .globs import any_unit
from .run import ActionFailed, Run, failure, hosted_argv

TABLE = "sysvipc/sem"
_SETS_A_CALL = 500
_SETS_MAX = 100_000
_ID, _OWNER = 1, 4


@dataclass(frozen=True, slots=True)
class RemoveSemaphores:
    """All sets of one killable user; `spared` are globs of declared units, whose work for that user must not be running."""

    user: str
    spared: tuple[str, ...]
    performer: ClassVar[str] = "semaphores"


def perform(effect: RemoveSemaphores, run: Run, proc: str = "/proc") -> None:
    """Refused while a declared unit runs for this user: the semaphores may be its own."""
    uid = user_id(effect.user)
    if not uid:
        raise Refused("undeclared", f"cannot remove semaphores of {effect.user}: there is no such user here")
    busy = next((p for p in processes.every(proc) if uid in p.uids and any_unit(p.unit, effect.spared)), None)
    if busy is not None:
        raise ActionFailed("in_use", f"cannot remove semaphores of {effect.user}: {busy.unit} runs for that user now")
    sets = owned(uid, proc)
    if not sets:
        raise ActionFailed("nothing_found", f"cannot remove semaphores of {effect.user}: there are none")
    for begin in range(0, len(sets), _SETS_A_CALL):
        some = sets[begin : begin + _SETS_A_CALL]
        words = tuple(word for each in some for word in ("--semaphore-id", each))
        finished = run.argv(*hosted_argv(("ipcrm", *words), run.left_s()))
        if finished.exit:
            raise failure(finished)
    run.detail.append(f"removed {len(sets)} sets of semaphores of {effect.user}")


def owned(uid: int, proc: str = "/proc") -> list[str]:
    """The numbers of a user's sets."""
    try:
        with open(f"{proc}/{TABLE}", encoding="ascii") as file:
            rows = [line.split() for line in file.readlines()[1:_SETS_MAX]]
    except OSError as error:
        raise ActionFailed("unreadable", f"cannot read {TABLE}: {error.strerror}") from error
    return [row[_ID] for row in rows if len(row) > _OWNER and row[_OWNER] == str(uid)]
