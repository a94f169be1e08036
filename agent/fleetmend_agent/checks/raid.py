"""Linux software RAID: arrays that lost a disk, cannot start, or are not whole again yet."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Result, Scalar, Status
from ._source import read

FILE = "/proc/mdstat"
_ARRAY = re.compile(r"^(md\S{0,60}) : (active|inactive)(?: \((auto-read-only|read-only)\))? ?(.*)$")
_SHAPE = re.compile(r"\[(\d{1,4})/(\d{1,4})\] \[[U_]+\]")
_PROGRESS = re.compile(r"(resync|recovery|reshape|check|repair)\s*=\s*(DELAYED|PENDING|\d{1,3}(?:\.\d+)?%)")
_MEMBER = re.compile(r"^(\S{1,64})\[\d{1,4}\]((?:\([A-Z]\))*)$")


@dataclass(slots=True)
class Array:
    """One array. `wanted` and `present` are 0 for levels that know no loss."""

    name: str
    active: bool
    level: str
    failed: list[str]
    wanted: int = 0
    present: int = 0
    work: str = ""
    progress: str = ""


def parse_mdstat(text: str) -> list[Array]:
    """Every array."""
    arrays: list[Array] = []
    for line in text.splitlines():
        head = _ARRAY.match(line)
        if head is not None:
            words = head[4].split()
            members = [found for word in words if (found := _MEMBER.match(word))]
            level = next((word for word in words if _MEMBER.match(word) is None), "")
            failed = [member[1] for member in members if "(F)" in member[2]]
            arrays.append(Array(head[1], head[2] == "active", level, failed))
        elif arrays and line.startswith(" "):
            _detail(arrays[-1], line)
    return arrays


def _detail(array: Array, line: str) -> None:
    shape, progress = _SHAPE.search(line), _PROGRESS.search(line)
    if shape is not None:
        array.wanted, array.present = int(shape[1]), int(shape[2])
    if progress is not None:
        array.work, array.progress = progress[1], progress[2]


def _run(context: Context) -> Iterable[Result]:
    if not context.host.exists(FILE):
        return [Result(Status.OK, "no software RAID")]
    text = read(context.host, FILE)
    if "Personalities" not in text:
        raise CheckUnknown(f"cannot understand {FILE}")
    arrays = parse_mdstat(text)
    return [Result(Status.OK, f"{len(arrays)} arrays"), *map(_judge, arrays)]


def _judge(array: Array) -> Result:
    missing = max(0, array.wanted - array.present)
    bad = missing > 0 or bool(array.failed) or not array.active
    # Arrays are read through for errors every month: that is care, and no fault.
    status = Status.CRIT if bad else Status.WARN if array.work in {"resync", "recovery"} else Status.OK
    finding: dict[str, Scalar] = {
        "array": array.name,
        "level": array.level,
        "active": array.active,
        "missing": missing,
        "failed": ", ".join(array.failed),
        "work": f"{array.work} {array.progress}".strip(),
    }
    words = [f"{missing} of {array.wanted} disks missing"] if missing else []
    words += [f"failed: {finding['failed']}"] if array.failed else []
    words += [] if array.active else ["not running"]
    words += [str(finding["work"])] if array.work else []
    gauges = {"raid_missing_devices": float(missing)}
    return Result(
        status, f"{array.name} ({array.level or 'no level'}): {', '.join(words) or 'whole'}", array.name, finding, gauges
    )


CHECK = Check(
    name="raid",
    summary="Software RAID arrays that lost a disk or do not run",
    run=_run,
    finding=(
        Field("array", Kind.TEXT, "the array"),
        Field("level", Kind.TEXT, "raid1, raid5 ..."),
        Field("active", Kind.FLAG, "it runs"),
        Field("missing", Kind.INTEGER, "disks that it lacks"),
        Field("failed", Kind.TEXT, "disks that it has thrown out"),
        Field("work", Kind.TEXT, "what it is doing, and how far it is"),
    ),
    gauges=(Gauge("raid_missing_devices", "disks that the array lacks"),),
    every_s=30.0,
)
