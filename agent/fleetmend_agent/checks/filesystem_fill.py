"""How soon a filesystem is full if it goes on as it does now: by what was written between the last looks.

Only growth that lasts counts, and the longer the time that is left, the longer it must have lasted: unpacking an archive is no
fault. Nor is what is over: before it is called critical it must be seen growing once more, at that moment. Where somebody
writes without end, the finding says what grows and whose it is, as far as the agent may look.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import Check, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._filesystems import FIELDS, IGNORE, MOUNT, UNIT, each, finding
from ._source import human_bytes, human_seconds, read_if_any
from .filesystem_space import usage

if TYPE_CHECKING:
    from ..host import Host, Mount

SAMPLES_MAX = 64
# A writer that pauses between its pieces has not stopped: looks that follow at once, as a proof does, tell nothing new.
APART_MS_MIN = 2_500
WINDOW_MS = 120_000
LASTED_MS_MIN = 8_000
LASTED_MS_MAX = 60_000
GROWTHS_MIN = 2
ENTRIES_MAX = 2000
DEPTH_MAX = 8
PROCESSES_MAX = 20_000
RECENT_S = 30.0
# The last look of all: so often, so far apart, and at least this share of the growth before.
STILL_LOOKS = 4
STILL_S = 0.5
STILL_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Sample:
    """Bytes used at one moment."""

    clock_ms: int
    used_bytes: float


@dataclass(frozen=True, slots=True)
class Growth:
    """How a filesystem grew in the looks since it last did not."""

    rate: float = 0.0
    lasted_ms: int = 0
    times: int = 0


def growth(samples: list[Sample]) -> Growth:
    """The unbroken growth up to the last sample."""
    first = len(samples) - 1
    while first > 0 and samples[first - 1].used_bytes < samples[first].used_bytes:
        first -= 1
    times = len(samples) - 1 - first
    lasted_ms = samples[-1].clock_ms - samples[first].clock_ms
    if times < 1 or lasted_ms <= 0:
        return Growth()
    return Growth((samples[-1].used_bytes - samples[first].used_bytes) * 1000 / lasted_ms, lasted_ms, times)


def lasts(grown: Growth, eta_s: float) -> bool:
    """Whether the growth was seen long enough to believe what it says."""
    return grown.times >= GROWTHS_MIN and grown.lasted_ms >= min(LASTED_MS_MAX, max(LASTED_MS_MIN, eta_s * 100))


def _run(context: Context) -> Iterable[Result]:
    return list(each(context, _judge))


def _judge(context: Context, mount: Mount, numbers: os.statvfs_result) -> Result:
    params, now_ms = context.params, context.host.clock_ms()
    used = usage(numbers)
    kept: dict[str, list[Sample]] = context.host.kept.setdefault("filesystem_fill", {})
    samples = [s for s in kept.get(mount.mount_point, []) if now_ms - WINDOW_MS <= s.clock_ms < now_ms][-SAMPLES_MAX + 1 :]
    used_bytes = used.total - used.free
    if not samples or now_ms - samples[-1].clock_ms >= APART_MS_MIN or used_bytes < samples[-1].used_bytes:
        samples.append(Sample(now_ms, used_bytes))
    kept[mount.mount_point] = samples
    grown = growth(samples)
    facts = finding(context, mount) | {"used_percent": round(100 * used.used_ratio, 1), "free_bytes": int(used.free)}
    gauges = {"filesystem_growth_value": round(grown.rate, 1)}
    text = f"{mount.mount_point} grows by {human_bytes(grown.rate)} a second"
    if grown.rate <= 0 or 100 * used.used_ratio < params["from_percent"]:
        return Result(Status.OK, text, mount.mount_point, facts, gauges)
    eta_s = used.free / grown.rate
    facts |= {"eta_seconds": int(eta_s), "rate_bytes_per_s": int(grown.rate)}
    text += f" and is full in {human_seconds(eta_s)}"
    if not lasts(grown, eta_s) or eta_s * 1000 > params["warn_eta"]:
        return Result(Status.OK, text, mount.mount_point, facts, gauges)
    if eta_s * 1000 > params["crit_eta"]:
        return Result(Status.WARN, text, mount.mount_point, facts, gauges)
    known_bad = context.known.get(mount.mount_point, Status.OK) is Status.CRIT
    if not known_bad and not still_grows(context.host, mount.mount_point, used_bytes, grown.rate):
        return Result(Status.OK, f"{text}, but nothing more is written now", mount.mount_point, facts, gauges)
    writer = find_writer(context.host, mount.mount_point)
    if writer:
        text += f"; {writer['writer_path']} of {writer['writer_user']} grows"
    return Result(Status.CRIT, text, mount.mount_point, facts | writer, gauges)


def still_grows(host: Host, mount: str, used_bytes: float, rate: float) -> bool:
    """Whether it goes on growing about as before; looks for two seconds at most. What cannot be measured does not."""
    for look in range(1, STILL_LOOKS + 1):
        host.sleep(STILL_S)
        try:
            used = usage(host.statvfs(mount))
        except OSError:
            return False
        if used.total - used.free - used_bytes >= STILL_SHARE * rate * STILL_S * look:
            return True
    return False


def find_writer(host: Host, mount: str) -> dict[str, Scalar]:
    """The largest file that was written just now, its owner, and a process of that owner that may be the one who writes."""
    path, owner = _grows(host, mount)
    if not path:
        return {}
    facts: dict[str, Scalar] = {"writer_path": path, "writer_user": _user(host, owner)}
    return facts | _process_of(host, owner)


def _grows(host: Host, mount: str) -> tuple[str, int]:
    now_s = host.wall_ms() / 1000
    left, folders = ENTRIES_MAX, [(mount.rstrip("/"), 0)]
    best, best_bytes, owner = "", 0, 0
    while folders and left > 0:
        folder, depth = folders.pop()
        try:
            names = host.listdir(folder or "/")[:left]
        except OSError:
            continue
        left -= len(names) + 1
        for name in names:
            try:
                status = host.lstat(f"{folder}/{name}")
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode) and depth < DEPTH_MAX:
                folders.append((f"{folder}/{name}", depth + 1))
            recent = stat.S_ISREG(status.st_mode) and abs(now_s - status.st_mtime) <= RECENT_S
            if recent and status.st_size > best_bytes:
                best, best_bytes, owner = f"{folder}/{name}", status.st_size, status.st_uid
    return best, owner


def _user(host: Host, uid: int) -> str:
    words = (line.split(":") for line in read_if_any(host, "/etc/passwd").splitlines())
    return next((word[0] for word in words if len(word) > 2 and word[2] == str(uid)), str(uid))


def _process_of(host: Host, uid: int) -> dict[str, Scalar]:
    """The youngest process of that user, outside user sessions; root has too many to guess."""
    found: tuple[int, dict[str, Scalar]] = (0, {})
    if uid == 0:
        return {}
    try:
        pids = [name for name in host.listdir("/proc") if name.isdecimal()][:PROCESSES_MAX]
    except OSError:
        return {}
    for pid in pids:
        try:
            if host.stat(f"/proc/{pid}").st_uid != uid:
                continue
            text, groups = host.read_text(f"/proc/{pid}/stat", 4096), host.read_text(f"/proc/{pid}/cgroup", 65536)
            name, fields = text.partition("(")[2].rpartition(")")[0], text.rpartition(")")[2].split()
            ticks = int(fields[19])
        except (OSError, IndexError, ValueError):
            continue
        if ticks >= found[0]:
            unit = next((part for part in reversed(groups.strip().split("/")) if part.endswith((".service", ".scope"))), "")
            found = ticks, {"writer_pid": int(pid), "writer_start_ticks": ticks, "writer_name": name, "writer_unit": unit}
    return found[1]


CHECK = Check(
    name="filesystem_fill",
    summary="How soon filesystems are full if they go on growing as they do",
    run=_run,
    params=(
        MOUNT,
        Param("warn_eta", Kind.DURATION, "WARN when it is full sooner than this", default=3_600_000),
        Param("crit_eta", Kind.DURATION, "CRIT when it is full sooner than this", default=600_000),
        Param("from_percent", Kind.NUMBER, "OK below this use, however fast it grows", default=70.0, minimum=0, maximum=100),
        IGNORE,
        UNIT,
    ),
    finding=(
        *FIELDS,
        Field("used_percent", Kind.NUMBER, "used share of what ordinary users may use, 0 to 100"),
        Field("free_bytes", Kind.INTEGER, "what ordinary users can still take"),
        Field("eta_seconds", Kind.INTEGER, "time until it is full, while it grows"),
        Field("rate_bytes_per_s", Kind.INTEGER, "bytes that it grows by in a second, while it does"),
        Field("writer_path", Kind.TEXT, "the largest file that was written just now, if the agent may see it"),
        Field("writer_user", Kind.TEXT, "whose file that is"),
        Field("writer_pid", Kind.INTEGER, "a process of that user, which may be the one who writes"),
        Field("writer_start_ticks", Kind.INTEGER, "when it started: field 22 of /proc/PID/stat"),
        Field("writer_name", Kind.TEXT, "its name"),
        Field("writer_unit", Kind.TEXT, "the unit that it belongs to, if any"),
    ),
    gauges=(Gauge("filesystem_growth_value", "bytes that it grows by in a second, over the last looks without a pause"),),
    blocking=True,
    every_s=15.0,
)
