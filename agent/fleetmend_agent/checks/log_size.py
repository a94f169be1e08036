"""A live log stays below its size: rotation works, and nothing writes without end."""

from __future__ import annotations

import stat
from collections.abc import Iterable

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._source import human_bytes, why


def _run(context: Context) -> Iterable[Result]:
    path: str = context.params["path"]
    if not path.startswith("/"):
        raise CheckUnknown(f"cannot watch {path!r}: it must be an absolute path")
    limit: int = context.params["max_size"]
    facts: dict[str, Scalar] = {"path": path, "max_bytes": limit, "rotated_by": context.params["rotated_by"]}
    try:
        found = context.host.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        # Nothing was logged yet, or it was just rotated.
        return [Result(Status.OK, f"{path} does not exist", finding=facts | {"size_bytes": 0})]
    except OSError as error:
        raise CheckUnknown(f"cannot look at {path}: {why(error)}") from error
    if not stat.S_ISREG(found.st_mode):
        raise CheckUnknown(f"cannot judge {path}: it is not a file")
    facts["size_bytes"] = found.st_size
    text = f"{path} holds {human_bytes(found.st_size)}"
    gauges = {"log_size_bytes": float(found.st_size)}
    if found.st_size <= limit:
        return [Result(Status.OK, text, finding=facts, gauges=gauges)]
    return [Result(Status.CRIT, f"{text}, the limit is {human_bytes(limit)}", finding=facts, gauges=gauges)]


CHECK = Check(
    name="log_size",
    summary="A live log stays below its size",
    run=_run,
    params=(
        Param("path", Kind.TEXT, "absolute path of the log", required=True),
        Param("max_size", Kind.SIZE, "CRIT above this size", required=True, minimum=1),
        Param("rotated_by", Kind.TEXT, "systemd unit that rotates it, for the finding", default=""),
    ),
    finding=(
        Field("path", Kind.TEXT, "the log"),
        Field("size_bytes", Kind.INTEGER, "its size"),
        Field("max_bytes", Kind.INTEGER, "the limit"),
        Field("rotated_by", Kind.TEXT, "the unit that rotates it, if one was named"),
    ),
    gauges=(Gauge("log_size_bytes", "size of the log"),),
    blocking=True,
    every_s=5.0,
)
