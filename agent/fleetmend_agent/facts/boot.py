"""This boot: its id, when it began, and whether a restart is waiting. The uptime is left out: it changes all the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import Fact
from ._lines import read_or

if TYPE_CHECKING:
    from ..host import Host

# Where distributions say that a restart is needed to complete updates.
_RESTART_WANTED = ("/run/reboot-required", "/var/run/reboot-required")
# The clocks drift against each other, and the start of a boot must not move with them.
_STEP_S = 60


def _collect(host: Host) -> dict[str, Any]:
    begun_s = (host.wall_ms() - host.clock_ms()) // 1000
    return {
        "boot_id": host.boot_id(),
        "began_s": _settled(host.boot_id(), begun_s),
        "init": read_or(host, "/proc/1/comm"),
        "restart_required": any(host.exists(path) for path in _RESTART_WANTED),
    }


_first_seen: dict[str, int] = {}


def _settled(boot_id: str, begun_s: int) -> int:
    """The first estimate for a boot, as long as the newest is near it; a clock that was set gives a new one."""
    kept = _first_seen.get(boot_id)
    if kept is not None and abs(kept - begun_s) <= _STEP_S:
        return kept
    _first_seen.clear()
    _first_seen[boot_id] = begun_s
    return begun_s


FACT = Fact(name="boot", summary="Boot id, begin of the boot, restart required", collect=_collect)
