"""One file exists and was written lately: stamps of jobs, backups, caches. With * in its name, the newest of several.

While the job that writes it runs, an old file is not yet a fault: how long a job may run is job_runtime's question.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._source import human_seconds, why
from .job_runtime import is_running
from .unit_active import full_name

if TYPE_CHECKING:
    import os

    from ..host import Host

# How much older than allowed a file may become while its job runs, in its allowed ages.
_PATIENCE = 2
# A file from the future would look fresh for a long time; clocks of one machine do not differ by more.
_FUTURE_S_MAX = 300.0
_FILES_MAX = 10_000


def _run(context: Context) -> Iterable[Result]:
    pattern: str = context.params["path"]
    if not pattern.startswith("/"):
        raise CheckUnknown(f"cannot watch {pattern!r}: it must be an absolute path")
    finding: dict[str, Scalar] = {"path": pattern, "exists": True}
    if context.params["unit"]:
        finding["unit"] = context.params["unit"]
    try:
        path, found = _newest(context.host, pattern)
    except (FileNotFoundError, NotADirectoryError):
        return [_judged(context, Status.CRIT, f"{pattern} does not exist", finding | {"exists": False}, {})]
    except OSError as error:
        raise CheckUnknown(f"cannot look at {pattern}: {why(error)}") from error
    age_s = context.host.wall_ms() / 1000 - found.st_mtime
    status, words = judge(age_s, context.params["max_age"] / 1000)
    finding["age_seconds"] = max(0, round(age_s))
    gauges = {"file_age_seconds": round(max(0.0, age_s), 3)}
    if stat.S_ISREG(found.st_mode):
        finding["size_bytes"] = found.st_size
        gauges["file_size_bytes"] = float(found.st_size)
    return [_judged(context, status, f"{path} {words}", finding, gauges)]


def _newest(host: Host, pattern: str) -> tuple[str, os.stat_result]:
    """The file, or the newest of those that match. Raises OSError."""
    folder, _, wild = pattern.rpartition("/")
    if not any(c in wild for c in "*?["):
        return pattern, host.stat(pattern)
    names = [name for name in host.listdir(folder or "/") if fnmatchcase(name, wild)]
    if len(names) > _FILES_MAX:
        raise CheckUnknown(f"cannot look at {pattern}: more than {_FILES_MAX} files match")
    there: list[tuple[str, os.stat_result]] = []
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # What is old may be deleted meanwhile.
            there.append((f"{folder}/{name}", host.stat(f"{folder}/{name}")))
    if not there:
        raise FileNotFoundError(pattern)
    return max(there, key=lambda pair: pair[1].st_mtime)


def judge(age_s: float, age_s_max: float) -> tuple[Status, str]:
    """Whether a file of that age is fresh."""
    if age_s < -_FUTURE_S_MAX:
        return Status.WARN, f"was written {human_seconds(-age_s)} in the future; the clock or the file is wrong"
    words = f"was written {human_seconds(max(0.0, age_s))} ago"
    return (Status.OK, words) if age_s <= age_s_max else (Status.CRIT, f"{words}, the limit is {human_seconds(age_s_max)}")


def _judged(context: Context, status: Status, text: str, finding: dict[str, Scalar], gauges: dict[str, float]) -> Result:
    """Whoever was not bad before the job began is not bad while it runs, for a while."""
    before = context.known.get("", Status.OK)
    age_ms = int(finding.get("age_seconds", 0)) * 1000
    patient = before is not Status.CRIT and age_ms <= _PATIENCE * context.params["max_age"]
    if status is Status.CRIT and patient and context.params["unit"] and _runs(context):
        return Result(Status.WARN, f"{text}; {context.params['unit']} runs now", finding=finding, gauges=gauges)
    return Result(status, text, finding=finding, gauges=gauges)


def _runs(context: Context) -> bool:
    try:
        unit = context.host.units().get(full_name(context.params["unit"]))
    except CheckUnknown:
        return False
    return unit is not None and unit.name.endswith(".service") and unit.active != "active" and is_running(unit)


CHECK = Check(
    name="file_age",
    summary="A file exists and was written lately",
    run=_run,
    params=(
        Param(
            "path",
            Kind.TEXT,
            "absolute path of a file or folder; with * or ? in its last part, the newest counts",
            required=True,
        ),
        Param("max_age", Kind.DURATION, "CRIT when it was written longer ago", required=True),
        Param("unit", Kind.TEXT, "systemd unit that writes it, for the finding", default=""),
    ),
    finding=(
        Field("path", Kind.TEXT, "the path"),
        Field("exists", Kind.FLAG, "something is there"),
        Field("age_seconds", Kind.INTEGER, "time since it was written, if it exists"),
        Field("size_bytes", Kind.INTEGER, "size, if it is a file"),
        Field("unit", Kind.TEXT, "the unit that writes it, if one was named"),
    ),
    gauges=(
        Gauge("file_age_seconds", "time since it was written"),
        Gauge("file_size_bytes", "size, if it is a file"),
    ),
    blocking=True,
    signal="inotify",
    every_s=60.0,
)
