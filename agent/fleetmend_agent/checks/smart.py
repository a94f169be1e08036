"""What disks say of their own health (SMART, NVMe), by smartctl: once in a while, since a disk does not change by the minute.

Between two askings the last answer is repeated. It is asked anew at once when the disks or the tool changed, when a person or a
proof wants to know, and more often while a disk is sick, so that its replacement is seen.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._smart import Device, Health, parse_health, parse_scan
from ._source import above, why, worst
from ._sysfs import entries

if TYPE_CHECKING:
    from ..host import Host

DEVICES_MAX = 64
_SICK_PACE_SHARE = 10
_TOOL_TIMEOUT_S = 10.0
_OUTPUT_BYTES_MAX = 1024 * 1024
_BUDGET_SHARE = 0.9
_WAY_OUT = "smartctl needs root, and the executor of this host asks it only where its policy lists collect_evidence"


def _run(context: Context) -> Iterable[Result]:
    host, memory = context.host, context.memory
    try:
        tool = host.tool("smartctl")
    except FileNotFoundError:
        return [Result(Status.OK, "no smartctl: disks are not asked for their health")]
    state = (tool, _stamp(tool), tuple(entries(host, "/sys/block")))
    pace_ms: int = context.params["pace"]
    if any(result.status is not Status.OK for result in memory.get("results", ())):
        pace_ms //= _SICK_PACE_SHARE
    known = memory.get("state") == state and host.clock_ms() - memory.get("asked_ms", 0) < pace_ms
    if not known or context.fresh:
        memory["results"] = list(_ask(context))
        memory["state"], memory["asked_ms"] = state, host.clock_ms()
    results: list[Result] = memory["results"]
    return results


def _stamp(tool: str) -> int:
    try:
        return os.stat(tool).st_mtime_ns
    except OSError:
        return 0


def _ask(context: Context) -> Iterable[Result]:
    try:
        answers = _own(context.host) if _may_open(context.host) else _by_executor(context)
    except ValueError as error:
        raise CheckUnknown(f"cannot find disks by smartctl: {error}") from error
    yield Result(Status.OK, f"{len(answers)} disks tell of their health")
    for device, answer in answers[:DEVICES_MAX]:
        yield _device(context, device, answer)


def _may_open(host: Host) -> bool:
    """Whether smartctl may open devices for this process: as root, or because it is none of the machine's own."""
    return os.geteuid() == 0 or host.look is None or host.tool("smartctl").startswith(f"{host.roots.overlay or None}/bin/")


def _own(host: Host) -> list[tuple[Device, str]]:
    """Each disk with its answer, which is empty if there is none. Raises ValueError."""
    found = []
    for device in parse_scan(_output(host, "--scan", "-j"))[:DEVICES_MAX]:
        kind = ("-d", device.kind) if device.kind else ()
        # A disk that sleeps is not woken.
        words = ("-j", "-a", device.name, *kind, "-n", "standby,0")
        found.append((device, _output(host, *words)))
    return found


def _by_executor(context: Context) -> list[tuple[Device, str]]:
    """As `_own`, by root's eyes. Raises ValueError."""
    look = context.host.look
    try:
        seen = look("disks", context.timeout_s * _BUDGET_SHARE) if look is not None else {}
        return [(Device(str(each["name"]), str(each["kind"])), str(each["text"])) for each in seen["answers"]]
    except OSError as error:
        raise ValueError(f"{error.strerror or error}; {_WAY_OUT}") from error
    except (KeyError, TypeError) as error:
        raise ValueError("what the executor saw cannot be understood") from error


def _output(host: Host, *words: str) -> str:
    """Standard output; smartctl's exit code only repeats what stands in it. Raises ValueError."""
    try:
        done = host.run(("smartctl", *words), _TOOL_TIMEOUT_S, _OUTPUT_BYTES_MAX)
    except OSError as error:
        raise ValueError(f"it does not start: {why(error)}") from error
    if done.timed_out:
        raise ValueError(f"no answer within {_TOOL_TIMEOUT_S:.0f} s")
    return done.stdout


def _device(context: Context, device: Device, answer: str) -> Result:
    try:
        health = parse_health(answer)
    except ValueError as error:
        text = f"cannot judge {device.label}: {error}"
        text += f"; {_WAY_OUT}" if "ermission" in text else ""
        return Result(Status.UNKNOWN, text, device.label, {"device": device.label})
    return judge(device, health, context.params)


def judge(device: Device, health: Health, params: Mapping[str, float]) -> Result:
    """One disk against what is good for disks."""
    complaints = [
        (Status.CRIT, "it foretells its own failure", health.passed is False),
        (Status.CRIT, health.warnings, bool(health.warnings)),
        *_limits(health, params),
    ]
    bad = [(status, words) for status, words, so in complaints if so]
    finding: dict[str, Scalar] = {
        "device": device.label,
        "serial": health.serial,
        "model": health.model,
        "protocol": health.protocol,
        "passed": health.passed is not False,
        "reason": "; ".join(words for _, words in bad),
        "reallocated": health.reallocated,
        "pending": health.pending,
        "uncorrectable": health.uncorrectable,
        "media_errors": health.media_errors,
        "used_percent": health.used_percent,
    }
    status = worst([status for status, _ in bad])
    name = f"{device.label} ({' '.join(filter(None, (health.model, health.serial))) or 'no serial'})"
    return Result(status, f"{name}: {finding['reason'] or 'healthy'}", device.label, finding, _gauges(health))


def _limits(health: Health, params: Mapping[str, float]) -> list[tuple[Status, str, bool]]:
    found = []
    for count, name, words in (
        (health.reallocated, "reallocated", "sectors were replaced"),
        (health.pending, "pending", "sectors cannot be read"),
        (health.uncorrectable, "uncorrectable", "sectors are lost"),
        (health.media_errors, "media_errors", "times data were lost"),
        (health.used_percent, "used_percent", "% of its life is used"),
    ):
        status = above(count, params[f"warn_{name}"], params[f"crit_{name}"])
        found.append((status, f"{count} {words}", status is not Status.OK))
    spare_low = 0 <= health.spare_percent < health.spare_least_percent
    return [*found, (Status.CRIT, f"only {health.spare_percent} % spare space is left", spare_low)]


def _gauges(health: Health) -> dict[str, float]:
    numbers = {
        "disk_reallocated_value": health.reallocated,
        "disk_pending_value": health.pending,
        "disk_media_errors_total": health.media_errors,
        "disk_temperature_celsius": health.temperature,
        "disk_powered_seconds": health.hours * 3600 if health.hours >= 0 else -1,
    }
    gauges = {name: float(value) for name, value in numbers.items() if value >= 0}
    return gauges if health.used_percent < 0 else {**gauges, "disk_life_used_ratio": health.used_percent / 100}


def _limit(name: str, doc: str, warn: int, crit: int) -> tuple[Param, Param]:
    return (
        Param(f"warn_{name}", Kind.INTEGER, f"WARN from {doc} on", default=warn, minimum=1),
        Param(f"crit_{name}", Kind.INTEGER, f"CRIT from {doc} on", default=crit, minimum=1),
    )


CHECK = Check(
    name="smart",
    summary="Health that disks tell of themselves (SMART, NVMe), asked by smartctl",
    run=_run,
    params=(
        Param(
            "pace",
            Kind.DURATION,
            "how often disks are asked; ten times as often while one is sick",
            default=600_000,
            minimum=1000,
        ),
        *_limit("reallocated", "so many replaced sectors", 10, 500),
        *_limit("pending", "so many sectors that cannot be read", 1, 10),
        *_limit("uncorrectable", "so many lost sectors", 1, 10),
        *_limit("media_errors", "so many data losses of an NVMe disk", 1, 10),
        *_limit("used_percent", "this share of an NVMe disk's life", 90, 100),
    ),
    finding=(
        Field("device", Kind.TEXT, "the disk"),
        Field("serial", Kind.TEXT, "its serial number, for whoever replaces it"),
        Field("model", Kind.TEXT, "its model"),
        Field("protocol", Kind.TEXT, "ATA, NVMe or SCSI"),
        Field("passed", Kind.FLAG, "it does not foretell its own failure"),
        Field("reason", Kind.TEXT, "everything that is wrong with it"),
        Field("reallocated", Kind.INTEGER, "sectors replaced; -1 if it does not tell, as below"),
        Field("pending", Kind.INTEGER, "sectors that cannot be read"),
        Field("uncorrectable", Kind.INTEGER, "sectors lost"),
        Field("media_errors", Kind.INTEGER, "data losses of an NVMe disk"),
        Field("used_percent", Kind.INTEGER, "used share of an NVMe disk's life; can exceed 100"),
    ),
    gauges=(
        Gauge("disk_reallocated_value", "sectors replaced"),
        Gauge("disk_pending_value", "sectors that cannot be read"),
        Gauge("disk_media_errors_total", "data losses of an NVMe disk"),
        Gauge("disk_temperature_celsius", "the disk's temperature"),
        Gauge("disk_powered_seconds", "how long it has been powered on"),
        Gauge("disk_life_used_ratio", "used share of an NVMe disk's life; can exceed 1"),
    ),
    blocking=True,
    every_s=30.0,
    timeout_s=30.0,
)
