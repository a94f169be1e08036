"""The clock is kept right, and is not far off. In a container the clock is the host's, and only a chronyd in it counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._source import human_seconds

if TYPE_CHECKING:
    from ..host import Host, UnitState

_TOOL_S = 4.0
# After a boot it takes a while until the first servers have answered.
_BOOT_GRACE_MS = 900_000
_SERVICES = ("chrony.service", "chronyd.service", "systemd-timesyncd.service", "ntpsec.service", "ntp.service", "ntpd.service")
_SYSTEM_TIME = re.compile(r"^System time\s*:\s*([0-9.]+) seconds (slow|fast)", re.MULTILINE)
_LEAP = re.compile(r"^Leap status\s*:\s*(.+)$", re.MULTILINE)
_CONTAINER_MARKS = ("/run/systemd/container", "/.dockerenv", "/run/.containerenv")


@dataclass(frozen=True, slots=True)
class _Told:
    """What one source says: is the clock kept right, and how far off is it (None: it does not say)."""

    source: str
    synchronised: bool
    offset_s: float | None = None


def _run(context: Context) -> Iterable[Result]:
    told = _chrony(context.host) or _not_in_a_container(context.host)
    if told is None:
        return [Result(Status.OK, "the clock is that of the host of this container", finding=_finding("host", True, 0, ""))]
    service = _service(context)
    offset_ms = round(abs(told.offset_s or 0) * 1000)
    status, text = _judged(context, told, service, offset_ms)
    finding = _finding(told.source, told.synchronised, offset_ms, service)
    gauges = {"clock_offset_seconds": told.offset_s} if told.offset_s is not None else {}
    return [Result(status, text, finding=finding, gauges=gauges)]


def _finding(source: str, synchronised: bool, offset_ms: int, service: str) -> dict[str, Scalar]:
    facts: dict[str, Scalar] = {"source": source, "synchronised": synchronised, "offset_ms": offset_ms}
    return facts | ({"unit": service} if service else {})


def _judged(context: Context, told: _Told, service: str, offset_ms: int) -> tuple[Status, str]:
    off = f"the clock is {human_seconds(offset_ms / 1000)} off"
    if offset_ms >= context.params["crit_offset"]:
        return Status.CRIT, f"{off}, the limit is {human_seconds(context.params['crit_offset'] / 1000)}"
    if not told.synchronised and not service and told.source != "chronyc":
        return Status.WARN, "nothing keeps the clock right: no time service runs"
    if not told.synchronised:
        young = context.host.clock_ms() < _BOOT_GRACE_MS
        return Status.WARN if young else Status.CRIT, f"the clock is not synchronised{f' by {service}' if service else ''}"
    if offset_ms >= context.params["warn_offset"]:
        return Status.WARN, off
    return Status.OK, f"{off}, kept by {service or told.source}" if told.offset_s is not None else "the clock is synchronised"


def _chrony(host: Host) -> _Told | None:
    """What chronyd says; None when there is none that answers."""
    try:
        finished = host.run(("chronyc", "-n", "tracking"), _TOOL_S)
    except OSError:
        return None
    leap, off = _LEAP.search(finished.stdout), _SYSTEM_TIME.search(finished.stdout)
    if finished.exit_code or leap is None:
        return None
    offset_s = (float(off[1]) if off[2] == "fast" else -float(off[1])) if off else None
    return _Told("chronyc", leap[1].strip().lower() not in {"not synchronised", "not synchronized"}, offset_s)


def _not_in_a_container(host: Host) -> _Told | None:
    """What systemd knows of the kernel's clock; None in a container. Raises CheckUnknown."""
    if any(host.exists(mark) for mark in _CONTAINER_MARKS):
        return None
    try:
        finished = host.run(("timedatectl", "show", "--property=NTPSynchronized"), _TOOL_S)
    except OSError as error:
        raise CheckUnknown("cannot tell whether the clock is synchronised: neither chronyc nor timedatectl is there") from error
    name, _, value = finished.stdout.strip().partition("=")
    if finished.exit_code or name != "NTPSynchronized":
        last = finished.stderr.strip().rpartition("\n")[2] or f"timedatectl ends with {finished.exit_code}"
        raise CheckUnknown(f"cannot tell whether the clock is synchronised: {last}")
    return _Told("timedatectl", value == "yes")


def _service(context: Context) -> str:
    """The time service of this host: the one that was named, else the one that runs; empty without one."""
    if context.params["unit"]:
        return str(context.params["unit"])
    try:
        units: Mapping[str, UnitState] = context.host.units()
    except CheckUnknown:
        return ""
    return next((name for name in _SERVICES if name in units and units[name].active in {"active", "activating"}), "")


CHECK = Check(
    name="time_sync",
    summary="The clock is kept right and is not far off",
    run=_run,
    params=(
        Param("warn_offset", Kind.DURATION, "WARN when the clock is this far off", default=500),
        Param("crit_offset", Kind.DURATION, "CRIT when the clock is this far off", default=10_000),
        Param("unit", Kind.TEXT, "the time service, for the finding; empty: the one that runs", default=""),
    ),
    finding=(
        Field("source", Kind.TEXT, "who says so: chronyc, timedatectl; host in a container"),
        Field("synchronised", Kind.FLAG, "the clock is kept right"),
        Field("offset_ms", Kind.INTEGER, "how far off it is, as far as the source says"),
        Field("unit", Kind.TEXT, "the time service that runs, if one does"),
    ),
    gauges=(Gauge("clock_offset_seconds", "how far the clock is ahead, if the source says so"),),
    blocking=True,
    every_s=300.0,
    timeout_s=10.0,
)
