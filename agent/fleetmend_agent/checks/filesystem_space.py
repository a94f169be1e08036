"""How full filesystems are, by the count of df: what ordinary users can still take."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, Context, Field, Gauge, Kind, Param, Result, Status
from ._filesystems import DISPOSABLE, DISPOSABLE_FIELD, FIELDS, IGNORE, MOUNT, UNIT, Usage, each, finding
from ._source import above, human_bytes

if TYPE_CHECKING:
    from ..host import Mount


def _run(context: Context) -> Iterable[Result]:
    return list(each(context, _judge))


def usage(numbers: os.statvfs_result) -> Usage:
    """Bytes, without the blocks that only root may take."""
    free = numbers.f_bavail * numbers.f_frsize
    return Usage((numbers.f_blocks - numbers.f_bfree) * numbers.f_frsize + free, free)


def _judge(context: Context, mount: Mount, numbers: os.statvfs_result) -> Result:
    params = context.params
    used = usage(numbers)
    facts = finding(context, mount)
    if numbers.f_blocks <= 0:
        return Result(Status.UNKNOWN, f"cannot judge {mount.mount_point}: it tells no size", mount.mount_point, facts)
    percent = 100 * used.used_ratio
    enough = 0 < params["enough_free"] <= used.free
    status = Status.OK if enough else above(percent, params["warn_percent"], params["crit_percent"])
    facts |= {"used_percent": round(percent, 1), "free_bytes": int(used.free), "size_bytes": int(used.total)}
    facts["disposable"] = params["disposable"]
    facts["target_percent"] = max(1, math.ceil(params["warn_percent"]) - 1)
    gauges = {
        "filesystem_used_ratio": round(used.used_ratio, 4),
        "filesystem_free_bytes": used.free,
        "filesystem_size_bytes": used.total,
    }
    text = f"{mount.mount_point} is {percent:.1f} % full, {human_bytes(used.free)} free"
    return Result(status, text, mount.mount_point, facts, gauges)


CHECK = Check(
    name="filesystem_space",
    summary="How full filesystems are",
    run=_run,
    params=(
        MOUNT,
        Param("warn_percent", Kind.NUMBER, "WARN from this use on", default=85.0, minimum=0, maximum=100),
        Param("crit_percent", Kind.NUMBER, "CRIT from this use on", default=92.0, minimum=0, maximum=100),
        Param("enough_free", Kind.SIZE, "OK with this much free, whatever the percentage; 0: never", default=0),
        IGNORE,
        UNIT,
        DISPOSABLE,
    ),
    finding=(
        *FIELDS,
        Field("used_percent", Kind.NUMBER, "used share of what ordinary users may use, 0 to 100"),
        Field("free_bytes", Kind.INTEGER, "what ordinary users can still take"),
        Field("size_bytes", Kind.INTEGER, "used and free together, without reserves"),
        Field("target_percent", Kind.INTEGER, "use that a clean-up must reach, so that the check says OK again"),
        DISPOSABLE_FIELD,
    ),
    gauges=(
        Gauge("filesystem_used_ratio", "used share of what ordinary users may use, 0 to 1"),
        Gauge("filesystem_free_bytes", "what ordinary users can still take"),
        Gauge("filesystem_size_bytes", "used and free together, without reserves"),
    ),
    blocking=True,
)
