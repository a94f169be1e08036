"""Whose a listening socket is: the control group in which it was made tells, and no power is needed to read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import CheckUnknown, Context
from ._processes import heads, look
from ._source import why

if TYPE_CHECKING:
    from ..host import Host
    from ..sockets import Listener
    from ._processes import Look, Process

# Where the unified control groups are; the second on machines that still have those of the first version beside them.
_GROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")


def listeners(host: Host) -> tuple[Listener, ...]:
    """The listening TCP sockets. Raises CheckUnknown."""
    try:
        return host.listeners_of()
    except OSError as error:
        raise CheckUnknown(f"cannot list listening sockets: {why(error)}") from error


def processes_of(context: Context, found: Iterable[Listener]) -> tuple[Look, dict[int, str]]:
    """A look at the processes, and the control groups that have some; who listens may be younger than the last look."""
    seen = look(context.host, context.fresh)
    paths = _groups(context.host, seen)
    if all(each.group in paths for each in found):
        return seen, paths
    seen = look(context.host, fresh=True)
    return seen, _groups(context.host, seen)


def _groups(host: Host, seen: Look) -> dict[int, str]:
    """The control groups that have processes, by their number."""
    root = next((place for place in reversed(_GROUPS) if host.exists(f"{place}/cgroup.procs")), _GROUPS[0])
    found: dict[int, str] = {}
    for path in {p.group for p in seen.by_pid.values() if p.group}:
        try:
            found[host.stat(root + path).st_ino] = path
        except OSError:
            continue
    return found


def holder(seen: Look, listener: Listener, path: str) -> Process | None:
    """The first process of the socket's group and user: the one that the others come from."""
    alike = [p for p in seen.by_pid.values() if p.group == path and not p.is_zombie]
    first = heads([p for p in alike if p.uid == listener.uid] or alike)
    return min(first, key=lambda p: (p.start_ticks, p.pid), default=None)
