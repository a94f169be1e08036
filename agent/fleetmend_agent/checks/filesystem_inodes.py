"""How many inodes filesystems have left. Those without a fixed number (btrfs, vfat) cannot run out."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, Context, Field, Gauge, Kind, Param, Result, Status
from ._filesystems import DISPOSABLE, DISPOSABLE_FIELD, FIELDS, IGNORE, MOUNT, UNIT, Usage, each, finding
from ._source import above

if TYPE_CHECKING:
    from ..host import Mount


def _run(context: Context) -> Iterable[Result]:
    return list(each(context, _judge))


def _judge(context: Context, mount: Mount, numbers: os.statvfs_result) -> Result:
    facts = finding(context, mount)
    if numbers.f_files <= 0:
        return Result(Status.OK, f"{mount.mount_point} has no limit of inodes", mount.mount_point, facts)
    used = Usage(numbers.f_files - numbers.f_ffree + numbers.f_favail, numbers.f_favail)
    percent = 100 * used.used_ratio
    status = above(percent, context.params["warn_percent"], context.params["crit_percent"])
    facts |= {"used_percent": round(percent, 1), "free_inodes": int(used.free), "disposable": context.params["disposable"]}
    facts["target_percent"] = max(1, math.ceil(context.params["warn_percent"]) - 1)
    gauges = {"filesystem_inodes_used_ratio": round(used.used_ratio, 4), "filesystem_free_inodes": used.free}
    text = f"{mount.mount_point} has used {percent:.1f} % of its inodes, {int(used.free)} are free"
    return Result(status, text, mount.mount_point, facts, gauges)


CHECK = Check(
    name="filesystem_inodes",
    summary="How many inodes filesystems have left",
    run=_run,
    params=(
        MOUNT,
        Param("warn_percent", Kind.NUMBER, "WARN from this use on", default=85.0, minimum=0, maximum=100),
        Param("crit_percent", Kind.NUMBER, "CRIT from this use on", default=95.0, minimum=0, maximum=100),
        IGNORE,
        UNIT,
        DISPOSABLE,
    ),
    finding=(
        *FIELDS,
        Field("used_percent", Kind.NUMBER, "used share of the inodes, 0 to 100"),
        Field("free_inodes", Kind.INTEGER, "inodes that ordinary users can still take"),
        Field("target_percent", Kind.INTEGER, "use that a clean-up must reach, so that the check says OK again"),
        DISPOSABLE_FIELD,
    ),
    gauges=(
        Gauge("filesystem_inodes_used_ratio", "used share of the inodes, 0 to 1"),
        Gauge("filesystem_free_inodes", "inodes that ordinary users can still take"),
    ),
    blocking=True,
    every_s=60.0,
)
