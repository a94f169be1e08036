"""One file exists and was written lately: stamps of jobs, backups, caches."""

from __future__ import annotations

import stat
from collections.abc import Iterable

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._source import human_seconds, why

# A file from the future would look fresh for a long time; clocks of one machine do not differ by more.
_FUTURE_S_MAX = 300.0


def _run(context: Context) -> Iterable[Result]:
    path: str = context.params["path"]
    if not path.startswith("/"):
        raise CheckUnknown(f"cannot watch {path!r}: it must be an absolute path")
    finding: dict[str, Scalar] = {"path": path, "exists": True}
    if context.params["unit"]:
        finding["unit"] = context.params["unit"]
    try:
        found = context.host.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return [Result(Status.CRIT, f"{path} does not exist", finding=finding | {"exists": False})]
    except OSError as error:
        raise CheckUnknown(f"cannot look at {path}: {why(error)}") from error
    age_s = context.host.wall_ms() / 1000 - found.st_mtime
    status, words = judge(age_s, context.params["max_age"] / 1000)
    finding["age_seconds"] = max(0, round(age_s))
    gauges = {"file_age_seconds": round(max(0.0, age_s), 3)}
    if stat.S_ISREG(found.st_mode):
        finding["size_bytes"] = found.st_size
        gauges["file_size_bytes"] = float(found.st_size)
    return [Result(status, f"{path} {words}", finding=finding, gauges=gauges)]


def judge(age_s: float, age_s_max: float) -> tuple[Status, str]:
    """Whether a file of that age is fresh."""
    if age_s < -_FUTURE_S_MAX:
        return Status.WARN, f"was written {human_seconds(-age_s)} in the future; the clock or the file is wrong"
    words = f"was written {human_seconds(max(0.0, age_s))} ago"
    return (Status.OK, words) if age_s <= age_s_max else (Status.CRIT, f"{words}, the limit is {human_seconds(age_s_max)}")


CHECK = Check(
    name="file_age",
    summary="A file exists and was written lately",
    run=_run,
    params=(
        Param("path", Kind.TEXT, "absolute path of a file or folder", required=True),
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
