"""Folders opened one by one, by handle, none of them a link: what every verb that touches files stands on."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from ..actions import Refused
from ..globs import PatternError, check_path, is_protected
from ..run import ActionFailed

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
COPY_BYTES = 1 << 20
# Never changed by a verb, whatever is declared: the hands themselves, who may log in, and what is no file at all.
NEVER = (
    *("/proc", "/sys", "/dev", "/boot", "/etc/fleetmend", "/opt/fleetmend", "/var/lib/fleetmend-executor"),
    *("/var/lib/fleetmend-agent", "/var/lib/fleetmend", "/var/lib/dpkg", "/root/.ssh", "/etc/sudoers", "/etc/sudoers.d"),
    *("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/subuid", "/etc/subgid", "/etc/ld.so.preload"),
)


def checked_path(path: str, protected: tuple[str, ...] = ()) -> str:
    """The path, if a verb may touch it; Refused otherwise."""
    try:
        check_path(path)
    except PatternError as error:
        raise Refused("bad_parameter", str(error)) from error
    if is_protected(path, (*NEVER, *protected)):
        raise Refused("protected", f"cannot touch {path}: it is protected")
    return path


def open_folder(path: str, judge: Callable[[str, os.stat_result], None] | None = None) -> int:
    """A handle of a folder. `judge` may refuse each folder on the way. Raises Refused, ActionFailed."""
    fd = os.open("/", FOLDER)
    walked = ""
    for part in filter(None, path.split("/")):
        walked += f"/{part}"
        try:
            below = os.open(part, FOLDER, dir_fd=fd)
        except OSError as error:
            refuse_link(part, fd, path)
            raise ActionFailed("not_a_folder", f"cannot open {path}: {error.strerror} at {part!r}") from error
        finally:
            os.close(fd)
        fd = below
        if judge is not None:
            judge(walked, os.fstat(fd))
    return fd


def refuse_link(part: str, fd: int, path: str) -> None:
    """Refused if the name in this folder is a link."""
    status = look(part, fd)
    if status is not None and stat.S_ISLNK(status.st_mode):
        raise Refused("symbolic_link", f"cannot use {path}: {part!r} is a symbolic link")


def look(name: str, fd: int) -> os.stat_result | None:
    """What is there under a name in a folder, links not followed; None if nothing is."""
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def trusted(path: str, status: os.stat_result) -> None:
    """Refused for what somebody else than root may change. What lies in a sticky folder is its owner's alone."""
    writable = status.st_mode & 0o022 and not (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX)
    if status.st_uid not in {0, os.geteuid()} or writable:
        mode = f"{status.st_mode & 0o7777:04o}"
        text = f"cannot trust {path}: it belongs to uid {status.st_uid}, mode {mode}; root alone may be able to write it"
        raise Refused("untrusted", text)


def copy(source: int, target: int, bytes_max: int) -> int:
    """Copy up to a limit from handle to handle; the bytes copied."""
    copied = 0
    while copied < bytes_max and (piece := os.read(source, min(COPY_BYTES, bytes_max - copied))):
        view = memoryview(piece)
        while view:
            view = view[os.write(target, view) :]
        copied += len(piece)
    return copied
