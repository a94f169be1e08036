"""Processes of users that may be stopped, outside every declared unit: in groups that would be stopped together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import Field, Kind, Scalar
from ._processes import heads, is_shared, user_name

if TYPE_CHECKING:
    from ..host import Host
    from ._processes import Look, Process

FIELDS = (
    Field("pid", Kind.INTEGER, "the process that stands for them"),
    Field("start_ticks", Kind.INTEGER, "when it started: field 22 of /proc/PID/stat"),
    Field("name", Kind.TEXT, "its name"),
    Field("user", Kind.TEXT, "the user it runs for"),
    Field("in_unit", Kind.TEXT, "the unit it runs in, if it runs in one"),
)
# As in the executor: what runs there belongs to the system, whoever it runs for.
_SYSTEM = ("systemd-", "dbus", "fleetmend-", "getty@", "serial-getty@", "polkit", "init.scope")


@dataclass(frozen=True, slots=True)
class Group:
    """Processes of one user in one unit of their own; or a single process, where strangers share the unit."""

    uid: int
    unit: str
    members: tuple[Process, ...]

    @property
    def key(self) -> tuple[int, str, int]:
        """Which group this is, from look to look."""
        first = self.head
        return (self.uid, self.unit, 0) if not is_shared(self.unit) else (self.uid, str(first.start_ticks), first.pid)

    @property
    def head(self) -> Process:
        """The oldest of those that the others come from."""
        return min(heads(self.members), key=lambda p: (p.start_ticks, p.pid))

    def facts(self, host: Host) -> dict[str, Scalar]:
        """The fields above."""
        return {**self.head.facts(), "user": user_name(host, self.uid), "in_unit": self.unit}


def groups(look: Look, uids: Iterable[int], declared: Iterable[str]) -> list[Group]:
    """The groups of these users' processes outside the declared units and the system's own."""
    wanted, kept = set(uids), set(declared)
    found: dict[tuple[int, str, int], list[Process]] = {}
    for p in look.by_pid.values():
        if p.uid not in wanted or p.is_zombie or p.unit in kept or p.unit.startswith(_SYSTEM):
            continue
        found.setdefault((p.uid, p.unit, p.pid if is_shared(p.unit) else 0), []).append(p)
    return [Group(uid, unit, tuple(members)) for (uid, unit, _), members in found.items()]
