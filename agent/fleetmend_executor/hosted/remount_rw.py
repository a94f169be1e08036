"""`remount_rw MOUNT`: mounts a filesystem writable again, once, if it is clean.

Clean means: its superblock counts no error, and the kernel log has no error of its device. Where neither can be asked, nobody
knows, and then it is not clean.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from ..actions import Refused
from ..commands import run_argv
from ..run import ActionFailed
from . import Verb
from ._folders import checked_path

LOG_BYTES_MAX = 4 << 20
TOOL_TIMEOUT_S = 20.0
_BAD = re.compile(
    r"(fs|I/O|medium|target|critical) error|metadata I/O|corrupt|abort\w* journal|journal has aborted|error count since"
    r"|remounting filesystem read-only|shut(ting)? down|forced readonly|lost (async|sync) page write|BTRFS (error|critical)",
    re.IGNORECASE,
)
# A filesystem that was mounted afresh has nothing to do with what was said of its device before.
_MOUNTED = re.compile(r"\bmounted filesystem\b|ending clean mount|first mount of filesystem", re.IGNORECASE)
_OCTAL = re.compile(r"\\([0-7]{3})")
# Where ext2, ext3 and ext4 keep their superblock, and in it the magic number, the state and the count of errors.
_SUPERBLOCK = (1024, 1024)
_MAGIC, _STATE, _ERRORS = (0x38, 0xEF53), 0x3A, 0x194
_STATE_ERROR = 0x2


@dataclass(frozen=True, slots=True)
class Mounted:
    """One line of mountinfo."""

    device: str
    fstype: str
    source: str
    options: tuple[str, ...]
    super_options: tuple[str, ...]


def _run(arguments: tuple[str, ...]) -> Iterable[str]:
    if len(arguments) != 1:
        raise Refused("bad_parameter", "cannot mount: one MOUNT is needed")
    mount = checked_path(arguments[0])
    found = _find(mount)
    if "ro" not in found.super_options and "ro" not in found.options:
        yield f"{mount} is writable already"
        return
    judge(mount, found, errors(found), kernel_log())
    done = run_argv(("mount", "-o", "remount,rw", mount), TOOL_TIMEOUT_S, 4096)
    if done.exit:
        raise ActionFailed("exit_status", f"cannot mount {mount} writable: {' '.join(done.output.split())[:300]}")
    yield f"{mount} ({found.source}, {found.fstype}) was clean and is writable again"


def judge(mount: str, found: Mounted, counted: int | None, log: str | None) -> None:
    """Refused("not_clean") unless something says that it is clean and nothing that it is not."""
    if counted:
        raise Refused("not_clean", f"cannot mount {mount} writable: its superblock counts {counted} errors; check it first")
    name = device_name(found)
    if log is not None:
        line = _complaint(log, name) if name else ""
        if line:
            raise Refused("not_clean", f"cannot mount {mount} writable: the kernel says: {line[:200]}")
    if counted is None and log is None and found.fstype not in {"tmpfs", "ramfs"}:
        raise Refused("not_clean", f"cannot mount {mount} writable: neither its superblock nor the kernel log can be asked")


def _complaint(log: str, device: str) -> str:
    """The last error of a device in the log since its filesystem was mounted; the name counts as a whole word only."""
    named = re.compile(rf"(?<![\w-]){re.escape(device)}(?![\w-])")
    found = ""
    for line in log.splitlines():
        if named.search(line) is None:
            continue
        if _MOUNTED.search(line):
            found = ""
        elif _BAD.search(line):
            found = line.strip()
    return found


def device_name(found: Mounted) -> str:
    """As the kernel calls the device in its log: sda1, dm-0, loop3; empty for what has none."""
    try:
        return os.path.basename(os.readlink(f"/sys/dev/block/{found.device}"))
    except OSError:
        return os.path.basename(found.source) if found.source.startswith("/dev/") else ""


def errors(found: Mounted) -> int | None:
    """How many errors the filesystem counts; None if it cannot tell."""
    if not found.fstype.startswith("ext"):
        return None
    try:
        with open(f"/sys/fs/ext4/{device_name(found)}/errors_count", encoding="ascii") as file:
            return int(file.read(64))
    except (OSError, ValueError):
        return _in_superblock(found.source)


def _in_superblock(device: str) -> int | None:
    """As the block device itself has it; that is the same memory that the mounted filesystem uses."""
    try:
        fd = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        block = os.pread(fd, _SUPERBLOCK[1], _SUPERBLOCK[0])
    except OSError:
        return None
    finally:
        os.close(fd)
    if len(block) < _SUPERBLOCK[1] or struct.unpack_from("<H", block, _MAGIC[0])[0] != _MAGIC[1]:
        return None
    (state,), (counted,) = struct.unpack_from("<H", block, _STATE), struct.unpack_from("<I", block, _ERRORS)
    return int(counted) or (1 if state & _STATE_ERROR else 0)


def kernel_log() -> str | None:
    """What the kernel said; None if nobody lets us read it."""
    for argv in (("dmesg",), ("journalctl", "--dmesg", "--boot", "--quiet", "--no-pager", "--output=cat")):
        done = run_argv(argv, TOOL_TIMEOUT_S, LOG_BYTES_MAX)
        if done.exit == 0 and done.output.strip():
            return done.output
    return None


def _find(mount: str) -> Mounted:
    """The mount on top at that point, or ActionFailed."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        lines = file.read(8 << 20).splitlines()
    for line in reversed(lines):
        left, _, right = line.partition(" - ")
        head, tail = left.split(" "), right.split(" ")
        if len(head) > 5 and len(tail) > 2 and _plain(head[4]) == mount:
            return Mounted(head[2], tail[0], _plain(tail[1]), tuple(head[5].split(",")), tuple(tail[2].split(",")))
    raise ActionFailed("not_mounted", f"cannot mount {mount} writable: nothing is mounted there")


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)


VERB = Verb("remount_rw", "Mount a clean filesystem writable again.", _run)
