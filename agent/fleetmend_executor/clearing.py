"""Deletes disposable files, oldest first. Never crosses a mount or follows a link: folders are opened one by one, by handle."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from .actions import Refused
from .commands import Finished
from .effects import ClearFiles
from .globs import any_path, base_of, is_below, is_protected
from .run import ActionFailed, Run

ENTRIES_MAX = 200_000
DEPTH_MAX = 64
PATHS_SHOWN_MAX = 50
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """A file that may go."""

    modified_ns: int
    path: str
    bytes_used: int


@dataclass(slots=True)
class Tally:
    """What was done and what was left alone, for the outcome."""

    freed_bytes: int = 0
    deleted: list[str] = field(default_factory=list)
    seen: int = 0
    notes: list[str] = field(default_factory=list)


def clear(effect: ClearFiles, run: Run, now_s: float) -> None:
    """Find, sort by age, delete until a target is met. ActionFailed when all that may go is gone and a target was not met."""
    tally = Tally()
    mount_id = _mount_of(effect.mount) if effect.mount else 0
    found: set[Candidate] = set()
    for base in _starts(effect):
        found.update(_candidates(base, effect, mount_id, int((now_s - effect.min_age_s) * 1e9), tally, run))
    at = effect.mount or base_of(effect.patterns[0])
    for candidate in sorted(found):
        if _satisfied(effect, tally, at) or run.left_s() <= 0:
            break
        _delete(candidate, tally)
    text = f"freed {tally.freed_bytes} bytes in {len(tally.deleted)} of {len(found)} files"
    run.output.append("\n".join([*tally.notes[:PATHS_SHOWN_MAX], *tally.deleted[:PATHS_SHOWN_MAX]]))
    run.commands.append(Finished(("fleetmend:clear", *effect.patterns[:8]), 0, 0))
    if not tally.deleted and not _satisfied(effect, tally, at):
        raise ActionFailed("nothing_to_clear", f"cannot free anything: {len(found)} files of {tally.seen} may go")
    if len(tally.deleted) == len(found) and _has_target(effect) and not _satisfied(effect, tally, at):
        raise ActionFailed("not_enough", f"{text}; that is all that may go, and it is not enough")
    run.detail.append(text)


def _has_target(effect: ClearFiles) -> bool:
    return bool(effect.free_bytes or effect.until_inodes_percent or effect.until_used_percent)


def open_folder(path: str) -> int:
    """A handle of a folder, each component opened by itself and none of them a link. Refused or ActionFailed otherwise."""
    fd = os.open("/", _FOLDER)
    for part in filter(None, path.split("/")):
        try:
            below = os.open(part, _FOLDER, dir_fd=fd)
        except OSError as error:
            _refuse_link(part, fd, path)
            raise ActionFailed("not_a_folder", f"cannot open {path}: {error.strerror} at {part!r}") from error
        finally:
            os.close(fd)
        fd = below
    return fd


def _refuse_link(part: str, fd: int, path: str) -> None:
    try:
        status = os.stat(part, dir_fd=fd, follow_symlinks=False)
    except OSError:
        return
    if stat.S_ISLNK(status.st_mode):
        raise Refused("symbolic_link", f"cannot clear {path}: {part!r} is a symbolic link")


def _starts(effect: ClearFiles) -> list[str]:
    """Where to look, each folder once: a pattern's own folder, or the mount where that lies below it."""
    bases = dict.fromkeys(base_of(pattern) for pattern in effect.patterns)
    return list(dict.fromkeys(effect.mount if effect.mount and is_below(effect.mount, base) else base for base in bases))


def _candidates(base: str, effect: ClearFiles, mount_id: int, before_ns: int, tally: Tally, run: Run) -> Iterator[Candidate]:
    try:
        fd = open_folder(base)
    except ActionFailed as error:
        yield from _single(base, effect, mount_id, before_ns, tally)
        tally.notes.append(str(error))
        return
    if mount_id and _mount_id(fd) != mount_id:
        os.close(fd)
        tally.notes.append(f"left alone {base}: it is not on {effect.mount}")
        return
    here = (os.fstat(fd).st_dev, _mount_id(fd))
    for path, status in _walk(fd, base, here, 0, tally, run):
        if _may_go(path, status, effect, before_ns):
            yield _candidate(path, status)


def _single(path: str, effect: ClearFiles, mount_id: int, before_ns: int, tally: Tally) -> Iterator[Candidate]:
    """A plain path that is a file."""
    folder, _, name = path.rpartition("/")
    try:
        fd = open_folder(folder)
    except ActionFailed:
        return
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        on_mount = not mount_id or _mount_id(fd) == mount_id
    except OSError:
        return
    finally:
        os.close(fd)
    tally.seen += 1
    if on_mount and _may_go(path, status, effect, before_ns):
        yield _candidate(path, status)


def _walk(
    fd: int, folder: str, here: tuple[int, int], depth: int, tally: Tally, run: Run
) -> Iterator[tuple[str, os.stat_result]]:
    """Every regular file below, with `fd` taken over. Other filesystems and bind mounts are left alone."""
    try:
        below: list[str] = []
        for name in _names(fd, folder, tally):
            if tally.seen >= ENTRIES_MAX or run.left_s() <= 0:
                return
            tally.seen += 1
            status = _status(name, fd)
            if status is None:
                continue
            if stat.S_ISDIR(status.st_mode):
                below.append(name)
            elif stat.S_ISREG(status.st_mode):
                yield f"{folder}/{name}", status
        for name in below if depth < DEPTH_MAX else ():
            child = _enter(name, fd, f"{folder}/{name}", here, tally)
            if child is not None:
                yield from _walk(child, f"{folder}/{name}", here, depth + 1, tally, run)
    finally:
        os.close(fd)


def _names(fd: int, folder: str, tally: Tally) -> list[str]:
    try:
        return sorted(os.listdir(fd))
    except OSError as error:
        tally.notes.append(f"cannot list {folder}: {error.strerror}")
        return []


def _status(name: str, fd: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError:
        return None  # gone meanwhile


def _enter(name: str, fd: int, path: str, here: tuple[int, int], tally: Tally) -> int | None:
    try:
        child = os.open(name, _FOLDER, dir_fd=fd)
    except OSError as error:
        tally.notes.append(f"cannot open {path}: {error.strerror}")
        return None
    if (os.fstat(child).st_dev, _mount_id(child)) == here:
        return child
    os.close(child)
    tally.notes.append(f"left alone {path}: another mount")
    return None


def _may_go(path: str, status: os.stat_result, effect: ClearFiles, before_ns: int) -> bool:
    if not stat.S_ISREG(status.st_mode) or status.st_mtime_ns > before_ns:
        return False
    wanted = any_path(path, effect.patterns) and any_path(path, effect.disposable)
    return wanted and not is_protected(path, effect.protected)


def _candidate(path: str, status: os.stat_result) -> Candidate:
    """A file with other names frees nothing when one of them goes."""
    return Candidate(status.st_mtime_ns, path, status.st_blocks * 512 if status.st_nlink == 1 else 0)


def _delete(candidate: Candidate, tally: Tally) -> None:
    """The folder is opened anew, without links; the file must still be the one that was judged."""
    folder, _, name = candidate.path.rpartition("/")
    try:
        fd = open_folder(folder)
    except (ActionFailed, Refused) as error:
        tally.notes.append(str(error))
        return
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode) or status.st_mtime_ns != candidate.modified_ns:
            tally.notes.append(f"left alone {candidate.path}: it changed")
            return
        os.unlink(name, dir_fd=fd)
    except OSError as error:
        tally.notes.append(f"cannot delete {candidate.path}: {error.strerror}")
        return
    finally:
        os.close(fd)
    tally.deleted.append(candidate.path)
    tally.freed_bytes += candidate.bytes_used


def _satisfied(effect: ClearFiles, tally: Tally, at: str) -> bool:
    """Whether a target is met. Without a target there is always more to do, up to the count of files."""
    if len(tally.deleted) >= effect.files_max:
        return True
    if effect.free_bytes and tally.freed_bytes >= effect.free_bytes:
        return True
    if effect.until_inodes_percent:
        return inodes_percent(at) <= effect.until_inodes_percent
    return bool(effect.until_used_percent) and used_percent(at) <= effect.until_used_percent


def used_percent(path: str) -> float:
    """As df counts: used by what unprivileged users could have. The nearest folder that exists is asked."""
    space = _space(path)
    used = space.f_blocks - space.f_bfree
    return 100.0 * used / max(1, used + space.f_bavail)


def inodes_percent(path: str) -> float:
    """As df counts inodes; 0 where there is no end of them."""
    space = _space(path)
    used = space.f_files - space.f_ffree
    return 100.0 * used / max(1, used + space.f_favail) if space.f_files else 0.0


def _space(path: str) -> os.statvfs_result:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return os.statvfs(path)


def _mount_of(path: str) -> int:
    fd = open_folder(path)
    try:
        return _mount_id(fd)
    finally:
        os.close(fd)


def _mount_id(fd: int) -> int:
    """Which mount a handle is on; a bind mount of the same filesystem differs."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        for line in file:
            if line.startswith("mnt_id:"):
                return int(line.split()[1])
    raise ActionFailed("internal", "cannot tell mounts apart: /proc/self/fdinfo has no mnt_id")
