"""How many files the whole machine holds open, against the kernel's limit."""

from __future__ import annotations

import re
from collections.abc import Iterable

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result
from ._source import above, read

FILE = "/proc/sys/fs/file-nr"
_LINE = re.compile(r"(\d{1,19})\s+(\d{1,19})\s+(\d{1,19})\s*")


def _run(context: Context) -> Iterable[Result]:
    found = _LINE.fullmatch(read(context.host, FILE))
    if found is None or int(found[3]) == 0:
        raise CheckUnknown(f"cannot understand {FILE}")
    used, limit = max(0, int(found[1]) - int(found[2])), int(found[3])
    percent = 100 * used / limit
    status = above(percent, context.params["warn_percent"], context.params["crit_percent"])
    finding = {"used": used, "limit": min(limit, 2**63 - 1), "used_percent": round(percent, 1)}
    gauges = {"file_handles_value": float(used), "file_handles_used_ratio": round(used / limit, 4)}
    return [
        Result(status, f"{used} files are open, {percent:.1f} % of the kernel's limit", finding=dict(finding), gauges=gauges)
    ]


CHECK = Check(
    name="file_handles",
    summary="Open files of the whole machine, against the kernel's limit",
    run=_run,
    params=(
        Param("warn_percent", Kind.NUMBER, "WARN from this share of the limit on", default=70.0, minimum=0, maximum=100),
        Param("crit_percent", Kind.NUMBER, "CRIT from this share of the limit on", default=85.0, minimum=0, maximum=100),
    ),
    finding=(
        Field("used", Kind.INTEGER, "files that are open"),
        Field("limit", Kind.INTEGER, "how many the kernel allows (fs.file-max)"),
        Field("used_percent", Kind.NUMBER, "share of the limit, 0 to 100"),
    ),
    gauges=(
        Gauge("file_handles_value", "files that are open"),
        Gauge("file_handles_used_ratio", "share of the kernel's limit, 0 to 1"),
    ),
)
