"""Programs that run as root for whoever starts them, and that no package brought.

Small folders where such a program would be put are looked through each time; the rest of the machine bit by bit.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._dpkg import owned, present
from ._filesystems import visible
from ._source import why

if TYPE_CHECKING:
    import os

    from ..host import Host, Scan

OFTEN = ("/usr/local/bin", "/usr/local/sbin", "/tmp", "/var/tmp", "/dev/shm", "/run", "/opt", "/srv", "/home")  # noqa: S108
SLOWLY = (
    *("/usr/local", "/opt", "/srv", "/home", "/root", "/tmp", "/var/tmp", "/var/lib", "/etc"),  # noqa: S108
    *("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec"),
)
OFTEN_ENTRIES_MAX, OFTEN_DEPTH_MAX = 500, 3
# Each look goes through the folders themselves, each second one deeper as well: an agent at rest costs next to nothing.
DEEPER_EVERY = 2
MOUNTS_MAX = 64
_MOUNTED_TYPES = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs"})
SLOW_ENTRIES_MAX = 100
# A folder with more names holds data, not programs; its first ones are looked at.
FOLDER_ENTRIES_MAX = 20_000
DEPTH_MAX = 20
AGAIN_AFTER_MS = 900_000
HASHED_BYTES_MAX = 32 << 20
RPM_TIMEOUT_S = 20.0
_IMAGES = ("/var/lib/docker", "/var/lib/containerd", "/var/lib/containers", "/var/lib/machines", "/var/lib/snapd")


Ahead = tuple[str, int, int]
"""A folder that the slow walk comes to: its path, the filesystem it belongs to, and how deep it lies."""


class _Watch:
    """What is remembered of one machine: what was found, what packages own, and what the slow walk still has before it."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.packaged: dict[str, tuple[int, ...]] = {}
        self.ahead: list[Ahead] = []
        self.ended_ms = 0
        self.looks = 0


def _run(context: Context) -> Iterable[Result]:
    host = context.host
    watch: _Watch = host.kept.setdefault("setuid_files", _Watch())
    if not any(host.exists(folder) for folder in (*OFTEN, *SLOWLY)):
        raise CheckUnknown("cannot look for set-uid programs: none of the usual folders can be seen")
    now = {
        path: status
        for path, status in (*_often(host, watch), *_slowly(host, watch), *_stats(host, watch.found))
        if is_setuid(status)
    }
    marks = {path: (s.st_ino, s.st_mtime_ns, s.st_ctime_ns) for path, s in now.items()}
    unknown = [path for path, mark in marks.items() if watch.packaged.get(path) != mark]
    for path in _owned(host, unknown):
        watch.packaged[path] = marks[path]
    allowed = set(context.params["allowed"])
    watch.found = {path for path in now if watch.packaged.get(path) != marks[path] and path not in allowed}
    yield Result(Status.OK, "set-uid programs outside packages", gauges={"setuid_files_value": float(len(watch.found))})
    for path in sorted(watch.found):
        yield _told(host, path, now[path])
    for path in sorted(set(context.known) - watch.found - {""}):
        yield Result(Status.OK, f"{path} is no set-uid program of root's", path, {"path": path})


def is_setuid(status: os.stat_result) -> bool:
    """A file that runs as root, whoever starts it."""
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & stat.S_ISUID) and status.st_uid == 0


def _often(host: Host, watch: _Watch) -> Iterator[tuple[str, os.stat_result]]:
    """The files in the small folders, and in what is mounted below them, now and then a few levels deep."""
    depth = 1 if watch.looks % DEEPER_EVERY else OFTEN_DEPTH_MAX
    watch.looks += 1
    for folder in (*OFTEN, *_mounted(host, OFTEN)):
        yield from _near(host, folder, depth)


def _near(host: Host, top: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
    """Level by level, on one filesystem, until the names of this look are used up."""
    try:
        device = host.lstat(top).st_dev
    except OSError:
        return
    left, level = OFTEN_ENTRIES_MAX, [top]
    for _ in range(depth):
        below: list[str] = []
        for folder in level:
            if left <= 0:
                return
            seen = _within(host, folder, device, left)
            left -= seen.names
            yield from _stats(host, seen.files)
            below += seen.folders
        level = below


def _within(host: Host, folder: str, device: int, names_max: int) -> Scan:
    """The set-uid files of a folder, and its folders; nothing if it cannot be read or is on another filesystem."""
    from ..host import Scan

    try:
        return host.scan(folder, stat.S_ISUID, names_max) if host.lstat(folder).st_dev == device else Scan()
    except OSError:
        return Scan()


def _stats(host: Host, paths: Iterable[str]) -> Iterator[tuple[str, os.stat_result]]:
    for path in paths:
        with contextlib.suppress(OSError):
            yield path, host.lstat(path)


def _mounted(host: Host, below: Iterable[str]) -> list[str]:
    """Local filesystems that are mounted there; the others are not even asked. In the agent's own view all are nosuid."""
    try:
        mounts = visible(host.mounts())
    except OSError:
        return []
    return [
        point
        for point, mount in mounts.items()
        if mount.fstype in _MOUNTED_TYPES and any(point.startswith(f"{folder}/") for folder in below)
    ][:MOUNTS_MAX]


def _slowly(host: Host, watch: _Watch) -> Iterator[tuple[str, os.stat_result]]:
    """The next folders of the walk over everything else; from the start again a while after it ended.

    A folder is read to its end in one look, so that none stays open; what is kept of it are its folders.
    """
    if not watch.ahead:
        if watch.ended_ms and host.clock_ms() - watch.ended_ms < AGAIN_AFTER_MS:
            return
        watch.ahead = list(_starts(host))
    left = SLOW_ENTRIES_MAX
    while watch.ahead and left > 0:
        folder, device, depth = watch.ahead.pop()
        seen = _within(host, folder, device, FOLDER_ENTRIES_MAX)
        left -= 1 + seen.names
        yield from _stats(host, seen.files)
        if depth < DEPTH_MAX:
            watch.ahead += [(each, device, depth + 1) for each in seen.folders if each not in _IMAGES]
    if not watch.ahead:
        watch.ended_ms = host.clock_ms()


def _starts(host: Host) -> Iterator[Ahead]:
    """Without network filesystems: from each folder on, only its own filesystem. The last is looked through first."""
    for folder in reversed((*SLOWLY, *_mounted(host, SLOWLY))):
        with contextlib.suppress(OSError):
            yield folder, host.lstat(folder).st_dev, 0


def _owned(host: Host, paths: list[str]) -> set[str]:
    """Those that a package brought. Raises CheckUnknown when no package manager can tell."""
    if not paths:
        return set()
    try:
        if present(host):
            return owned(host, paths)
        return _by_rpm(host, paths)
    except OSError as error:
        raise CheckUnknown(f"cannot tell which packages own {paths[0]}: {why(error)}") from error


def _by_rpm(host: Host, paths: list[str]) -> set[str]:
    """Asked about several files, rpm answers line by line: a name, or that no package owns the file."""
    found: set[str] = set()
    for at in range(0, len(paths), 50):
        some = paths[at : at + 50]
        try:
            done = host.run(("rpm", "-qf", "--queryformat", "%{NAME}\n", *some), RPM_TIMEOUT_S)
        except FileNotFoundError:
            # No package manager that we know: then only what is outside the system's own folders counts.
            return {path for path in paths if path.startswith(("/usr/bin/", "/usr/sbin/", "/usr/lib", "/usr/libexec/"))}
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        found.update(path for path, line in zip(some, lines, strict=False) if "not owned" not in line and "error" not in line)
    return found


def _told(host: Host, path: str, status: os.stat_result) -> Result:
    facts: dict[str, Scalar] = {
        "path": path,
        "owner_uid": status.st_uid,
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "size_bytes": status.st_size,
        "sha256": _hash(host, path),
        "changed_seconds": max(0, int(host.wall_ms() / 1000 - status.st_ctime)),
    }
    return Result(Status.CRIT, f"{path} runs as root for everybody, and no package brought it", path, facts)


def _hash(host: Host, path: str) -> str:
    """For the eyes of people; empty if the agent may not read it."""
    from hashlib import sha256

    try:
        return sha256(host.read_bytes(path, HASHED_BYTES_MAX)).hexdigest()
    except OSError:
        return ""


CHECK = Check(
    name="setuid_files",
    summary="No set-uid program of root's that no package brought",
    run=_run,
    params=(Param("allowed", Kind.TEXT_LIST, "paths that may be set-uid", default=[]),),
    finding=(
        Field("path", Kind.TEXT, "the program"),
        Field("owner_uid", Kind.INTEGER, "uid of its owner"),
        Field("mode", Kind.TEXT, "its mode, octal"),
        Field("size_bytes", Kind.INTEGER, "its size"),
        Field("sha256", Kind.TEXT, "SHA-256 of its content, if the agent may read it"),
        Field("changed_seconds", Kind.INTEGER, "how long ago its owner, mode or content was changed"),
    ),
    gauges=(Gauge("setuid_files_value", "set-uid programs of root's that no package brought"),),
    blocking=True,
    signal="inotify",
    watched=lambda _host, _params: ("/usr/local/bin/", "/usr/local/sbin/"),
    every_s=30.0,
)
