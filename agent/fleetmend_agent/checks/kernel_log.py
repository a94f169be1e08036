"""What the kernel says of its own faults, and those of disks, filesystems, memory and network cards.

A record is an event and no state: the subject is bad until none came for a while, and then well again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from . import Check, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._kernel_log import Told, kernel_log, newest
from ._source import human_seconds

_SUBJECTS_MAX = 64
_OTHERS = "others"
# The killing of processes is a check of its own.
_ELSEWHERE = frozenset({"oom_kill"})


async def _run(context: Context) -> Iterable[Result]:
    await kernel_log(context.host).journal.settled()
    return list(_results(context))


def _results(context: Context) -> Iterator[Result]:
    hold_ms, ignored = context.params["hold"], tuple(filter(None, context.params["ignore"]))
    told = [each for each in kernel_log(context.host).faults(hold_ms) if not any(part in each.text for part in ignored)]
    counts = newest(each for each in told if each.fault.pattern.kind not in _ELSEWHERE)
    yield Result(
        Status.OK,
        f"{sum(map(len, counts.values()))} records of faults within {human_seconds(hold_ms / 1000)}",
        gauges={"kernel_faults_value": float(sum(map(len, counts.values())))},
    )
    results: dict[str, Result] = {}
    for (kind, device), records in counts.items():
        key = f"{kind} {device}".strip()
        if len(results) >= _SUBJECTS_MAX and key not in results:
            key = f"{kind} {_OTHERS}"
        results[key] = _judge(context, key, kind, device, records)
    yield from results.values()
    for key in context.known:
        if key and key not in results:
            yield Result(Status.OK, f"{key}: no record for {human_seconds(hold_ms / 1000)}", key)


def _judge(context: Context, key: str, kind: str, device: str, records: list[Told]) -> Result:
    last, pattern = records[-1], records[-1].fault.pattern
    count = len(records)
    status = Status.CRIT if count >= pattern.crit_from else Status.WARN
    finding: dict[str, Scalar] = {
        "kind": kind,
        "device": device,
        "count": count,
        "level": last.level,
        "record": last.text,
        "age_seconds": max(0, context.host.clock_ms() - last.at_ms) // 1000,
    }
    on = f" ({device})" if device else ""
    times = f", {count} times" if count > 1 else ""
    return Result(status, f"{pattern.what}{on}{times}: {last.text}", key, finding)


CHECK = Check(
    name="kernel_log",
    summary="Faults that the kernel reports: hung tasks, bugs, filesystem, disk, memory and network errors",
    run=_run,
    params=(
        Param("hold", Kind.DURATION, "a fault counts until so long after its last record", default=600_000, minimum=1000),
        Param("ignore", Kind.TEXT_LIST, "records that contain one of these texts do not count", default=[]),
    ),
    finding=(
        Field(
            "kind",
            Kind.TEXT,
            "soft_lockup, hung_task, kernel_bug, memory_uncorrected, hardware_corrected, hardware_error, mounted_readonly,"
            " filesystem_error, disk_error, network_timeout, network_stuck, network_reset, table_full, server_silent,"
            " thermal or"
            " allocation_failed",
        ),
        Field("device", Kind.TEXT, "the disk, filesystem, CPU, card or task that the record names"),
        Field("count", Kind.INTEGER, "how many such records came within the time"),
        Field("level", Kind.INTEGER, "severity that the kernel gave the last one, 0 (emergency) to 7"),
        Field("record", Kind.TEXT, "the last record"),
        Field("age_seconds", Kind.INTEGER, "how long ago it came"),
    ),
    gauges=(Gauge("kernel_faults_value", "records of faults within the time"),),
    signal="kmsg",
    every_s=15.0,
)
