"""Disks that fail slowly: each operation takes long and the queue never empties, although little is asked of them.

A disk that is merely busy completes many operations or moves much data; that is load, and not this check's fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._rates import Change, Counters, since
from ._source import above, human_bytes, read

FILE = "/proc/diskstats"
# Whole disks. Partitions, loops, RAM and what is stacked on disks would tell the same again, or nothing.
_DISK = re.compile(r"(?:sd|vd|xvd|hd|dasd)[a-z]{1,3}|nvme\d+(?:c\d+)?n\d+|mmcblk\d+|nbd\d+|rbd\d+")
_LINE = re.compile(r"^ *[0-9]{1,6} +[0-9]{1,7} (\S{1,64}) ((?:[0-9]{1,20} ){10,19}[0-9]{1,20}) *$", re.MULTILINE)
_COLUMNS = {"reads": 0, "sectors_read": 2, "read_ms": 3, "writes": 4, "sectors_written": 6, "write_ms": 7, "busy_ms": 9}
_SECTOR_BYTES = 512


def parse_diskstats(text: str) -> dict[str, dict[str, int]]:
    """The counters of each whole disk."""
    found = {}
    for name, numbers in _LINE.findall(text):
        if _DISK.fullmatch(name):
            values = numbers.split()
            found[name] = {column: int(values[at]) for column, at in _COLUMNS.items()}
    return found


def _run(context: Context) -> Iterable[Result]:
    text = read(context.host, FILE)
    if text.strip() and _LINE.search(text) is None:
        raise CheckUnknown(f"cannot understand {FILE}")

    def take() -> Counters:
        return parse_diskstats(read(context.host, FILE))

    if not parse_diskstats(text):
        return [Result(Status.OK, "no disks")]
    changes = since(context, take, context.params["window"] / 1000)
    return [_judge(context, disk, change) for disk, change in sorted(changes.items())]


def _judge(context: Context, disk: str, change: Change) -> Result:
    params, seconds, grown = context.params, change.seconds, change.grown
    operations = grown["reads"] + grown["writes"]
    wait_ms = (grown["read_ms"] + grown["write_ms"]) / operations if operations else 0.0
    busy_percent = min(100.0, grown["busy_ms"] / 10 / seconds)
    throughput = (grown["sectors_read"] + grown["sectors_written"]) * _SECTOR_BYTES / seconds
    per_second = operations / seconds
    status = above(wait_ms, params["warn_ms"], params["crit_ms"])
    loaded = per_second >= params["load_operations"] or throughput >= params["load_bytes"]
    if busy_percent < params["busy_percent"] or loaded:
        status = Status.OK
    finding: dict[str, Scalar] = {
        "device": disk,
        "wait_ms": round(wait_ms, 1),
        "busy_percent": round(busy_percent, 1),
        "operations_per_second": round(per_second, 1),
        "bytes_per_second": int(throughput),
    }
    gauges = {
        "disk_wait_seconds": round(wait_ms / 1000, 6),
        "disk_busy_ratio": round(busy_percent / 100, 4),
        "disk_operations_per_second_value": round(per_second, 2),
        "disk_throughput_per_second_bytes": round(throughput, 1),
    }
    text = f"{disk}: {wait_ms:.0f} ms an operation, busy {busy_percent:.0f} % of the time"
    text += f" with {per_second:.0f} operations and {human_bytes(throughput)} a second"
    return Result(status, text, disk, finding, gauges)


CHECK = Check(
    name="disk_latency",
    summary="Disks that take long for each operation although little is asked of them",
    run=_run,
    params=(
        Param("warn_ms", Kind.NUMBER, "WARN when an operation takes so many milliseconds", default=60.0, minimum=0),
        Param("crit_ms", Kind.NUMBER, "CRIT when an operation takes so many milliseconds", default=100.0, minimum=0),
        Param(
            "busy_percent", Kind.NUMBER, "only disks that are busy this share of the time", default=90.0, minimum=0, maximum=100
        ),
        Param(
            "load_operations",
            Kind.NUMBER,
            "a disk that completes so many operations a second is loaded, not slow",
            default=150.0,
        ),
        Param("load_bytes", Kind.SIZE, "a disk that moves so much a second is loaded, not slow", default=20 * 1024 * 1024),
        Param("window", Kind.DURATION, "over which time the means are taken", default=30_000, minimum=1000),
    ),
    finding=(
        Field("device", Kind.TEXT, "the disk's name"),
        Field("wait_ms", Kind.NUMBER, "mean time of one operation, with its wait in the queue"),
        Field("busy_percent", Kind.NUMBER, "share of the time in which the disk had something to do"),
        Field("operations_per_second", Kind.NUMBER, "reads and writes completed, a second"),
        Field("bytes_per_second", Kind.INTEGER, "data read and written, a second"),
    ),
    gauges=(
        Gauge("disk_wait_seconds", "mean time of one operation, with its wait in the queue"),
        Gauge("disk_busy_ratio", "share of the time in which the disk had something to do, 0 to 1"),
        Gauge("disk_operations_per_second_value", "reads and writes completed, a second"),
        Gauge("disk_throughput_per_second_bytes", "data read and written, a second"),
    ),
    blocking=True,
)
