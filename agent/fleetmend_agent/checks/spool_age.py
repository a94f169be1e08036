"""A spool is being emptied: its oldest entry is not older than its consumer may let it get."""

from __future__ import annotations

from collections.abc import Iterable

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._source import human_seconds, why

# One more entry than this says nothing new: a spool so full has old ones among those that come first.
ENTRIES_MAX = 2000


def _run(context: Context) -> Iterable[Result]:
    path: str = context.params["path"]
    if not path.startswith("/"):
        raise CheckUnknown(f"cannot watch {path!r}: it must be an absolute path")
    facts: dict[str, Scalar] = {"path": path}
    if context.params["consumer"]:
        facts["unit"] = context.params["consumer"]
    try:
        names = context.host.listdir(path)
    except OSError as error:
        raise CheckUnknown(f"cannot list {path}: {why(error)}") from error
    # A dot before the name is how programs hide what is not complete.
    names = [name for name in names if not name.startswith(".")]
    oldest_s = _oldest_s(context, path, names[:ENTRIES_MAX])
    facts |= {"entries": len(names), "oldest_seconds": round(oldest_s)}
    gauges = {"spool_entries_value": float(len(names)), "spool_oldest_seconds": round(oldest_s, 3)}
    limit_s = context.params["max_age"] / 1000
    text = f"{path} has {len(names)} entries" + (f", the oldest {human_seconds(oldest_s)} old" if names else "")
    if oldest_s <= limit_s:
        return [Result(Status.OK, text, finding=facts, gauges=gauges)]
    return [Result(Status.CRIT, f"{text}, the limit is {human_seconds(limit_s)}", finding=facts, gauges=gauges)]


def _oldest_s(context: Context, path: str, names: Iterable[str]) -> float:
    """By the change of the entry itself: a file that was moved in with an old time has just come."""
    now_s = context.host.wall_ms() / 1000
    oldest_s = 0.0
    for name in names:
        try:
            found = context.host.lstat(f"{path}/{name}")
        except OSError:
            continue  # taken meanwhile
        oldest_s = max(oldest_s, now_s - max(found.st_mtime, found.st_ctime))
    return oldest_s


CHECK = Check(
    name="spool_age",
    summary="A spool is being emptied by its consumer",
    run=_run,
    params=(
        Param("path", Kind.TEXT, "absolute path of the folder", required=True),
        Param("max_age", Kind.DURATION, "CRIT when an entry waits longer", required=True),
        Param("consumer", Kind.TEXT, "systemd unit that empties it, for the finding", default=""),
    ),
    finding=(
        Field("path", Kind.TEXT, "the folder"),
        Field("unit", Kind.TEXT, "the unit that empties it, if one was named"),
        Field("entries", Kind.INTEGER, "entries that wait"),
        Field("oldest_seconds", Kind.INTEGER, "how long the oldest of them waits"),
    ),
    gauges=(
        Gauge("spool_entries_value", "entries that wait"),
        Gauge("spool_oldest_seconds", "how long the oldest entry waits"),
    ),
    blocking=True,
    every_s=5.0,
)
