"""The machine booted, and nobody had announced it: told once for each boot, and well again when it has been up for a while."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .. import boots
from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._source import human_seconds, read, why
from ._sysfs import entries

# Told for at least so long, however long the machine was up when the agent came.
_LEAST_MS = 60_000
# The kernel tells times of processes in these, whatever its own clock does.
_TICKS_PER_S = 100
_UPTIME = re.compile(r"(\d{1,12})\.\d\d \d{1,14}\.\d\d\n?")
_BOOT_ID = re.compile(r"[0-9a-f-]{8,64} \d{1,20}")


def _run(context: Context) -> Iterable[Result]:
    host = context.host
    found = _UPTIME.fullmatch(read(host, "/proc/uptime"))
    try:
        boot_id = boots.current(host)
    except OSError as error:
        raise CheckUnknown(f"cannot read the boot id: {why(error)}") from error
    if found is None or not _BOOT_ID.fullmatch(boot_id):
        raise CheckUnknown("cannot understand /proc/uptime or the boot id")
    uptime_s, clock_ms = max(0, int(found[1]) - boots.first_process_ticks(host) // _TICKS_PER_S), host.clock_ms()
    previous = _previous(context, boot_id)
    gauges = {"uptime_seconds": float(uptime_s)}
    if not previous:
        return [Result(Status.OK, f"up for {human_seconds(uptime_s)}", gauges=gauges)]
    seen: tuple[str, int] = context.memory.setdefault("seen", (boot_id, clock_ms))
    if seen[0] != boot_id:
        seen = context.memory["seen"] = (boot_id, clock_ms)
    young = uptime_s * 1000 < context.params["settle"] or clock_ms - seen[1] < _LEAST_MS
    dumps = len(entries(host, "/sys/fs/pstore"))
    finding: dict[str, Scalar] = {
        "boot_id": boot_id,
        "previous_boot_id": previous,
        "uptime_seconds": uptime_s,
        "crash_dumps": dumps,
    }
    text = f"booted {human_seconds(uptime_s)} ago, and nobody had announced it"
    text += f"; {dumps} files in /sys/fs/pstore tell of a crash" if dumps else ""
    return [Result(Status.CRIT if young else Status.OK, text, finding=finding, gauges=gauges)]


def _previous(context: Context, boot_id: str) -> str:
    """The id of the boot that ended without a word before this one; empty if none did."""
    host = context.host
    folder = str(host.kept.get(boots.FOLDER, boots.FOLDER_DEFAULT))
    noted = boots.read(host, folder)
    if noted is None:
        return ""
    if noted.boot_id == boot_id:
        return noted.previous if noted.unexpected else ""
    # Another boot than the agent noted when it began, as a look through other roots can show it.
    return "" if boots.is_planned(host, folder, noted.boot_id) else noted.boot_id


CHECK = Check(
    name="unexpected_reboot",
    summary="The machine booted without anybody having announced it",
    run=_run,
    params=(
        Param("settle", Kind.DURATION, "well again when the machine has been up for so long", default=600_000, minimum=1000),
    ),
    finding=(
        Field("boot_id", Kind.TEXT, "the boot that runs: the kernel's id, and when process 1 began"),
        Field("previous_boot_id", Kind.TEXT, "the boot that ended without a word"),
        Field("uptime_seconds", Kind.INTEGER, "how long this one has been up"),
        Field("crash_dumps", Kind.INTEGER, "files that a crash left in /sys/fs/pstore"),
    ),
    gauges=(Gauge("uptime_seconds", "how long the machine has been up"),),
    every_s=15.0,
)
