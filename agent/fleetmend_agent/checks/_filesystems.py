"""Which filesystems a check looks at, and how full one is. Pure, but for `table`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ..host import parse_fstab
from . import CheckUnknown, Context, Field, Kind, Param, Result, Status
from ._source import why

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from ..host import Host, Mount

ALL = "*"
# Those that hold data on a local disk and can fill up. Images (squashfs, iso9660, erofs) are always full and are not faults.
_LOCAL = frozenset(
    {
        "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "bcachefs", "nilfs2", "ocfs2", "gfs2",
        "vfat", "exfat", "ntfs", "ntfs3", "fuseblk", "ubifs",
    }
)  # fmt: skip
_WITH_SUBVOLUMES = frozenset({"btrfs", "bcachefs"})

MOUNT = Param("mount", Kind.TEXT, "mount point, or * for every local filesystem", default=ALL)
IGNORE = Param("ignore", Kind.TEXT_LIST, "patterns of mount points to leave out when mount is *", default=[])
UNIT = Param("unit", Kind.TEXT, "systemd unit behind the mount, for the finding", default="")
DISPOSABLE = Param(
    "disposable",
    Kind.TEXT,
    "whether something on it is declared disposable, for the finding",
    default="unknown",
    choices=("yes", "no", "unknown"),
)
DISPOSABLE_FIELD = Field("disposable", Kind.TEXT, "yes, no or unknown: something on it is declared disposable")
FIELDS = (
    Field("mount", Kind.TEXT, "the mount point"),
    Field("device", Kind.TEXT, "what is mounted there"),
    Field("fstype", Kind.TEXT, "type of the filesystem"),
    Field("unit", Kind.TEXT, "the unit behind the mount, if one was named"),
)


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of something is used. `free` is what ordinary users may still take; `total` leaves reserves out, as df does."""

    total: float
    free: float

    @property
    def used_ratio(self) -> float:
        """0 to 1; 1 for nothing at all."""
        return 1 - self.free / self.total if self.total > 0 else 1.0


def table(host: Host) -> tuple[Mount, ...]:
    """The mounts that the agent itself sees and can measure. Raises CheckUnknown."""
    try:
        return host.mounts()
    except OSError as error:
        raise CheckUnknown(f"cannot read the mounts: {why(error)}") from error


def visible(mounts: Iterable[Mount]) -> dict[str, Mount]:
    """By mount point, what is on top there: a later mount covers an earlier one."""
    return {mount.mount_point: mount for mount in mounts}


def local(mounts: Iterable[Mount], ignore: Iterable[str]) -> list[Mount]:
    """Each local filesystem once, by mount point, but those to ignore.

    The root of a container counts, folders bound into it from outside do not.
    """
    patterns = tuple(ignore)
    chosen: dict[str, Mount] = {}
    for mount in visible(mounts).values():
        if not _counts(mount):
            continue
        held = chosen.get(mount.device)
        if held is None or _rank(mount) < _rank(held):
            chosen[mount.device] = mount
    kept = [m for m in chosen.values() if not any(fnmatchcase(m.mount_point, pattern) for pattern in patterns)]
    return sorted(kept, key=lambda mount: mount.mount_point)


def _counts(mount: Mount) -> bool:
    if mount.mount_point == "/":
        return mount.fstype in _LOCAL or mount.fstype == "overlay"
    # Subvolumes are mounted by their own root; of others, a folder is a view of what is mounted elsewhere.
    return mount.fstype in _LOCAL and (mount.root == "/" or mount.fstype in _WITH_SUBVOLUMES)


def _rank(mount: Mount) -> tuple[bool, int, str]:
    """Bind mounts of folders come after the filesystem itself, deep ones after shallow ones."""
    return (mount.root != "/", mount.mount_point.count("/") if mount.mount_point != "/" else 0, mount.mount_point)


def finding(context: Context, mount: Mount) -> dict[str, str | int | float | bool]:
    """The fields above."""
    facts: dict[str, str | int | float | bool] = {"mount": mount.mount_point, "device": mount.source, "fstype": mount.fstype}
    return facts | ({"unit": context.params["unit"]} if context.params["unit"] else {})


def is_read_only(mount: Mount) -> bool:
    """Whether the filesystem itself is read-only, wherever it is mounted."""
    return "ro" in mount.super_options


def declared_options(host: Host) -> dict[str, tuple[str, ...]]:
    """Options in fstab, by mount point; nothing if there is no fstab."""
    try:
        return parse_fstab(host.read_text("/etc/fstab"))
    except OSError:
        # Machines whose mounts are units have none.
        return {}


def each(context: Context, judge: Callable[[Context, Mount, os.statvfs_result], Result]) -> Iterable[Result]:
    """Judges the filesystems that the parameters choose. One that cannot be measured is UNKNOWN by itself."""
    mounts = table(context.host)
    wanted: str = context.params["mount"]
    if wanted == ALL:
        chosen = [mount for mount in local(mounts, context.params["ignore"]) if not is_read_only(mount)]
        yield Result(Status.OK, f"{len(chosen)} local filesystems")
    else:
        mount = visible(mounts).get(wanted.rstrip("/") or "/")
        if mount is None:
            yield Result(Status.UNKNOWN, f"cannot judge {wanted}: nothing is mounted there", wanted, {"mount": wanted})
            return
        chosen = [mount]
    for mount in chosen:
        yield _measured(context, mount, judge)


def _measured(context: Context, mount: Mount, judge: Callable[[Context, Mount, os.statvfs_result], Result]) -> Result:
    try:
        numbers = context.host.statvfs(mount.mount_point)
    except OSError as error:
        text = f"cannot measure {mount.mount_point}: {why(error)}"
        return Result(Status.UNKNOWN, text, mount.mount_point, finding(context, mount))
    return judge(context, mount, numbers)
