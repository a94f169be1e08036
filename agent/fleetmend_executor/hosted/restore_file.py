"""`restore_file GOLDEN PATH same|content [PROTECTED...]`: puts the golden copy of one managed file in its place.

The new content appears at once, under a new inode. A file that is a mount point itself (/etc/hosts in a container) cannot be
replaced and is written in place. What was there before is kept as evidence.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress

from ..actions import Refused
from ..run import ActionFailed
from . import Verb, _evidence
from ._folders import FILE, FOLDER, checked_path, copy, look, open_folder, refuse_link, trusted

FILE_BYTES_MAX = 64 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOUNTED_FILE = (errno.EBUSY, errno.EXDEV)


def _run(arguments: tuple[str, ...]) -> Iterable[str]:
    if len(arguments) < 3 or arguments[2] not in {"same", "content"}:
        raise Refused("bad_parameter", "cannot restore: GOLDEN PATH same|content [PROTECTED...] are needed")
    golden, path, modes = arguments[:3]
    checked_path(path, arguments[3:])
    return restore(golden, path, modes == "same")


def restore(golden: str, path: str, same_owner: bool, evidence: str = _evidence.FOLDER) -> Iterable[str]:
    """`same_owner`: owner and mode are the golden copy's too; else those of the live file stay."""
    folder, _, name = path.rpartition("/")
    source_folder = open_folder(golden + folder, trusted)
    live_folder = -1
    try:
        wanted = _judged(golden + path, look(name, source_folder))
        live_folder = _live_folder(golden, folder)
        found = look(name, live_folder)
        _judge_live(path, name, live_folder, found)
        if found is not None and not same_owner and stat.S_ISREG(wanted.st_mode):
            wanted_owner, wanted_mode = (found.st_uid, found.st_gid), stat.S_IMODE(found.st_mode)
        else:
            wanted_owner, wanted_mode = (wanted.st_uid, wanted.st_gid), stat.S_IMODE(wanted.st_mode)
        if found is not None:
            yield f"the copy that was there is kept as {_evidence.keep(name, live_folder, path, evidence)}"
        if stat.S_ISLNK(wanted.st_mode):
            _replace_link(os.readlink(name, dir_fd=source_folder), name, live_folder)
        else:
            _replace_file(name, source_folder, live_folder, found, wanted_owner, wanted_mode)
        yield f"restored {path} from {golden}"
    finally:
        os.close(source_folder)
        if live_folder >= 0:
            os.close(live_folder)


def _judged(path: str, status: os.stat_result | None) -> os.stat_result:
    if status is None:
        raise Refused("undeclared", f"cannot restore: there is no golden copy {path}")
    if stat.S_ISREG(status.st_mode):
        # What its owner may write anyway may be his: the folders above are root's.
        if status.st_mode & 0o002 or status.st_size > FILE_BYTES_MAX:
            text = f"cannot use {path}: everybody may write it, or it is larger than {FILE_BYTES_MAX} bytes"
            raise Refused("untrusted", text)
    elif not stat.S_ISLNK(status.st_mode):
        raise Refused("not_a_file", f"cannot restore from {path}: it is neither a file nor a link")
    return status


def _judge_live(path: str, name: str, folder: int, status: os.stat_result | None) -> None:
    if status is None:
        return
    if stat.S_ISLNK(status.st_mode):
        if os.readlink(name, dir_fd=folder) == "/dev/null":
            raise Refused("maintenance", f"cannot restore {path}: it leads to /dev/null, so somebody masked it")
    elif not stat.S_ISREG(status.st_mode):
        raise Refused("not_a_file", f"cannot restore {path}: what is there is neither a file nor a link")


def _live_folder(golden: str, folder: str) -> int:
    """The folder of the live file, made as in the golden tree where it is missing."""
    fd = os.open("/", FOLDER)
    walked = ""
    for part in filter(None, folder.split("/")):
        walked += f"/{part}"
        try:
            below = _enter_or_make(part, fd, golden + walked)
        finally:
            os.close(fd)
        fd = below
    return fd


def _enter_or_make(part: str, fd: int, model: str) -> int:
    refuse_link(part, fd, model)
    try:
        return os.open(part, FOLDER, dir_fd=fd)
    except FileNotFoundError:
        like = os.lstat(model)
    except OSError as error:
        raise ActionFailed("not_a_folder", f"cannot open {part!r}: {error.strerror}") from error
    os.mkdir(part, 0o700, dir_fd=fd)
    made = os.open(part, FOLDER, dir_fd=fd)
    os.fchown(made, like.st_uid, like.st_gid)
    os.fchmod(made, stat.S_IMODE(like.st_mode))
    return made


def _replace_link(target: str, name: str, folder: int) -> None:
    fresh = _fresh(name)
    with suppress(FileNotFoundError):
        os.unlink(fresh, dir_fd=folder)
    os.symlink(target, fresh, dir_fd=folder)
    os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def _replace_file(
    name: str, source_folder: int, folder: int, found: os.stat_result | None, owner: tuple[int, int], mode: int
) -> None:
    source = os.open(name, FILE, dir_fd=source_folder)
    fresh = _fresh(name)
    try:
        with suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=folder)
        fd = os.open(fresh, _NEW, 0o600, dir_fd=folder)
        try:
            copy(source, fd, FILE_BYTES_MAX)
            _dress(fd, name, folder, found, owner, mode)
            os.fsync(fd)
        finally:
            os.close(fd)
        try:
            os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            os.unlink(fresh, dir_fd=folder)
            if error.errno not in _MOUNTED_FILE:
                raise
            _write_in_place(name, source, folder, owner, mode)
        os.fsync(folder)
    finally:
        os.close(source)


def _write_in_place(name: str, source: int, folder: int, owner: tuple[int, int], mode: int) -> None:
    os.lseek(source, 0, os.SEEK_SET)
    fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.ftruncate(fd, copy(source, fd, FILE_BYTES_MAX))
        os.fchown(fd, *owner)
        os.fchmod(fd, mode)
        os.fsync(fd)
    finally:
        os.close(fd)


def _dress(fd: int, name: str, folder: int, found: os.stat_result | None, owner: tuple[int, int], mode: int) -> None:
    """Owner, mode, and the security label that the live file had."""
    os.fchown(fd, *owner)
    os.fchmod(fd, mode)
    if found is None or not stat.S_ISREG(found.st_mode):
        return
    live = os.open(name, FILE, dir_fd=folder)
    try:
        with suppress(OSError):
            os.setxattr(fd, "security.selinux", os.getxattr(live, "security.selinux"))
    finally:
        os.close(live)


def _fresh(name: str) -> str:
    return f".{name[:200]}.fleetmend-new"


VERB = Verb("restore_file", "Put the golden copy of one managed file in its place.", _run)
